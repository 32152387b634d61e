"""Which images there are: none lost, none twice, each with its own label."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet.decoding import read_image
from kerasresnet.folders import photos_below


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
    assert "left out 1 files of other kinds: notes.txt" in caplog.text
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
    with pytest.raises(kr.DataError, match="has no sub-folder, but nothing to read"):
        kr.ImageData.from_folder(tmp_path)
    draw(tmp_path / "a.JPG")
    with pytest.raises(kr.DataError, match="but 1 images directly in it"):
        kr.ImageData.from_folder(tmp_path)


def test_a_class_without_photos_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(kr.DataError, match=r"Class 'a' in .* has no image\. Files"):
        kr.ImageData.from_folder(tmp_path)
    draw(tmp_path / "a" / "deeper" / "1.png")
    with pytest.raises(kr.DataError, match="sub-folders are not read: deeper"):
        kr.ImageData.from_folder(tmp_path)


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


# split ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fractions", [(0.2,), (0.1, 0.1), (0.3, 0.3, 0.3)])
def test_a_split_gives_each_image_with_its_label_to_exactly_one_part(
    numbered, fractions
):
    parts = numbered.split(*fractions)
    assert len(parts) == len(fractions) + 1
    rows = np.concatenate([part.rows for part in parts])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    for part in parts:
        np.testing.assert_array_equal(part.labels, numbered.labels[part.rows])
        np.testing.assert_array_equal(np.sort(part.rows), part.rows)
        assert part.class_names == numbered.class_names


def test_a_split_keeps_the_share_of_every_class(numbered):
    train, validation, test = numbered.split(0.2, 0.1)
    assert train.counts() == {"a": 42, "b": 21, "c": 7}
    assert validation.counts() == {"a": 12, "b": 6, "c": 2}
    assert test.counts() == {"a": 6, "b": 3, "c": 1}


def test_a_split_is_decided_by_its_seed_alone(numbered):
    def held_out(seed):
        return numbered.split(0.3, seed=seed)[1].rows.tolist()

    np.random.seed(1)  # noqa: NPY002 - must make no difference
    first = held_out(0)
    np.random.seed(2)  # noqa: NPY002
    assert held_out(0) == first
    assert len({tuple(held_out(seed)) for seed in range(5)}) == 5


def test_photos_are_split_as_arrays_are(flowers):
    train, validation = flowers.split(0.2)
    assert set(train.paths) | set(validation.paths) == set(flowers.paths)
    assert not set(train.paths) & set(validation.paths)
    for part in (train, validation):
        for path, label in zip(part.paths, part.labels, strict=True):
            assert path.parent.name == part.class_names[label]


def test_a_part_can_be_split_again(numbered):
    rest, test = numbered.split(0.2)
    train, validation = rest.split(0.25)
    rows = np.concatenate([part.rows for part in (train, validation, test)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))


def test_a_class_too_small_to_be_split_is_refused(flower_folder, tmp_path):
    shutil.copytree(flower_folder, tmp_path, dirs_exist_ok=True)
    draw(tmp_path / "zinnia" / "only.png")
    with pytest.raises(kr.DataError, match="Class 'zinnia' has 1 image, too few for 2"):
        kr.ImageData.from_folder(tmp_path).split(0.2)


@pytest.mark.parametrize("fractions", [(), (0,), (1.0,), (0.5, 0.5), (-0.1,), (20,)])
def test_fractions_that_leave_nothing_are_refused(numbered, fractions):
    with pytest.raises(ValueError, match="must be positive and sum to less than 1"):
        numbered.split(*fractions)


# take ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 33, 99])
def test_take_is_exact_and_in_proportion(numbered, n):
    few = numbered.take(n)
    assert len(few) == n == len(set(few.rows.tolist()))
    np.testing.assert_array_equal(few.labels, numbered.labels[few.rows])
    np.testing.assert_array_equal(np.sort(few.rows), few.rows)
    if n >= 3:
        shares = np.array(list(few.counts().values()))
        assert np.abs(shares - n * np.array([0.6, 0.3, 0.1])).max() < 1
        assert shares.min() >= 1


def test_take_is_decided_by_its_seed(numbered):
    first = [numbered.take(20, seed=seed).rows.tolist() for seed in range(4)]
    assert first == [numbered.take(20, seed=seed).rows.tolist() for seed in range(4)]
    assert len({tuple(rows) for rows in first}) == 4


def test_take_of_all_or_more_is_the_whole(numbered):
    assert numbered.take(100) is numbered
    assert numbered.take(101) is numbered


def test_take_of_unlabelled_photos_keeps_their_order(flowers):
    few = kr.ImageData.from_paths(flowers.paths).take(7)
    assert len(few) == 7
    assert list(few.paths) == sorted(few.paths)


@pytest.mark.parametrize("n", [0, -3])
def test_take_of_nothing_is_refused(numbered, n):
    with pytest.raises(ValueError, match=f"positive number of images, received {n}"):
        numbered.take(n)


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
