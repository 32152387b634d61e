"""The audit notes every bad photo, and only those."""

import numpy as np
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
    assert "2 cannot be read:" in str(audit)


def test_photos_under_32_px_on_either_side_are_small_but_readable(tmp_path):
    (tmp_path / "daisy").mkdir()
    for width, height in ((31, 90), (90, 31), (32, 32)):
        photo = Image.new("RGB", (width, height))
        photo.save(tmp_path / "daisy" / f"{width}x{height}.png")
    audit = kr.ImageData.from_folder(tmp_path).check()
    assert audit.ok
    assert [path[-9:] for path in audit.small] == ["31x90.png", "90x31.png"]
    assert "2 have a side under 32 px" in str(audit)


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
    assert len(text.splitlines()) == 1 + 20 + 1 + 1 + 10 + 1 + 1
    assert "and 80 more classes" in text
    assert "class99" in text
    assert "class79" not in text
    assert "and 40 more" in text
    assert text.endswith("a, b, c, d, e and 3 more")


def test_nothing_is_found_in_nothing():
    assert str(Audit({})).startswith("0 images in 0 classes")
    assert kr.ImageData.from_paths([]).check().ok
    assert np.sum(list(Audit({"a": 2, "b": 3}).counts.values())) == 5
