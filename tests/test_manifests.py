"""Folders of runs, and the record in them."""

import json

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.manifests import (
    MANIFEST,
    REPORT,
    SETTINGS,
    SPLIT,
    begun_in,
    check_same,
    data_digest,
    empty_folder,
    new_folder,
    read_manifest,
    write_manifest,
)


def test_new_folders_are_numbered(tmp_path):
    names = [new_folder(tmp_path / "runs", "pets").name for _ in range(3)]
    assert names == ["pets-1", "pets-2", "pets-3"]


def test_a_folder_that_holds_anything_is_never_written_into(tmp_path):
    assert empty_folder(tmp_path / "a" / "new").is_dir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    with pytest.raises(kr.DataError, match=r"full is not empty\. Choose another"):
        empty_folder(tmp_path / "full")
    with pytest.raises(kr.DataError, match=r"thesis\.txt is a file\. Choose another"):
        empty_folder(tmp_path / "full" / "thesis.txt")


@pytest.mark.parametrize(
    ("files", "unfinished"),
    [
        ({SETTINGS: "{}"}, True),
        ({SETTINGS: "{}", MANIFEST: '{"finished": false}'}, True),
        ({MANIFEST: '{"finished": false}'}, True),
        ({SETTINGS: "{}", MANIFEST: '{"finished": true}'}, True),
        ({SETTINGS: "{}", MANIFEST: '{"finished": true}', REPORT: "x"}, False),
        ({MANIFEST: '{"finished": true}'}, False),
        ({REPORT: "x"}, False),
    ],
)
def test_a_folder_of_a_run_that_did_not_end_is_named_so(tmp_path, files, unfinished):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    expected = "--resume" if unfinished else "is not empty"
    with pytest.raises(kr.DataError, match=expected):
        empty_folder(tmp_path, but=())


def test_only_what_the_command_line_notes_may_be_there_before_a_run(tmp_path):
    (tmp_path / SETTINGS).write_text("{}")
    (tmp_path / SPLIT).write_text("x")
    assert empty_folder(tmp_path) == tmp_path
    (tmp_path / "model.keras").write_text("x")
    with pytest.raises(kr.DataError, match="failed or was stopped"):
        empty_folder(tmp_path)


def fail_in(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text("x")
    with pytest.raises(RuntimeError), begun_in(folder):
        raise RuntimeError


def test_a_job_that_fails_before_a_run_begins_leaves_nothing(tmp_path):
    fail_in(tmp_path / "run", SETTINGS, SPLIT)
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_leaves_a_run_that_has_begun_and_foreign_files(tmp_path):
    fail_in(tmp_path / "begun", SETTINGS, MANIFEST)
    fail_in(tmp_path / "foreign", SETTINGS, "thesis.txt")
    left = sorted(path.name for path in tmp_path.glob("*/*"))
    assert left == sorted([SETTINGS, MANIFEST, "thesis.txt"])


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = {"a": np.float32(0.5), "b": np.arange(3), "c": ("x", 1), "p": tmp_path}
    write_manifest(tmp_path, record)
    found = read_manifest(tmp_path)
    assert found == {"a": 0.5, "b": [0, 1, 2], "c": ["x", 1], "p": str(tmp_path)}
    check_same(tmp_path, found, record)
    with pytest.raises(kr.ArtifactError, match="begun with: a, c"):
        check_same(tmp_path, found, {**record, "a": 1, "c": ("x",)})


def test_a_record_that_is_not_there_or_damaged_is_an_error(tmp_path):
    with pytest.raises(kr.ArtifactError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(kr.ArtifactError, match="is damaged"):
        read_manifest(tmp_path)


def test_the_digest_of_data_knows_content_order_and_labels(pixels):
    images, labels = pixels
    data = kr.ImageData.from_arrays(images, labels)
    others = [
        kr.ImageData.from_arrays(images[::-1], labels),
        kr.ImageData.from_arrays(images, labels[::-1]),
        kr.ImageData.from_arrays(images[:-1], labels[:-1]),
    ]
    found = [data_digest(each) for each in (data, *others)]
    assert len(set(found)) == 4
    assert data_digest(kr.ImageData.from_arrays(images.copy(), labels)) == found[0]
