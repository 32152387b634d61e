"""The audit notes every bad photo, and only those."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet.audit import Audit


def test_a_good_folder_is_found_good(flowers):
    audit = flowers.check()
    assert audit == Audit(flowers.counts())
    assert audit.ok
    text = str(audit)
    assert text.startswith("30 images in 5 classes\n")
    assert text.endswith("Every image can be read.")
    assert all(name in text for name in flowers.class_names)


def test_each_bad_photo_is_listed_with_its_reason_in_order(tmp_path):
    (tmp_path / "daisy").mkdir()
    for name in ("a", "c", "e"):
        Image.new("RGB", (40, 40)).save(tmp_path / "daisy" / f"{name}.png")
    for name in ("b", "d"):
        (tmp_path / "daisy" / f"{name}.png").write_bytes(b"")
    audit = kr.ImageData.from_folder(tmp_path).check()
    bad = [str(tmp_path / "daisy" / f"{name}.png") for name in ("b", "d")]
    assert [source for source, _ in audit.unreadable] == bad
    assert all(source in reason for source, reason in audit.unreadable)
    assert not audit.ok
    assert "2 images cannot be read:" in str(audit)


def test_photos_under_32_px_on_either_side_are_small_but_readable(tmp_path):
    paths = [tmp_path / name for name in ("31x90.png", "90x31.png", "32x32.png")]
    for path in paths:
        size = [int(side) for side in path.stem.split("x")]
        Image.new("RGB", size).save(path)
    audit = kr.ImageData.from_paths(paths).check()
    assert audit.ok
    assert [path[-9:] for path in audit.small] == ["31x90.png", "90x31.png"]
    assert "2 images have a side under 32 px" in str(audit)


def test_images_in_arrays_are_audited_by_row(pixels):
    data = kr.ImageData.from_arrays(pixels[0][:, :16], pixels[1])
    audit = data.check()
    assert audit.ok
    assert audit.small == tuple(f"image {i}" for i in range(10))


def test_images_without_labels_can_be_audited(pixels, flowers):
    assert kr.ImageData.from_paths(flowers.paths).check().counts == {}
    named = kr.ImageData.from_arrays(pixels[0], class_names=["a", "b"])
    assert named.check().counts == {}


def test_a_long_summary_stays_short():
    counts = {f"class{i}": i for i in range(100)}
    unreadable = tuple((f"{i}.jpg", f"{i}.jpg is bad") for i in range(50))
    text = str(Audit(counts, unreadable, tuple("abcdefgh")))
    assert len(text.splitlines()) == 1 + 20 + 1 + 1 + 1 + 10 + 1 + 1 + 2
    assert "The largest class has 99 times as many images as the smallest." in text
    assert "and 80 more classes" in text
    assert "class99" in text
    assert "class79" not in text
    assert "and 40 more" in text
    assert "a, b, c, d, e and 3 more\nTraining would stop:\n" in text


def test_nothing_is_found_in_nothing():
    assert str(Audit({})).startswith("0 images in 0 classes")
    assert kr.ImageData.from_paths([]).check().ok
    assert np.sum(list(Audit({"a": 2, "b": 3}).counts.values())) == 5


# What is found -----------------------------------------------------------------------------


def picture(seed, size=(64, 48)):
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), "uint8")
    return Image.fromarray(blocks).resize(size)


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten good photos in colour."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            seed = number + 10 * (name == "dog")
            picture(seed).save(tmp_path / name / f"{number}.png")
    return tmp_path


def check(folder):
    return kr.ImageData.from_folder(folder).check()


def test_a_good_folder_has_no_finding(folder):
    audit = check(folder)
    assert audit == Audit({"cat": 10, "dog": 10})
    assert audit.imbalance == 1


def test_every_kind_of_unreadable_photo_is_told_apart(folder):
    cat = folder / "cat"
    (cat / "a empty.jpg").touch()
    (cat / "b text.jpg").write_text("no image", "utf-8")
    (cat / "c cut.png").write_bytes((cat / "0.png").read_bytes()[:500])
    (cat / "d link.png").symlink_to(folder / "gone.png")
    audit = check(folder)
    assert [Path(source).name[0] for source, _ in audit.unreadable] == list("abcd")
    for found, letter in (
        (audit.empty_files, "a"),
        (audit.not_images, "b"),
        (audit.truncated, "c"),
        (audit.missing, "d"),
    ):
        assert [Path(source).name[0] for source in found] == [letter]
    assert not audit.ok
    good = kr.ImageData.from_folder(folder).without(audit.unreadable)
    assert good.check().ok
    assert len(good) == 20


def test_the_same_photos_are_grouped_by_kind(folder):
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    picture(1).resize((200, 150)).save(folder / "cat" / "large.png")
    shutil.copy(folder / "dog" / "5.png", folder / "cat" / "dog.png")
    audit = check(folder)
    names = [{"/".join(Path(s).parts[-2:]) for s in g} for g in audit.duplicates]
    assert names == [{"cat/0.png", "cat/copy.png"}, {"cat/dog.png", "dog/5.png"}]
    (near,) = audit.near_duplicates
    assert {Path(source).name for source in near} == {"1.png", "large.png"}
    (conflict,) = audit.label_conflicts
    assert {Path(source).name for source in conflict} == {"dog.png", "5.png"}
    assert audit.leaks == ()
    assert audit.ok
    assert "2 groups of images that are the same:" in str(audit)


def test_photos_in_two_parts_are_leaks(folder):
    train, held_out = kr.ImageData.from_folder(folder).split(0.3)
    extra = folder / "cat" / "again.jpg"
    picture(int(train.paths[0].stem)).save(extra, quality=95)
    leaking = kr.ImageData.from_folder(folder)
    chosen = leaking.without([p for p in leaking.paths if p not in {extra}])
    both = kr.ImageData.combine(train=train, validation=held_out, test=chosen)
    (leak,) = both.check().leaks
    assert set(leak) == {str(train.paths[0]), str(extra)}
    assert kr.ImageData.combine(train=train, validation=held_out).check().leaks == ()


def test_photos_of_little_use_are_listed(folder):
    picture(50, (200, 60)).save(folder / "cat" / "long.png")
    Image.new("RGB", (40, 40), "navy").save(folder / "cat" / "plain.png")
    picture(51).convert("L").save(folder / "cat" / "gray.png")
    picture(52).save(folder / "cat" / "really a jpeg.png", "JPEG")
    picture(53).save(folder / "cat" / "no suffix", "PNG")
    picture(54).save(folder / "cat" / "no format.2019", "PNG")
    audit = check(folder)
    for found, name in (
        (audit.extreme, "long.png"),
        (audit.blank, "plain.png"),
        (audit.gray, "gray.png"),
    ):
        assert [Path(source).name for source in found] == [name]
    ((source, kind),) = audit.wrong_suffix
    assert (Path(source).name, kind) == ("really a jpeg.png", "JPEG")
    assert audit.ok
    for said in ("three times as long", "of one colour", "is gray", "its name says"):
        assert said in str(audit)


def test_gray_photos_among_gray_photos_are_no_finding(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(4):
        picture(number).convert("L").save(tmp_path / "a" / f"{number}.png")
    assert check(tmp_path).gray == ()


def test_an_empty_class_stops_training(folder):
    data = kr.ImageData.from_folder(folder).with_class_names(["cat", "cow", "dog"])
    audit = data.check()
    assert audit.empty_classes == ("cow",)
    assert audit.obstacles == ("Without an image: cow",)
    assert not audit.ok


# Whether training could start ----------------------------------------------------------------


def test_training_needs_two_classes_with_two_images_each(pixels):
    def audit_of(*labels):
        return kr.ImageData.from_arrays(pixels[0][: len(labels)], labels).check()

    single = "1 class: a classifier needs at least two"
    few = "Too few images to be in training and validation: "
    assert audit_of("cat", "cat", "cat").obstacles == (single,)
    assert audit_of("cat").obstacles == (single, f"{few}cat (1)")
    assert audit_of("cat", "dog", "cat").obstacles == (f"{few}dog (1)",)
    assert audit_of("cat", "dog", "dog", "cat").ok
    text = str(audit_of("cat"))
    assert text.startswith("1 image in 1 class\n")
    assert text.endswith(f"Training would stop:\n  {single}\n  {few}cat (1)")


def test_what_cannot_be_divided_is_what_cannot_be_trained(pixels):
    for labels in ("aab", "aabb", "abbcc", "aabbcc"):
        data = kr.ImageData.from_arrays(pixels[0][: len(labels)], list(labels))
        try:
            data.split(0.5)
        except kr.DataError:
            assert not data.check().ok
        else:
            assert data.check().ok


def test_images_without_labels_and_parts_may_have_few_of_each_class(pixels):
    data = kr.ImageData.from_arrays(pixels[0], pixels[1])
    _, held_out = data.split(0.4)
    assert 1 in held_out.counts().values()
    assert held_out.check().ok
    assert kr.ImageData.from_arrays(pixels[0][:1]).check().ok


def test_a_class_that_is_only_in_other_parts_cannot_be_trained(folder):
    train, held_out = kr.ImageData.from_folder(folder).split(0.3)
    dogs = [path for path in train.paths if path.parent.name == "dog"]
    both = kr.ImageData.combine(train=train.without(dogs), validation=held_out)
    audit = both.check()
    assert audit.untrained == ("dog",)
    assert audit.obstacles == ("Without an image in the part 'train': dog",)
    assert kr.ImageData.combine(train=train, validation=held_out).check().ok


def test_the_table_has_a_row_for_each_finding(folder):
    (folder / "cat" / "empty.jpg").touch()
    shutil.copy(folder / "cat" / "0.png", folder / "dog" / "copy.png")
    audit = check(folder)
    audit.to_csv(folder / "findings.csv")
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["problem"] for row in rows] == [
        "empty_files",
        *["duplicates"] * 2,
        *["label_conflicts"] * 2,
    ]
    assert rows[0]["image"] == str(folder / "cat" / "empty.jpg")
    assert "the file is empty" in rows[0]["detail"]
    assert {row["group"] for row in rows[1:]} == {"1"}


def test_a_second_check_reads_no_photo_again(folder, monkeypatch):
    for path in folder.glob("*/*"):
        os.utime(path, (1e9, 1e9))
    first = check(folder)
    monkeypatch.setattr(Path, "open", None)
    assert check(folder) == first
