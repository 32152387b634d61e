"""Mixed labels say how the pixels were mixed; class numbers are never averaged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.mixing import mix_batch

MIXED = {"mixup": 0.4, "cutmix": 1.0}
ONLY = kr.Augmentation.preset


def batch(count, size=16, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size + 4, 3)).astype("float32")
    labels = np.eye(classes, dtype="float32")[rng.integers(0, classes, count)]
    return images, labels, rng.integers(0, 2**31, (count, 2))


def numbered(count=20, classes=4):
    """Images that are all one number, which tells them apart, and their labels."""
    values = np.linspace(10, 250, count).astype("uint8")
    images = values.repeat(8 * 8 * 3).reshape(-1, 8, 8, 3)
    return kr.ImageData.from_arrays(images, np.arange(count) % classes)


def dataset_of(data, augmentation, seed=0, batch_size=8):
    return kr.make_dataset(
        data,
        training=True,
        image_size=(8, 8),
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
    )


# One batch -----------------------------------------------------------------------------


@pytest.mark.parametrize("mixup", [0.05, 0.4, 100])
@pytest.mark.parametrize("cutmix", [0.0, 0.05, 1.0, 100])
def test_labels_sum_to_1_and_pixels_keep_their_range(mixup, cutmix):
    images, labels, seeds = batch(40)
    mixed, rows = mix_batch(images, labels, seeds, mixup=mixup, cutmix=cutmix)
    assert (mixed.shape, mixed.dtype) == (images.shape, np.float32)
    assert (rows.shape, rows.dtype) == (labels.shape, np.float32)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    assert rows.min() >= 0
    assert mixed.min() >= 0
    assert mixed.max() <= 255


def test_labels_are_blended_by_the_weight_of_the_pixels():
    images, _, seeds = batch(30)
    labels = np.eye(30, dtype="float32")  # a class of its own for each image
    mixed, rows = mix_batch(images, labels, seeds, mixup=1.0, cutmix=0)
    for i in range(30):
        other = (i + 1) % 30
        share = rows[i, i]
        assert set(np.flatnonzero(rows[i])) <= {i, other}
        naive = share * images[i] + (1 - share) * images[other]
        np.testing.assert_allclose(mixed[i], naive, atol=1e-3)
    assert np.ptp(np.diag(rows)) > 0.7


def test_labels_are_cut_by_the_share_of_the_area():
    images, _, seeds = batch(60)
    labels = np.eye(60, dtype="float32")
    mixed, rows = mix_batch(images, labels, seeds, mixup=0, cutmix=1.0)
    for i in range(60):
        other = images[(i + 1) % 60]
        own = (mixed[i] == images[i]).all(-1)
        assert (mixed[i][~own] == other[~own]).all()
        assert rows[i, i] == pytest.approx(own.mean(), abs=1e-6)
        across, down = (~own).any(0).sum(), (~own).any(1).sum()
        assert across * down == (~own).sum()  # one box
    assert np.ptp(np.diag(rows)) > 0.7


def test_with_both_each_is_drawn_half_of_the_time():
    images, labels, seeds = batch(200, size=8)
    mixed, _ = mix_batch(images, labels, seeds, mixup=100, cutmix=100)
    others = np.roll(images, -1, axis=0)
    cut = ((mixed == images) | (mixed == others)).all((1, 2, 3))
    assert 70 < cut.sum() < 130


def test_shares_have_the_beta_distribution_of_the_papers():
    images, _, seeds = batch(400, size=4)
    labels = np.eye(400, dtype="float32")
    for alpha in (0.2, 1.0, 5.0):
        _, rows = mix_batch(images, labels, seeds, mixup=alpha, cutmix=0)
        shares = np.diag(rows)
        assert shares.mean() == pytest.approx(0.5, abs=0.08)
        assert shares.var() == pytest.approx(1 / (8 * alpha + 4), rel=0.25)


@pytest.mark.parametrize(
    "kind", [{"mixup": 1.0, "cutmix": 0}, {"mixup": 0, "cutmix": 1}]
)
def test_an_image_that_is_alone_stays_as_it_is(kind):
    images, labels, seeds = batch(1)
    mixed, rows = mix_batch(images, labels, seeds, **kind)
    np.testing.assert_allclose(mixed, images, atol=1e-3)
    np.testing.assert_allclose(rows, labels, rtol=1e-6)


def test_the_caller_s_arrays_stay_as_they_are():
    images, labels, seeds = batch(6)
    before = images.copy(), labels.copy()
    mix_batch(images, labels, seeds, **MIXED)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


# Datasets ------------------------------------------------------------------------------


def test_a_dataset_of_mixed_images_has_float_rows_for_labels():
    dataset = dataset_of(numbered(17), ONLY("none", **MIXED))
    images, labels = dataset.element_spec
    assert images == tf.TensorSpec((None, 8, 8, 3), tf.float32)
    assert labels == tf.TensorSpec((None, 4), tf.float32)
    rows = np.concatenate([labels for _, labels in dataset])  # batches of 8, 8 and 1
    assert rows.shape == (17, 4)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)
    assert ((rows > 0).sum(1) == 2).any()


def test_labels_of_a_dataset_belong_to_its_mixed_pixels():
    data = kr.ImageData.from_arrays(
        np.stack([np.full((8, 8, 3), value, "uint8") for value in (50, 250)] * 8),
        np.arange(16) % 2,
    )
    for images, labels in dataset_of(data, ONLY("none", mixup=1.0)):
        expected = 50 * labels[:, 0] + 250 * labels[:, 1]
        np.testing.assert_allclose(images[:, 0, 0, 0], expected, rtol=1e-5)


def test_the_same_seed_mixes_the_same_and_another_epoch_differs(flowers):
    strong = kr.Augmentation.preset("strong", **MIXED)

    def epochs(seed):
        dataset = dataset_of(flowers, strong, seed)
        both = [list(dataset.as_numpy_iterator()) for _ in range(2)]
        return [np.concatenate([images for images, _ in epoch]) for epoch in both], [
            np.concatenate([labels for _, labels in epoch]) for epoch in both
        ]

    images, labels = epochs(0)
    keras.utils.set_random_seed(9)
    again, labels_again = epochs(0)
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(labels_again, labels)
    assert not np.array_equal(labels[0], labels[1])
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(epochs(1)[1], labels)


def test_images_without_labels_cannot_be_mixed():
    data = kr.ImageData.from_arrays(numbered().images)
    with pytest.raises(
        ValueError, match=r"these images have none\. Pass labelled data"
    ):
        dataset_of(data, ONLY("none", mixup=0.2))


def test_mixed_images_are_never_scored():
    with pytest.raises(ValueError, match="scored must not be changed"):
        kr.make_dataset(numbered(), augmentation=ONLY("none", mixup=0.2))


# Training ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_stage", "cache"), [("conv5", "memory"), ("conv1", False)]
)
def test_mixed_training_learns_and_scores_the_images_as_they_are(
    small, flowers, from_stage, cache
):
    model = small(class_names=flowers.class_names)
    history = kr.fine_tune(
        model,
        flowers,
        flowers,
        from_stage=from_stage,
        augmentation=ONLY("none", mixup=0.2),
        epochs=6,
        learning_rate=3e-3,
        batch_size=29,  # the last batch has one image
        cache=cache,
        precision="float32",
    ).history
    assert history["loss"][-1] < history["loss"][0]
    report = kr.evaluate(model, flowers)
    assert history["val_accuracy"][-1] == pytest.approx(report.accuracy)


def test_the_loss_of_a_mixture_is_the_mean_of_both_losses(small, pixels):
    model = small()
    mixed = {"augmentation": ONLY("none", mixup=1.0), "learning_rate": 1e-12}
    data = kr.ImageData.from_arrays(*pixels)
    found = kr.fit(model, data, epochs=1, batch_size=5, cache=False, **mixed).history
    images, labels = zip(
        *kr.make_dataset(
            data,
            training=True,
            image_size=(32, 32),
            batch_size=5,
            augmentation=mixed["augmentation"],
        ),
        strict=True,
    )
    logs = np.log(model.predict(np.concatenate(images), verbose=0))
    expected = -(np.concatenate(labels) * logs).sum(1).mean()
    assert found["loss"][0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("cache", ["memory", False])
def test_validation_labels_come_in_the_form_of_the_mixed_ones(small, pixels, cache):
    model = small()
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    mixed = ONLY("none", cutmix=1.0)
    history = kr.fit(model, pixels, pixels, epochs=1, augmentation=mixed, cache=cache)
    accuracy = (model.predict(pixels[0], verbose=0).argmax(1) == pixels[1]).mean()
    assert history.history["val_accuracy"][0] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("loss", "metrics", "named"),
    [
        ("sparse_categorical_crossentropy", None, "sparse_categorical_crossentropy"),
        (keras.losses.SparseCategoricalCrossentropy(), None, "SparseCategorical"),
        (
            "categorical_crossentropy",
            [keras.metrics.SparseTopKCategoricalAccuracy(2)],
            "SparseTopKCategoricalAccuracy",
        ),
    ],
)
@pytest.mark.parametrize("train", [kr.fit, kr.fine_tune])
def test_a_loss_that_takes_integers_is_refused(
    small, pixels, train, loss, metrics, named
):
    model = small()
    model.compile("adam", loss, metrics=metrics)
    with pytest.raises(
        ValueError, match=f"compiled with {named}.*, which takes integers"
    ):
        train(model, pixels, augmentation=ONLY("light", mixup=0.2))
