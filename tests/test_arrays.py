"""Arrays that are images and labels pass unchanged; all others are refused at the door."""

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.arrays import check_images, check_names, default_names, read_labels

IMAGES = np.full((4, 8, 8, 3), 200, "uint8")


# Images --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 8, 9, 3), (4, 8, 9, 1), (4, 8, 9, 4), (4, 8, 9)])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
def test_images_pass_without_being_copied(shape, dtype):
    images = np.full(shape, 200, dtype)
    assert check_images(images) is images


def test_narrow_images_are_not_mistaken_for_channels_first():
    assert check_images(np.full((4, 3, 8, 3), 200, "uint8")).shape == (4, 3, 8, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first_are_refused_with_the_remedy(channels):
    with pytest.raises(kr.DataError, match=r"channels come first.*np\.moveaxis"):
        check_images(np.full((4, channels, 8, 8), 200, "uint8"))


@pytest.mark.parametrize("shape", [(), (4,), (4, 8), (4, 8, 8, 2), (4, 1, 8, 8, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(kr.DataError, match=r"expected \(N, H, W, 3\)\.$"):
        check_images(np.full(shape, 200, "uint8"))


def test_one_image_is_refused_with_the_remedy():
    with pytest.raises(kr.DataError, match=r"pass images\[None\]"):
        check_images(IMAGES[0])


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (4, 0, 8, 3)])
def test_no_images_are_refused(shape):
    with pytest.raises(kr.DataError, match="there is no image in it"):
        check_images(np.zeros(shape, "uint8"))


@pytest.mark.parametrize("images", [["a.jpg", "b.jpg"], [None], IMAGES > 3])
def test_what_is_not_numbers_is_refused(images):
    with pytest.raises(kr.DataError, match="expected numbers"):
        check_images(images)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_images_scaled_to_0_1_are_refused(dtype):
    with pytest.raises(kr.DataError, match=r"scaled to 0\.\.1"):
        check_images((IMAGES / 200).astype(dtype))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (-1, "from -1"), (256, "to 256")]
)
def test_one_bad_value_is_enough_to_be_refused(value, message):
    images = IMAGES.astype("float32")
    images[2, 3, 4, 1] = value
    with pytest.raises(kr.DataError, match=message):
        check_images(images)


# Labels --------------------------------------------------------------------------------

NAMES = ("bird", "cat", "dog")
NUMBERS = np.array([2, 0, 1, 2])


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS,
        NUMBERS.tolist(),
        NUMBERS.astype("uint8"),
        NUMBERS[:, None],
        np.eye(3)[NUMBERS],
        np.eye(3, dtype="int64")[NUMBERS],
        [NAMES[i] for i in NUMBERS],
        np.array(NAMES, object)[NUMBERS],
        np.array(NAMES)[NUMBERS][:, None],
    ],
)
def test_every_way_to_write_labels_means_the_same(labels):
    numbers, names = read_labels(labels, 4, NAMES)
    np.testing.assert_array_equal(numbers, NUMBERS)
    assert names == NAMES


def test_names_are_found_where_none_are_given():
    assert read_labels(NUMBERS, 4, None)[1] == ("0", "1", "2")
    assert read_labels(np.eye(5)[NUMBERS], 4, None)[1] == default_names(5)
    assert read_labels(["dog", "cat", "dog", "bird"], 4, None)[1] == NAMES


@pytest.mark.parametrize("labels", [[0, 1], np.eye(3), "bird", 3, np.zeros((0,))])
def test_another_number_of_labels_than_images_is_refused(labels):
    with pytest.raises(kr.DataError, match=r"4 images but \d label"):
        read_labels(labels, 4, NAMES)


@pytest.mark.parametrize("rows", [np.ones((4, 3)), np.zeros((4, 3)), np.eye(4) * 0.5])
def test_rows_that_are_not_one_hot_are_refused(rows):
    with pytest.raises(kr.DataError, match="must be one-hot"):
        read_labels(rows, 4, NAMES)


@pytest.mark.parametrize(
    "labels",
    [
        NUMBERS.astype("float32"),
        NUMBERS > 0,
        np.zeros((4, 3, 3), "int64"),
        np.full((4, 2), "cat"),
        ["cat", None, "dog", "cat"],
        np.array(["cat", np.nan, "dog", "cat"], object),
        NUMBERS.astype("S1"),
    ],
)
def test_labels_that_could_mean_anything_are_refused(labels):
    with pytest.raises(kr.DataError, match="expected integers of shape"):
        read_labels(labels, 4, NAMES)


@pytest.mark.parametrize(
    ("labels", "run"),
    [([0, 1, 3, 0], "0 to 3"), ([0, -1, 2, 0], "-1 to 2"), (np.eye(4), "0 to 3")],
)
def test_labels_outside_the_classes_are_refused(labels, run):
    with pytest.raises(kr.DataError, match=f"run from {run}, but there are 3 classes"):
        read_labels(labels, 4, NAMES)


def test_one_hot_rows_narrower_than_the_classes_are_refused():
    with pytest.raises(kr.DataError, match="run from 0 to 1, but there are 3"):
        read_labels(np.eye(2)[[0, 1, 1, 0]], 4, NAMES)


def test_labels_that_are_not_among_the_names_are_refused():
    with pytest.raises(kr.DataError, match=r"names: cow, fox\. The names are: bird"):
        read_labels(["cat", "fox", "cow", "dog"], 4, NAMES)


# Names ---------------------------------------------------------------------------------


def test_names_become_a_tuple_of_texts():
    assert check_names(["a", "b"]) == ("a", "b")
    assert check_names(np.array([3, 1])) == ("3", "1")
    assert check_names(()) == ()


def test_a_text_is_no_list_of_names():
    with pytest.raises(ValueError, match="sequence of names, received 'tulips'"):
        check_names("tulips")


def test_names_given_twice_are_refused():
    with pytest.raises(kr.DataError, match="received twice: a, c"):
        check_names(["c", "a", "b", "a", "c"])


def test_images_with_nan_are_named():
    images = np.full((9, 8, 8, 3), 90.0, "float32")
    images[[2, 7], 0, 0, 0] = np.nan
    with pytest.raises(kr.DataError, match=r"2 images of 9 contain NaN: 2, 7\."):
        kr.ImageData.from_arrays(images)
