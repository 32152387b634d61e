"""Which images there are: none lost, none twice, each with its own label."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet.decoding import read_image
from kerasresnet.division import readable
from kerasresnet.folders import photos_below
from kerasresnet.images import with_empty_classes


def draw(path, size=(8, 8), **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path, **settings)
    return path


@pytest.fixture
def numbered():
    """Images that tell their own row: 60 of class a, 30 of b, 10 of c, mixed up."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    images = np.arange(100, 200, dtype="uint8").repeat(8 * 8 * 3).reshape(-1, 8, 8, 3)
    return kr.ImageData.from_arrays(images, labels, class_names=["a", "b", "c"])


# From a folder -------------------------------------------------------------------------


def test_a_folder_is_read_in_order_of_class_and_file(flowers, flower_folder):
    assert flowers.paths == tuple(sorted(flower_folder.glob("*/*")))
    assert flowers.class_names == tuple(sorted(p.name for p in flower_folder.iterdir()))
    assert [p.parent.name for p in flowers.paths] == [
        flowers.class_names[label] for label in flowers.labels
    ]
    assert flowers.counts() == dict.fromkeys(flowers.class_names, 6)


@pytest.mark.parametrize("name", ["sun flowers", "Gänseblümchen", "雏菊", "a.b", "C#%"])
def test_any_name_of_a_class_or_photo_is_taken(name, tmp_path):
    path = draw(tmp_path / name / f"{name} 1.png")
    data = kr.ImageData.from_folder(str(tmp_path))
    assert data.class_names == (name,)
    assert data.paths == (path,)
    assert read_image(data.photo(0)).shape == (8, 8, 3)


def test_suffixes_are_read_in_upper_and_lower_case(tmp_path):
    for i, suffix in enumerate([".JPG", ".jpeg", ".Png", ".BMP", ".webp", ".TIFF"]):
        draw(tmp_path / "a" / f"{i}{suffix}")
    assert len(kr.ImageData.from_folder(tmp_path)) == 6


def test_hidden_files_and_folders_are_passed_over_in_silence(tmp_path, caplog):
    draw(tmp_path / ".git" / "a.png")
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "a" / "._1.png")
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "a" / ".DS_Store").touch()
    data = kr.ImageData.from_folder(tmp_path)
    assert [path.name for path in data.paths] == ["1.png"]
    assert data.class_names == ("a",)
    assert not caplog.records


def test_nested_folders_and_other_files_are_left_out_and_reported(tmp_path, caplog):
    draw(tmp_path / "a" / "1.png")
    draw(tmp_path / "a" / "deeper" / "2.png")
    (tmp_path / "a" / "notes.txt").touch()
    with caplog.at_level(logging.WARNING, "kerasresnet"):
        assert len(kr.ImageData.from_folder(tmp_path)) == 1
    assert "left out 1 file of another kind: notes.txt" in caplog.text
    assert "left out nested folders: deeper" in caplog.text


def test_class_names_choose_classes_and_their_order(flower_folder):
    data = kr.ImageData.from_folder(flower_folder, class_names=["tulips", "daisy"])
    assert data.class_names == ("tulips", "daisy")
    assert [path.parent.name for path in data.paths] == ["tulips"] * 6 + ["daisy"] * 6
    np.testing.assert_array_equal(data.labels, [0] * 6 + [1] * 6)


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    with pytest.raises(
        kr.DataError, match=r"nowhere does not exist\. Expected a folder"
    ):
        kr.ImageData.from_folder(tmp_path / "nowhere")
    with pytest.raises(kr.DataError, match=r"a\.png is a file. Expected a folder"):
        kr.ImageData.from_folder(draw(tmp_path / "a.png"))


def test_a_folder_without_class_folders_is_refused(tmp_path):
    with pytest.raises(kr.DataError, match=r"has no sub-folder, and no image\. Put"):
        kr.ImageData.from_folder(tmp_path)
    draw(tmp_path / "a.JPG")
    with pytest.raises(kr.DataError, match="but 1 image directly in it"):
        kr.ImageData.from_folder(tmp_path)


def test_a_class_without_photos_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(kr.DataError, match=r"Class 'a' in .* has no image\. Files"):
        kr.ImageData.from_folder(tmp_path)
    draw(tmp_path / "a" / "deeper" / "1.png")
    with pytest.raises(kr.DataError, match="sub-folders are not read: deeper"):
        kr.ImageData.from_folder(tmp_path)


def test_a_class_without_photos_is_kept_if_that_is_wanted(tmp_path):
    for part in ("train", "val"):
        for name in ("a", "b"):
            draw(tmp_path / part / name / "1.png")
    (tmp_path / "val" / "c").mkdir()
    for folder, counts in (
        (tmp_path / "val", {"a": 1, "b": 1, "c": 0}),
        (tmp_path, {"a": 2, "b": 2, "c": 0}),
    ):
        data = with_empty_classes(folder)
        assert data.counts() == counts
        assert data.check().empty_classes == ("c",)
        with pytest.raises(kr.DataError, match=r"Class 'c' in .* has no image"):
            kr.ImageData.from_folder(folder)
    draw(tmp_path / "val" / "c" / "1.png")
    whole, same = with_empty_classes(tmp_path), kr.ImageData.from_folder(tmp_path)
    assert (whole.paths, whole.parts) == (same.paths, same.parts)
    np.testing.assert_array_equal(whole.labels, same.labels)


def test_a_class_name_without_a_folder_is_refused(flower_folder):
    with pytest.raises(kr.DataError, match=r"There is no folder .* class 'tulip'"):
        kr.ImageData.from_folder(flower_folder, class_names=["tulip"])


def test_photos_below_a_folder_are_found_at_any_depth_but_hidden_ones(tmp_path):
    seen = [draw(tmp_path / name) for name in ("a.JPG", "b/c/d.png", "e.png")]
    draw(tmp_path / ".hidden" / "f.png")
    draw(tmp_path / "b" / ".g.png")
    (tmp_path / "notes.txt").touch()
    assert photos_below(tmp_path) == seen
    with pytest.raises(kr.DataError, match=r"There is no image in .*empty\. Files"):
        photos_below(tmp_path / "empty")


def test_a_photo_is_known_by_its_first_bytes_if_its_name_does_not_tell(
    tmp_path, caplog
):
    draw(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    (tmp_path / "a" / "3.txt").write_text("notes", "utf-8")
    data = kr.ImageData.from_folder(tmp_path)
    assert [path.name for path in data.paths] == ["1.png", "2"]
    assert "left out 1 file of another kind: 3.txt" in caplog.text
    assert photos_below(tmp_path) == list(data.paths)


def test_a_broken_link_is_listed_so_that_it_is_noticed(tmp_path):
    draw(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "gone.png")
    data = kr.ImageData.from_folder(tmp_path)
    assert [path.name for path in data.paths] == ["1.png", "2.png"]
    assert "broken link" in str(data.check())


def test_a_folder_that_is_closed_to_the_reader_is_named(tmp_path, monkeypatch):
    draw(tmp_path / "a" / "1.png")
    scandir = os.scandir

    def closed(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(kr.DataError, match="a cannot be read: Permission denied"):
        kr.ImageData.from_folder(tmp_path)


# From a folder that is divided already ----------------------------------------------------


@pytest.fixture
def divided(tmp_path):
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            for number in range(3):
                draw(tmp_path / part / name / f"{part}{number}.png")
    return tmp_path


def test_parts_that_are_folders_are_given_by_split(divided):
    data = kr.ImageData.from_folder(divided)
    assert data.counts() == {"cat": 9, "dog": 9}
    for part, folder in zip(data.split(), ("train", "val", "test"), strict=True):
        assert part.paths == tuple(sorted((divided / folder).glob("*/*")))
        assert part.counts() == {"cat": 3, "dog": 3}


def test_a_class_may_be_absent_from_a_part_and_chosen_by_name(divided):
    draw(divided / "train" / "ant" / "1.png")
    train, held_out, _ = kr.ImageData.from_folder(divided).split()
    assert train.counts() == {"ant": 1, "cat": 3, "dog": 3}
    assert held_out.counts() == {"ant": 0, "cat": 3, "dog": 3}
    few = kr.ImageData.from_folder(divided, class_names=["dog", "ant"])
    assert few.split()[0].counts() == {"dog": 3, "ant": 1}


def test_names_of_parts_may_be_classes(tmp_path):
    for name in ("train", "test", "bus"):
        draw(tmp_path / "one" / name / "1.png")
    assert kr.ImageData.from_folder(tmp_path / "one").parts is None
    for name in ("train", "test"):
        draw(tmp_path / "two" / name / "1.png")
    assert kr.ImageData.from_folder(tmp_path / "two").class_names == ("test", "train")


def test_a_class_that_no_part_has_is_refused(divided):
    with pytest.raises(kr.DataError, match=r"There is no folder .* class 'unicorn'"):
        kr.ImageData.from_folder(divided, class_names=["dog", "unicorn"])


def test_two_folders_for_one_part_are_refused(divided):
    draw(divided / "valid" / "cat" / "1.png")
    with pytest.raises(kr.DataError, match="both stand for the part 'validation'"):
        kr.ImageData.from_folder(divided)


# Images in memory -------------------------------------------------------------------------


def test_images_of_any_kind_and_size_are_taken_together(tmp_path):
    content = draw(tmp_path / "1.png", (9, 7)).read_bytes()
    array = np.full((5, 6, 3), 9, "uint8")
    photos = (one for one in (content, array, Image.new("L", (3, 4))))
    data = kr.ImageData.from_images(photos, ["b", "a", "b"])
    assert data.class_names == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.sources == ("image 0", "image 1", "image 2")
    sizes = [read_image(data.photo(i)).shape[:2] for i in range(3)]
    assert sizes == [(7, 9), (5, 6), (4, 3)]
    assert kr.ImageData.from_images([content, array]).labels is None
    again = data.shard(1, 2)
    assert again.sources == ("image 1",)
    assert read_image(again.photo(0)).shape == (5, 6, 3)


def test_images_in_memory_are_checked_and_batched_as_files_are(tmp_path):
    contents = [
        draw(tmp_path / f"{i}.png", (40, 40 + i)).read_bytes() for i in range(3)
    ]
    data = kr.ImageData.from_images([*contents, b"no image"], [0, 1, 0, 1])
    audit = data.check()
    assert [source for source, _ in audit.unreadable] == ["image 3"]
    good = data.without(audit.unreadable)
    images, labels = next(iter(kr.make_dataset(good, image_size=(8, 8))))
    assert images.shape == (3, 8, 8, 3)
    assert labels.numpy().tolist() == [0, 1, 0]


@pytest.mark.parametrize("photo", ["a.jpg", None, 3])
def test_what_is_no_image_is_refused(photo):
    with pytest.raises(kr.DataError, match=r"Expected bytes, PIL images or arrays"):
        kr.ImageData.from_images([photo])
    with pytest.raises(kr.DataError, match="There is no image"):
        kr.ImageData.from_images([])


@pytest.mark.parametrize("shape", [(5,), (2, 5, 5, 3), (5, 5, 2), (3, 5, 8)])
def test_an_array_of_another_shape_is_refused_with_its_number_and_shape(shape):
    images = [np.zeros((4, 4, 3), "uint8"), np.zeros(shape, "uint8")]
    with pytest.raises(kr.DataError) as refused:
        kr.ImageData.from_images(images)
    assert f"Image 1 has shape {shape}, expected (H, W, 3)" in str(refused.value)


@pytest.mark.parametrize("shape", [(5, 6), (5, 3), (5, 6, 1), (5, 6, 3), (5, 6, 4)])
def test_gray_and_rgba_arrays_are_kept_as_they_are(shape):
    image = np.full(shape, 9, "uint8")
    np.testing.assert_array_equal(kr.ImageData.from_images([image]).photo(0), image)


# Images that cannot be read ------------------------------------------------------------------


def test_skipping_leaves_out_what_cannot_be_read_and_says_so(flowers, tmp_path, caplog):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    data = kr.ImageData.from_paths([*flowers.paths[:3], tmp_path / "bad.jpg"])
    assert readable(data, "skip").paths == flowers.paths[:3]
    assert "1 of 4 images cannot be read and are left out" in caplog.text
    assert readable(data, "raise") is data
    good = kr.ImageData.from_paths(flowers.paths[:3])
    assert readable(good, "skip") is good
    with pytest.raises(ValueError, match="Unknown on_error 'ignore'"):
        readable(data, "ignore")


# From arrays and paths -------------------------------------------------------------------


def test_arrays_are_wrapped_not_copied(pixels):
    data = kr.ImageData.from_arrays(*pixels)
    assert np.shares_memory(data.photo(3), pixels[0])
    np.testing.assert_array_equal(data.photo(3), pixels[0][3])
    np.testing.assert_array_equal(data.labels, pixels[1])
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert not data.named


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_an_array_is_the_same_as_its_pictures_in_files(mode, tmp_path):
    shape = (3, 9, 8, len(mode)) if mode != "L" else (3, 9, 8)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image, mode=None).save(path)
    arrays, files = kr.ImageData.from_arrays(images), kr.ImageData.from_paths(paths)
    for left, right in zip(*(kr.make_dataset(d) for d in (arrays, files)), strict=True):
        np.testing.assert_array_equal(left, right)


def test_labels_belong_to_the_data_alone(pixels):
    images, labels = pixels[0], pixels[1].copy()
    data = kr.ImageData.from_arrays(images, labels)
    labels[:] = 0
    np.testing.assert_array_equal(data.labels, pixels[1])
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 3


def test_images_without_labels_say_so(pixels, flowers):
    for data in (
        kr.ImageData.from_arrays(pixels[0]),
        kr.ImageData.from_paths(flowers.paths),
    ):
        assert "unlabelled" in repr(data)
        for use in (data.counts, lambda data=data: data.split(0.2)):
            with pytest.raises(kr.DataError, match=r"have no labels\. Pass labels"):
                use()


def test_an_empty_value_has_no_image():
    empty = kr.ImageData(())
    assert len(empty) == 0
    assert empty.sources == ()
    with pytest.raises(IndexError, match="There is no image 0"):
        empty.photo(0)


def test_each_image_has_a_source(flowers, numbered):
    assert flowers.sources == tuple(map(str, flowers.paths))
    assert numbered.take(100).sources[99] == "image 99"
    few = numbered.take(5)
    assert few.sources == tuple(
        f"image {few.photo(i)[0, 0, 0] - 100}" for i in range(5)
    )


def test_the_value_prints_what_it_holds(flowers, numbered):
    assert repr(numbered) == "ImageData(100 images, 3 classes: a, b, c)"
    assert repr(flowers).startswith("ImageData(30 images, 5 classes: daisy, ")
    one = kr.ImageData.from_arrays(np.zeros((1, 8, 8, 3), "uint8"), [0])
    assert repr(one) == "ImageData(1 image, 1 class: 0)"


# with_class_names ------------------------------------------------------------------------


def test_labels_follow_their_names_into_another_order(numbered):
    other = numbered.with_class_names(["x", "c", "a", "b"])
    assert other.class_names == ("x", "c", "a", "b")
    for i in range(100):
        old = numbered.class_names[numbered.labels[i]]
        assert other.class_names[other.labels[i]] == old
    assert other.counts() == {"x": 0, "c": 10, "a": 60, "b": 30}


def test_renaming_there_and_back_changes_nothing(flowers):
    turned = flowers.with_class_names(flowers.class_names[::-1])
    back = turned.with_class_names(flowers.class_names)
    np.testing.assert_array_equal(back.labels, flowers.labels)
    assert back.paths == flowers.paths
    assert flowers.with_class_names(flowers.class_names) is flowers


def test_classes_without_names_take_the_new_ones_as_they_stand(pixels):
    data = kr.ImageData.from_arrays(*pixels)
    named = data.with_class_names(["e", "d", "c", "b", "a", "z"])
    np.testing.assert_array_equal(named.labels, data.labels)
    assert named.named
    with pytest.raises(kr.DataError, match="has 5 classes, but 2 are expected: a, b"):
        data.with_class_names(["a", "b"])


def test_a_class_that_is_not_among_the_names_is_refused(numbered):
    with pytest.raises(kr.DataError, match=r"not expected: b\. Expected: a, c, d"):
        numbered.with_class_names(["a", "c", "d"])
