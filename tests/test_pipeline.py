"""Batches hold every image once, in an order that only the seed decides."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kerasresnet as kr
from kerasresnet import pixels
from kerasresnet.datasets import checked_dataset, data_errors, is_dataset
from kerasresnet.decoding import read_image
from kerasresnet.inputs import as_image_data, training_images
from kerasresnet.pipeline import evaluation_batches, training_batches

NAMES = ("a", "b", "c", "d", "e")
SMALL = {"image_size": (8, 8), "batch_size": 16}


@pytest.fixture
def numbered():
    """100 images of five classes; the pixels of image `i` are all `i + 100`."""
    images = np.arange(100, 200, dtype="uint8").repeat(8 * 8 * 3).reshape(-1, 8, 8, 3)
    return kr.ImageData.from_arrays(images, np.arange(100) % 5, class_names=NAMES)


@pytest.fixture
def damaged(tmp_path):
    """Five classes of two photos, of which the last cannot be read."""
    for i, name in enumerate(NAMES * 2):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "e" / "9.png").write_bytes(b"no photo")
    return kr.ImageData.from_folder(tmp_path)


def rows(dataset):
    """Which of the numbered images come, in their order."""
    images = np.concatenate([np.asarray(images) for images, _ in dataset])
    return (images[:, 0, 0, 0].astype(int) - 100).tolist()


def for_training(data, *, class_names=NAMES, named=True, **settings):
    settings = {"augmentation": None, "cache": "auto", "seed": 0, **SMALL, **settings}
    if is_dataset(data):
        return checked_dataset(data, class_names, named, settings["image_size"])
    return training_batches(training_images(data, class_names, named=named), **settings)


def for_evaluation(data, *, class_names=NAMES, named=True, **settings):
    settings = {**SMALL, **settings}
    if is_dataset(data):
        return checked_dataset(data, class_names, named, settings["image_size"])
    return evaluation_batches(as_image_data(data, class_names, named=named), **settings)


def own_dataset(images, labels, batch_size=4):
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.batch(batch_size) if batch_size else dataset


# Evaluation ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 16, 50, 100, 1000])
@pytest.mark.parametrize("cache", ["auto", "memory", False])
def test_evaluation_gives_every_image_once_and_in_order(numbered, batch_size, cache):
    dataset = kr.make_dataset(
        numbered, image_size=(8, 8), batch_size=batch_size, cache=cache
    )
    for _ in range(2):
        assert rows(dataset) == list(range(100))
    labels = np.concatenate([labels for _, labels in dataset])
    np.testing.assert_array_equal(labels, numbered.labels)
    assert len(dataset) == -(-100 // batch_size)


@pytest.mark.parametrize("cache", ["auto", False])
def test_photos_arrive_as_they_are_decoded(flowers, cache):
    dataset = kr.make_dataset(flowers, image_size=(20, 30), batch_size=8, cache=cache)
    for _ in range(2):
        images = np.concatenate([images for images, _ in dataset])
        for image, path in zip(images, flowers.paths, strict=True):
            np.testing.assert_array_equal(image, read_image(path, (20, 30)))


def test_evaluation_and_fit_share_one_order(flowers):
    settings = {"image_size": (16, 16), "batch_size": 7}
    left = kr.make_dataset(flowers, **settings)
    names = flowers.class_names
    for cache in (False, "memory"):
        right = for_evaluation(flowers, class_names=names, cache=cache, **settings)
        for one, other in zip(left, right, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


def test_shapes_and_types_are_known_before_the_first_batch(numbered):
    plain = kr.make_dataset(numbered, image_size=(8, 8)).element_spec
    assert plain[0] == tf.TensorSpec((None, 8, 8, 3), tf.uint8)
    assert plain[1] == tf.TensorSpec((None,), tf.int32)
    augmented = for_training(numbered, augmentation=kr.Augmentation()).element_spec
    assert augmented[0] == tf.TensorSpec((None, 8, 8, 3), tf.float32)


def test_images_without_labels_come_alone(numbered):
    unlabelled = kr.ImageData.from_arrays(numbered.images)
    dataset = kr.make_dataset(unlabelled, image_size=(8, 8), batch_size=16)
    np.testing.assert_array_equal(np.concatenate(list(dataset)), numbered.images)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32", "float64"])
def test_number_types_of_arrays_do_not_change_the_pixels(numbered, dtype):
    images = numbered.images.astype(dtype)
    batch = next(iter(kr.make_dataset(kr.ImageData.from_arrays(images), **SMALL)))
    np.testing.assert_array_equal(batch, numbered.images[:16])
    assert batch.dtype == ("float32" if dtype.startswith("float") else "uint8")


def test_the_caller_may_change_a_batch_without_changing_the_data(numbered):
    batch = next(kr.make_dataset(numbered, **SMALL).as_numpy_iterator())[0].copy()
    batch[:] = 0
    assert rows(kr.make_dataset(numbered, **SMALL)) == list(range(100))


# Training ------------------------------------------------------------------------------


def test_training_gives_every_image_with_its_label_once_in_each_epoch(numbered):
    dataset = kr.make_dataset(numbered, training=True, **SMALL)
    for _ in range(3):
        assert sorted(rows(dataset)) == list(range(100))
    for images, labels in dataset:
        np.testing.assert_array_equal(images[:, 0, 0, 0] % 5, labels)
    assert len(dataset) == 7


def test_the_shuffle_covers_the_whole_set_not_a_window(numbered):
    dataset = kr.make_dataset(numbered, training=True, **SMALL)
    first_batches = [rows(dataset.take(1)) for _ in range(30)]
    drawn = np.bincount(np.concatenate(first_batches), minlength=100)
    assert (drawn > 0).mean() > 0.9
    assert 35 < np.mean(first_batches) < 65


def test_each_epoch_has_another_order_and_each_seed_another_sequence(numbered):
    orders = set()
    for seed in range(3):
        dataset = kr.make_dataset(numbered, training=True, seed=seed, **SMALL)
        orders |= {tuple(rows(dataset)) for _ in range(3)}
    assert len(orders) == 9


def test_the_same_seed_gives_the_same_batches_whatever_the_global_seed(numbered):
    def two_epochs():
        views = kr.Augmentation(smallest_crop=1)
        dataset = for_training(numbered, augmentation=views)
        batches = [images for _ in range(2) for images, _ in dataset]
        return np.concatenate(batches)

    first = two_epochs()
    keras.utils.set_random_seed(7)
    np.testing.assert_array_equal(two_epochs(), first)


def test_make_dataset_and_fit_draw_the_same_batches(numbered):
    left = kr.make_dataset(numbered, training=True, seed=3, **SMALL)
    assert rows(left) == rows(for_training(numbered, seed=3))


# Augmentation --------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["memory", False])
def test_views_differ_between_epochs_even_when_cached(flowers, cache):
    data = flowers.take(1)
    views = kr.Augmentation(horizontal_flip=False)
    settings = {"augmentation": views, "image_size": (32, 32), "cache": cache}
    dataset = kr.make_dataset(data, training=True, **settings)
    epochs = [next(iter(dataset))[0].numpy() for _ in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(epochs[one] - epochs[other]).max() > 1
    again = kr.make_dataset(data, training=True, **settings)
    np.testing.assert_array_equal(next(iter(again))[0], epochs[0])


def test_views_of_one_epoch_differ_between_equal_images():
    images = np.full((8, 8, 8, 3), 128, "uint8")
    views = kr.Augmentation(smallest_crop=1, brightness=0.4, contrast=0)
    data = kr.ImageData.from_arrays(images, np.zeros(8, int))
    settings = {"augmentation": views, **SMALL}
    drawn = next(iter(kr.make_dataset(data, training=True, **settings)))[0].numpy()
    assert len(np.unique(drawn[:, 0, 0, 0])) == 8


def test_views_are_pictures(flowers):
    strong = kr.Augmentation(smallest_crop=0.1, brightness=0.9, contrast=0.9)
    dataset = kr.make_dataset(flowers, training=True, augmentation=strong, **SMALL)
    for images, _ in dataset:
        assert np.min(images) >= 0
        assert np.max(images) <= 255


@pytest.mark.parametrize("name", ["light", "standard", "strong"])
def test_a_preset_is_chosen_by_its_name(numbered, name):
    named, given = (
        kr.make_dataset(numbered, training=True, augmentation=augmentation, **SMALL)
        for augmentation in (name, kr.Augmentation.preset(name))
    )
    for one, other in zip(named, given, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_the_preset_none_changes_nothing(numbered):
    for augmentation in ("none", kr.Augmentation.preset("none")):
        dataset = kr.make_dataset(numbered, augmentation=augmentation, **SMALL)
        assert dataset.element_spec[0].dtype == tf.uint8
        assert rows(dataset) == list(range(100))


def test_what_is_scored_is_never_augmented(numbered):
    with pytest.raises(ValueError, match="scored must not be changed"):
        kr.make_dataset(numbered, augmentation="strong")
    with pytest.raises(ValueError, match="scored must not be changed"):
        kr.make_dataset(numbered, augmentation=kr.Augmentation())
    assert rows(for_evaluation(numbered)) == list(range(100))


# Arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [kr.make_dataset, for_training, for_evaluation])
def test_a_batch_size_below_one_is_refused(numbered, make):
    with pytest.raises(ValueError, match="batch_size must be at least 1, received 0"):
        make(numbered, image_size=(8, 8), batch_size=0)


@pytest.mark.parametrize("value", [True, 4, keras.Sequential])
def test_an_augmentation_of_another_kind_is_refused(numbered, value):
    with pytest.raises(ValueError, match=r"must be an Augmentation or .* received"):
        kr.make_dataset(numbered, training=True, augmentation=value)
    with pytest.raises(ValueError, match=r"must be an Augmentation or .* received"):
        for_training(numbered, augmentation=value)


def test_a_negative_seed_is_refused(numbered):
    for make in (kr.make_dataset, for_training):
        with pytest.raises(
            ValueError, match="seed must be a whole number of at least 0, received -1"
        ):
            make(numbered, seed=-1)


@pytest.mark.parametrize("cache", ["disk", True, None])
def test_an_unknown_cache_is_refused(numbered, cache):
    with pytest.raises(ValueError, match="'auto', 'memory' or False, received"):
        kr.make_dataset(numbered, cache=cache)


@pytest.mark.parametrize("size", [224, (224,), (0, 8), (8, 8, 3), (8.5, 8)])
def test_an_image_size_that_is_no_pair_is_refused(numbered, size):
    with pytest.raises(ValueError, match=r"image_size must be \(height, width\) in px"):
        kr.make_dataset(numbered, image_size=size)


def test_training_on_one_class_alone_is_refused(numbered):
    images = np.zeros((3, 8, 8, 3), "uint8") + 9
    with pytest.raises(kr.DataError, match="images are of one class"):
        for_training((images, [2, 2, 2]))


def test_no_images_are_refused():
    with pytest.raises(kr.DataError, match="The data has no image"):
        kr.make_dataset(kr.ImageData.from_paths([]))


def test_resizing_and_going_without_a_cache_are_logged(flowers, numbered, caplog):
    caplog.set_level(logging.INFO, "kerasresnet")
    kr.make_dataset(numbered, image_size=(16, 16))
    assert "Images of 8 x 8 are resized to 16 x 16" in caplog.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "MEMORY_BYTES", 1000)
        kr.make_dataset(flowers, image_size=(16, 16))
        assert "30 images of 16 x 16 would take" in caplog.text
        before = len(caplog.records)
        kr.make_dataset(numbered, image_size=(8, 8))  # is in memory already
    assert len(caplog.records) == before


# Unreadable photos ---------------------------------------------------------------------


def test_training_names_an_unreadable_photo_before_it_starts(damaged):
    with pytest.raises(
        kr.DataError, match=r"1 of 10 images cannot(.|\n)*9\.png cannot"
    ):
        for_training(damaged)


@pytest.mark.parametrize("cache", ["auto", False])
def test_an_unreadable_photo_is_named_when_its_batch_is_drawn(damaged, cache):
    dataset = kr.make_dataset(damaged, cache=cache, **SMALL)
    with pytest.raises(kr.DataError) as caught, data_errors():
        list(dataset)
    path = damaged.paths[-1]
    reason = "it is not an image in a known format."
    assert str(caught.value) == f"{path} cannot be read: {reason}"


def test_evaluation_names_an_unreadable_photo_at_once_when_it_keeps_photos(damaged):
    with pytest.raises(kr.DataError, match=r"9\.png cannot be read"):
        for_evaluation(damaged, cache="memory")


def test_many_unreadable_photos_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(13):
        (tmp_path / "a" / f"{i:02d}.png").touch()
    data = kr.ImageData.from_folder(tmp_path).with_class_names(["a"])
    with pytest.raises(kr.DataError, match=r"13 of 13 (.|\n)*and 3 more") as caught:
        evaluation_batches(data, cache="memory", **SMALL)
    assert str(caught.value).count("the file is empty") == 10


def test_other_errors_of_tensorflow_pass_through():
    with pytest.raises(tf.errors.InvalidArgumentError), data_errors():
        tf.reshape(tf.zeros(3), (2, 2))


# Which data fits a model ---------------------------------------------------------------


@pytest.mark.parametrize("make", [for_training, for_evaluation])
def test_a_pair_of_arrays_is_the_same_as_image_data(numbered, make):
    pair = (numbered.images, numbered.labels)
    assert rows(make(pair)) == rows(make(numbered))
    assert rows(make(list(pair))) == rows(make(numbered))


@pytest.mark.parametrize("make", [for_training, for_evaluation])
def test_data_without_labels_is_refused(numbered, make):
    for data in (kr.ImageData.from_arrays(numbered.images), (numbered.images, None)):
        with pytest.raises(kr.DataError, match="These images have no labels"):
            make(data)


@pytest.mark.parametrize("data", ["photos", None, np.zeros((4, 8, 8, 3))])
def test_data_of_another_kind_is_refused(data):
    with pytest.raises(kr.DataError, match=r"Expected ImageData, a tf\.data"):
        for_training(data)


def test_a_class_without_photos_cannot_be_trained_but_scored(flowers):
    names = (*flowers.class_names, "zinnia")
    settings = {"class_names": names, **SMALL}
    with pytest.raises(kr.DataError, match="no image of zinnia, which the model"):
        for_training(flowers, cache=False, **settings)
    assert len(for_evaluation(flowers, **settings)) == 2


# A dataset of the user's own --------------------------------------------------------------


@pytest.mark.parametrize("form", ["integers", "column", "one-hot", "floats", "weights"])
@pytest.mark.parametrize("make", [for_training, for_evaluation])
def test_a_dataset_in_any_usual_form_passes_unchanged(numbered, form, make):
    labels = numbered.labels
    written = {"column": labels[:, None], "one-hot": np.eye(5)[labels]}
    labels = written.get(form, labels.astype("float32" if form == "floats" else "int8"))
    parts = (numbered.images, labels, *([np.ones(100)] if form == "weights" else []))
    dataset = tf.data.Dataset.from_tensor_slices(parts).batch(16)
    for before, after in zip(dataset, make(dataset), strict=True):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_dataset_of_unknown_shape_passes(numbered):
    def batches():
        yield numbered.images[:4], numbered.labels[:4]

    unknown = tf.TensorSpec(None, tf.uint8), tf.TensorSpec(None, tf.int32)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=unknown)
    assert rows(for_evaluation(dataset)) == [0, 1, 2, 3]


def test_a_dataset_that_is_not_batched_is_refused(numbered):
    dataset = own_dataset(numbered.images, numbered.labels, batch_size=None)
    with pytest.raises(kr.DataError, match=r"expected batches .* dataset\.batch\(32\)"):
        for_training(dataset)


@pytest.mark.parametrize("shape", [(4, 9, 8, 3), (4, 8, 8, 1), (4, 3, 8, 8)])
def test_a_dataset_of_another_size_is_refused(shape):
    dataset = own_dataset(np.full(shape, 200, "uint8"), np.zeros(4, int))
    with pytest.raises(kr.DataError, match=r"but the model takes \(8, 8, 3\)"):
        for_training(dataset)


def test_a_dataset_without_labels_is_refused(numbered):
    dataset = tf.data.Dataset.from_tensor_slices(numbered.images).batch(4)
    with pytest.raises(kr.DataError, match="dataset gives no labels"):
        for_training(dataset)


def test_an_empty_dataset_is_refused(numbered):
    dataset = own_dataset(numbered.images, numbered.labels).take(0)
    with pytest.raises(kr.DataError, match="dataset is empty"):
        for_training(dataset)


def test_a_dataset_scaled_to_0_1_is_refused(numbered):
    dataset = own_dataset(numbered.images / 255, numbered.labels)
    with pytest.raises(kr.DataError, match=r"scaled to 0\.\.1"):
        for_training(dataset)


@pytest.mark.parametrize("label", [-1, 5])
@pytest.mark.parametrize("position", [0, 99])
def test_a_label_out_of_range_is_refused_in_any_batch(numbered, label, position):
    labels = numbered.labels.copy()
    labels[position] = label
    dataset = for_training(own_dataset(numbered.images, labels))
    run = rf"^The dataset's labels run from .*{label}.* 5 classes: expected 0 to 4\.$"
    with pytest.raises(kr.DataError, match=run), data_errors():
        list(dataset)


def test_one_hot_labels_of_another_width_are_refused(numbered):
    dataset = own_dataset(numbered.images, np.eye(6)[numbered.labels])
    with pytest.raises(kr.DataError, match=r"one-hot labels of 6 .* has 5 outputs"):
        for_training(dataset)


def test_labels_of_a_dataset_that_are_texts_are_refused(numbered):
    dataset = own_dataset(numbered.images, [NAMES[i] for i in numbered.labels])
    with pytest.raises(kr.DataError, match="labels of type string, expected integers"):
        for_training(dataset)


def test_a_dataset_with_classes_in_another_order_is_refused(flower_folder):
    def read(names):
        return keras.utils.image_dataset_from_directory(
            flower_folder, image_size=(8, 8), class_names=names, verbose=False
        )

    settings = {"class_names": NAMES, **SMALL}
    names = sorted(path.name for path in flower_folder.iterdir())
    settings["class_names"] = tuple(names)
    assert len(list(for_evaluation(read(names), **settings))) == 1
    with pytest.raises(kr.DataError, match="Their order must be the same"):
        for_evaluation(read(names[::-1]), **settings)
    settings |= {"class_names": tuple("01234"), "named": False}
    assert len(list(for_evaluation(read(names[::-1]), **settings))) == 1


def test_the_end_of_an_epoch_does_not_wait_for_a_tuner(flowers):
    # An iterator that is tuned waits for its tuner, seconds at times, when it is deleted.
    assert not kr.make_dataset(flowers, training=True).options().autotune.enabled
