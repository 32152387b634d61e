"""Tables of corrections say what they mean, or are refused as a whole."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.corrections import write_corrections
from kerasresnet.labelling import LabelIssue, LabelIssues

# What spreadsheets, CSV and file systems trip over.
NAMES = (
    "plain",
    "=1+1",
    "-x",
    "+x",
    "@x",
    "'quoted",
    "'=both",
    "''=twice",
    'say "a, b"',
    "semi;colon",
    "Gänseblümchen",
    "蒲公英 🌼",
    " spaced ",
    "two\nlines",
)


@pytest.fixture
def folder(tmp_path):
    """A folder of files with such names; nothing reads what is in them."""
    for name in NAMES:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{name}.jpg").touch()
    return tmp_path


def data_of(folder, rng):
    labels = rng.integers(0, len(NAMES), len(NAMES))
    paths = tuple(folder / "photos" / f"{name}.jpg" for name in NAMES)
    return kr.ImageData(NAMES, labels, paths)


def issues_for(data, rows, new):
    """Issues for some images of data, that suggest some class numbers."""
    names = data.class_names
    found = [
        LabelIssue(data.sources[i], names[data.labels[i]], names[label], 0.9, 0.1)
        for i, label in zip(rows, new, strict=True)
    ]
    return LabelIssues(tuple(found), len(data), names, 0.9, data.paths is not None)


def edited(file, change):
    """Rewrites a table as a spreadsheet would; `change` gets each row, or drops it."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = [change(row) for row in csv.DictReader(stream)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["source", "label", "new_label"], "", "ignore")
        writer.writeheader()
        writer.writerows(row for row in rows if row)


@pytest.mark.parametrize("seed", range(6))
def test_a_table_that_is_applied_as_it_is_accepts_every_suggestion(folder, seed):
    rng = np.random.default_rng(seed)
    data = data_of(folder, rng)
    rows = rng.permutation(len(data))[: rng.integers(0, len(data) + 1)]
    new = rng.integers(0, len(NAMES), len(rows))
    issues_for(data, rows, new).to_csv(folder / "issues.csv")
    expected = data.labels.copy()
    expected[rows] = new
    again = data.relabel(folder / "issues.csv")
    assert again.labels.tolist() == expected.tolist()
    assert again.paths == data.paths
    assert again.class_names == data.class_names


@pytest.mark.parametrize("seed", range(3))
def test_a_table_takes_a_change_back(folder, seed):
    rng = np.random.default_rng(seed)
    data = data_of(folder, rng)
    new = (data.labels + 1) % len(NAMES)
    rows = np.arange(len(data))
    issues_for(data, rows, new).to_csv(folder / "there.csv")
    there = data.relabel(folder / "there.csv")
    issues_for(there, rows, data.labels).to_csv(folder / "back.csv")
    assert there.relabel(folder / "back.csv").labels.tolist() == data.labels.tolist()
    with pytest.raises(kr.DataError, match="Was it applied before"):
        there.relabel(folder / "there.csv")


def test_no_cell_is_a_formula_to_a_spreadsheet(folder):
    data = data_of(folder, np.random.default_rng(0))
    rows = np.arange(len(data))
    issues_for(data, rows, rows).to_csv(folder / "photos" / "issues.csv")
    file = folder / "photos" / "issues.csv"
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")  # tells spreadsheets UTF-8
    with file.open(encoding="utf-8-sig", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert "'=1+1.jpg" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_rows_can_be_deleted_emptied_and_written_anew(flowers, tmp_path, caplog):
    issues = issues_for(flowers, [0, 1, 2, 3, 4], [1, 1, 1, 1, 1])
    issues.to_csv(tmp_path / "issues.csv")
    edits = iter(["dandelion", None, "", " roses ", "daisy"])

    def change(row):
        new = next(edits)
        return None if new is None else row | {"new_label": new}

    edited(tmp_path / "issues.csv", change)
    with caplog.at_level(logging.INFO):
        again = flowers.relabel(tmp_path / "issues.csv")
    names = [again.class_names[label] for label in again.labels[:4]]
    assert names == ["dandelion", "daisy", "roses", "daisy"]
    assert again.paths == (*flowers.paths[:2], *flowers.paths[3:])
    assert "changes the label of 2 images and leaves out 1." in caplog.text
    assert len(flowers) == 30
    assert flowers.labels[:5].tolist() == [0] * 5


def test_a_spreadsheet_may_write_semicolons_and_leave_empty_rows(flowers, tmp_path):
    cells = f"{flowers.sources[0]};daisy;roses"
    text = f"source;label;new_label\r\n{cells}\r\n;;\r\n\r\n"
    (tmp_path / "a.csv").write_text(text, "utf-8")
    assert flowers.relabel(tmp_path / "a.csv").labels[0] == 2


def test_a_table_of_no_rows_changes_nothing(flowers, tmp_path):
    issues_for(flowers, [], []).to_csv(tmp_path / "issues.csv")
    again = flowers.relabel(tmp_path / "issues.csv")
    assert again.labels.tolist() == flowers.labels.tolist()


def test_paths_mean_the_same_from_another_current_folder(folder, monkeypatch):
    whole = data_of(folder, np.random.default_rng(0))
    monkeypatch.chdir(folder / "photos")
    here = replace(whole, paths=tuple(Path(path.name) for path in whole.paths))
    issues_for(here, [3], [0]).to_csv("../issues.csv")
    assert Path("../issues.csv").read_text("utf-8-sig").count("\nphotos/+x.jpg,") == 1
    monkeypatch.chdir(folder.parent)
    name = folder.name
    there = replace(
        whole, paths=tuple(Path(name, "photos", path.name) for path in whole.paths)
    )
    for data in (whole, there):
        again = data.relabel(folder / "issues.csv")
        assert again.labels[3] == 0
        assert again.paths == data.paths


def test_a_table_that_moved_is_told_where_paths_start(folder):
    data = data_of(folder, np.random.default_rng(0))
    issues_for(data, [0], [5]).to_csv(folder / "issues.csv")
    (folder / "away").mkdir()
    moved = folder / "away" / "issues.csv"
    (folder / "issues.csv").replace(moved)
    with pytest.raises(
        kr.DataError, match=r"not in the data: photos/plain\.jpg.*root="
    ):
        data.relabel(moved)
    assert data.relabel(moved, root=folder).labels[0] == 5


def test_images_in_memory_are_known_by_their_numbers(pixels, tmp_path):
    data = kr.ImageData.from_arrays(*pixels).take(6)
    issues_for(data, [0, 5], [3, 4]).to_csv(tmp_path / "issues.csv")
    again = data.relabel(tmp_path / "issues.csv")
    assert again.labels.tolist() == [3, *data.labels[1:5], 4]
    assert again.rows.tolist() == data.rows.tolist()
    assert not again.named


def test_a_photo_listed_twice_is_corrected_where_it_has_the_label(flowers, tmp_path):
    paths = (flowers.paths[0], flowers.paths[0], flowers.paths[1])
    data = kr.ImageData(flowers.class_names, np.array([0, 1, 0]), paths)
    issues_for(data, [1], [2]).to_csv(tmp_path / "issues.csv")
    assert data.relabel(tmp_path / "issues.csv").labels.tolist() == [0, 2, 0]


def test_parts_stay_with_their_images(flowers, tmp_path):
    train, validation = flowers.split(0.2)
    whole = kr.ImageData.combine(train=train, validation=validation)
    issues_for(whole, [0], [0]).to_csv(tmp_path / "issues.csv")
    edited(tmp_path / "issues.csv", lambda row: row | {"new_label": ""})
    assert whole.relabel(tmp_path / "issues.csv").parts == whole.parts[1:]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["absent.jpg,daisy,roses"], "images that are not in the data: absent.jpg"),
        (["{0},daisy,rosse"], "classes that the data does not have: 'rosse'"),
        (["{0},lily,roses"], "classes that the data does not have: 'lily'"),
        (["{0},,roses"], "classes that the data does not have: ''"),
        (["{0},tulips,roses"], "labels that these images do not have: .*daisy_000"),
        (["{0},daisy,roses", "{0},daisy,"], "different new labels for these images"),
        (["{0},daisy"], "Line 3 of .* has 2 cells"),
    ],
)
def test_a_wrong_row_refuses_the_whole_table(flowers, tmp_path, rows, message):
    right = f"{flowers.sources[1]},daisy,roses"
    lines = [
        "source,label,new_label",
        right,
        *(row.format(*flowers.sources) for row in rows),
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines), "utf-8")
    with pytest.raises(kr.DataError, match=message):
        flowers.relabel(tmp_path / "a.csv")


def test_a_table_of_something_else_is_refused(flowers, tmp_path):
    flowers.to_csv(tmp_path / "flowers.csv")
    with pytest.raises(
        kr.DataError, match="no column source, new_label, but image_path"
    ):
        flowers.relabel(tmp_path / "flowers.csv")


def test_a_table_that_leaves_nothing_is_refused(pixels, tmp_path):
    data = kr.ImageData.from_arrays(*pixels)
    columns = {
        "source": data.sources,
        "label": [data.class_names[label] for label in data.labels],
        "new_label": [""] * len(data),
    }
    write_corrections(tmp_path / "a.csv", columns, files=False)
    with pytest.raises(kr.DataError, match="leaves out all images"):
        data.relabel(tmp_path / "a.csv")


def test_unlabelled_images_cannot_be_relabelled(flower_folder, tmp_path):
    data = kr.ImageData.from_paths(flower_folder / "daisy")
    with pytest.raises(kr.DataError, match="no labels"):
        data.relabel(tmp_path / "a.csv")
