"""Training on features, wherever they are kept, ends where plain Keras ends on images."""

import gc
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.feeding import Feed, FeedSettings
from kerasresnet.twins import Trunk, Twin

NORM = keras.layers.BatchNormalization


def unsettled(model, seed=0):
    """Gives a model biases and batch norm statistics that an error would show in."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, NORM):
            size = layer.gamma.shape[0]
            spread = 1000 if layer.name == "conv1_bn" else 1
            layer.gamma.assign(rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0, 0.3, size))
            layer.moving_mean.assign(rng.normal(0, 0.3, size) * spread**0.5)
            layer.moving_variance.assign(rng.uniform(0.5, 2, size) * spread)
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape[0]))
    return model


@pytest.fixture
def ready(small, flowers):
    """Builds an unsettled model for the flowers, compiled with SGD."""

    def build(**settings):
        model = unsettled(small(class_names=flowers.class_names, **settings))
        kr.compile_classifier(model, optimizer="sgd", learning_rate=1e-3)
        return model

    return build


def trained(model, data, stage, **settings):
    settings = {"epochs": 2, "batch_size": 10, "seed": 3, **settings}
    settings = {"precision": "float32", "learning_rate": 1e-3, **settings}
    if stage is None:
        return kr.fit(model, data, **settings).history
    return kr.fine_tune(model, data, from_stage=stage, **settings).history


def photos(data, *, training=False):
    """What plain Keras is given."""
    order = {"image_size": (32, 32), "batch_size": 10, "seed": 3}
    return kr.make_dataset(data, training=training, **order)


def assert_same_run(model, history, other, others):
    for key, values in others.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-4, err_msg=key)
    pairs = zip(model.get_weights(), other.get_weights(), strict=True)
    for one, two in pairs:
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


# The central promise -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "caches"),
    [
        (None, ["auto", "folder", "memory", False]),
        ("conv5", ["auto", False]),
        ("conv4", ["folder", "memory"]),
    ],
)
def test_every_cache_trains_to_the_weights_of_plain_keras(
    ready, flowers, tmp_path, stage, caches
):
    plain = ready()
    before = plain.get_weights()
    kr.set_trainable(plain, stage)
    oracle = plain.fit(photos(flowers, training=True), epochs=2, shuffle=False)
    for cache in caches:
        model = ready()
        kept = tmp_path if cache == "folder" else cache
        history = trained(model, flowers, stage, cache=kept)
        assert_same_run(model, history, plain, oracle.history)
        moved = [
            variable.path
            for variable, old in zip(model.weights, before, strict=True)
            if not np.array_equal(variable, old)
        ]
        assert moved == [v.path for v in model.trainable_weights]


@pytest.mark.parametrize("cache", ["memory", False])
def test_validation_scores_what_evaluation_scores(ready, flowers, cache):
    model = ready()
    train, held_out = flowers.split(0.4)
    history = trained(model, train, None, validation=held_out, cache=cache)
    loss, accuracy = model.evaluate(photos(held_out))
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-4)
    assert history["val_accuracy"][-1] == pytest.approx(accuracy)


def test_a_stage_trained_meanwhile_makes_its_kept_features_worthless(
    ready, pixels, tmp_path
):
    model, other = ready(), ready()
    settings = {"epochs": 1, "learning_rate": 1e-2}
    for stage in ("conv5", "conv4"):
        trained(model, pixels, stage, cache=tmp_path, **settings)
    other.set_weights(model.get_weights())
    kept = trained(model, pixels, "conv5", cache=tmp_path, **settings)
    fresh = trained(other, pixels, "conv5", cache=False, **settings)
    assert_same_run(model, kept, other, fresh)


def test_other_heads_train_alike(ready, pixels):
    one, two = (ready(pooling="max", hidden_units=(4,)) for _ in range(2))
    on_features = trained(one, pixels, None, cache="memory")
    on_images = trained(two, pixels, None, cache=False)
    assert_same_run(one, on_features, two, on_images)


def test_weights_of_samples_count(ready, pixels):
    weights = np.linspace(0, 2, 10).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((*pixels, weights)).batch(10)
    one, two = ready(), ready()
    answers = one(pixels[0]).numpy()[np.arange(10), pixels[1]]
    on_features = trained(one, dataset, None, cache="memory")
    on_images = trained(two, dataset, None, cache=False)
    assert_same_run(one, on_features, two, on_images)
    expected = np.mean(-np.log(answers) * weights)
    assert on_features["loss"][0] == pytest.approx(expected, rel=1e-4)


# Precision -----------------------------------------------------------------------------


def test_bfloat16_trains_float32_weights_nearly_as_far(ready, pixels):
    half, whole = ready(), ready()
    before = half.get_weights()
    trained(half, pixels, "conv5", precision="bfloat16", cache="memory")
    trained(whole, pixels, "conv5", cache="memory")
    assert {weight.dtype for weight in half.weights} == {"float32"}
    steps = [
        np.concatenate([(w - b).ravel() for w, b in zip(each, before, strict=True)])
        for each in (half.get_weights(), whole.get_weights())
    ]
    cosine = np.dot(*steps) / np.prod([np.linalg.norm(step) for step in steps])
    assert 0.98 < cosine < 1 - 1e-7  # near, and not float32 after all


def test_the_head_computes_in_float32(ready, pixels):
    model = ready(hidden_units=(4,))
    trunk = Trunk(model, "conv5", "bfloat16")
    twin = Twin(model, trunk, "bfloat16")
    assert twin({"images": pixels[0]}).dtype == "float32"
    for layer in twin._tail.layers[1:]:
        assert layer.compute_dtype == "float32"
        assert layer.layer is model.get_layer(layer.name)


# Callbacks and Keras -------------------------------------------------------------------


class Asking(keras.callbacks.Callback):
    """Asks the model about images while it is trained on features."""

    def __init__(self, images, labels):
        super().__init__()
        self.asked = (images, labels)
        self.answers = []

    def on_epoch_end(self, epoch, logs=None):
        images, labels = self.asked
        scores = self.model.evaluate(images, labels, verbose=0)
        self.answers.append((self.model.predict(images, verbose=0), scores))


def test_callbacks_ask_the_model_about_images_as_ever(ready, pixels, tmp_path):
    model, asking = ready(), Asking(*pixels)
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    callbacks = [asking, checkpoint]
    trained(model, pixels, None, epochs=1, cache="memory", callbacks=callbacks)
    ((answers, scores),) = asking.answers
    np.testing.assert_array_equal(answers, model.predict(pixels[0]))
    assert scores == pytest.approx(model.evaluate(*pixels), rel=1e-6)
    saved = kr.load(tmp_path / "1.keras")
    np.testing.assert_array_equal(answers, saved.predict(pixels[0]))
    assert saved.compiled


def test_training_stops_early_if_asked(ready, pixels):
    stop = keras.callbacks.EarlyStopping("loss", mode="min", min_delta=1e9, patience=2)
    history = trained(ready(), pixels, None, epochs=9, cache="memory", callbacks=[stop])
    assert len(history["loss"]) == 3


def test_plain_keras_goes_on_where_training_ended(ready, pixels):
    model, other = ready(), ready()
    trained(model, pixels, None, cache="memory")
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Twin)]
    other.set_weights(model.get_weights())
    answers = model(pixels[0]).numpy()
    np.testing.assert_array_equal(answers, other(pixels[0]))
    expected = -np.log(answers[np.arange(10), pixels[1]]).mean()
    losses = model.fit(*pixels, epochs=1).history["loss"]
    assert losses[0] == pytest.approx(expected, rel=1e-5)


def test_a_model_is_whole_again_when_training_is_interrupted(ready, pixels):
    class Interrupting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = ready()
    with pytest.raises(KeyboardInterrupt):
        trained(model, pixels, None, cache="memory", callbacks=[Interrupting()])
    assert model.train_function is None
    with pytest.raises(ValueError, match="incompatible"):
        model.predict(pixels[0][:, :20])


def test_dropout_works_in_training_only(ready, pixels):
    model = ready(dropout=0.6)
    still = {"learning_rate": 1e-12, "epochs": 3, "cache": "memory"}
    history = trained(model, pixels, None, validation=pixels, **still)
    assert len(set(history["loss"])) == 3
    np.testing.assert_allclose(history["val_loss"], history["val_loss"][0], rtol=1e-5)


# Views ---------------------------------------------------------------------------------


def epochs_of(model, pixels, count, *, augmentation, cache="memory", seed=0):
    """What each epoch is given, row by row, and its labels."""
    settings = FeedSettings(4, augmentation, cache, seed, 0)
    feed = Feed(model, "conv4", "float32", settings)
    batches = feed.training(kr.ImageData.from_arrays(*pixels))
    epochs = []
    for _ in range(count):
        inputs, labels = zip(*batches, strict=True)
        (key,) = inputs[0]
        rows = np.concatenate([each[key] for each in inputs])
        epochs.append((key, [row.tobytes() for row in rows], np.concatenate(labels)))
    return epochs


def test_each_epoch_draws_one_of_the_kept_views_of_each_image(ready, pixels):
    two = kr.Augmentation(views=2)
    model = ready()
    epochs = epochs_of(model, pixels, 8, augmentation=two)
    seen = {}
    for key, rows, labels in epochs:
        assert key == "features"
        assert len(set(rows)) == 10
        for row, label in zip(rows, labels.tolist(), strict=True):
            seen.setdefault(label, set()).add(row)
    assert [len(seen[label]) for label in range(5)] == [4] * 5  # 2 images, 2 views
    again = epochs_of(model, pixels, 8, augmentation=two)
    other = epochs_of(model, pixels, 8, augmentation=two, seed=1)
    assert [rows for _, rows, _ in again] == [rows for _, rows, _ in epochs]
    assert [rows for _, rows, _ in other] != [rows for _, rows, _ in epochs]


def test_without_a_number_of_views_each_epoch_sees_new_ones(ready, pixels):
    epochs = epochs_of(ready(), pixels, 2, augmentation=kr.Augmentation())
    assert {key for key, _, _ in epochs} == {"images"}
    assert len({row for _, rows, _ in epochs for row in rows}) == 20


def test_new_views_give_new_losses(ready, pixels):
    still = {"learning_rate": 1e-12, "augmentation": kr.Augmentation()}
    losses = trained(ready(), pixels, None, cache="memory", **still)["loss"]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_order_is_that_of_the_dataset_of_images(ready, pixels):
    model = ready()
    kept = epochs_of(model, pixels, 3, augmentation=None, seed=5)
    images = epochs_of(model, pixels, 3, augmentation=None, seed=5, cache=False)
    assert {key for key, _, _ in images} == {"images"}
    for (_, _, labels), (_, _, expected) in zip(kept, images, strict=True):
        np.testing.assert_array_equal(labels, expected)


# Where features are kept, and what is said ---------------------------------------------


@pytest.mark.parametrize("cache", ["auto", "folder", "memory", False])
def test_features_lie_where_they_are_asked_to_and_nowhere_else(
    ready, pixels, tmp_path, monkeypatch, cache
):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "auto"))
    chosen = tmp_path / "folder" if cache == "folder" else cache
    model = ready()
    for seed in (0, 1):
        settings = FeedSettings(4, None, chosen, seed, 0)
        feed = Feed(model, "conv4", "float32", settings)
        feed.training(kr.ImageData.from_arrays(*pixels))
        feed.evaluation(kr.ImageData.from_arrays(*pixels))
    found = [path.name for path in tmp_path.iterdir()]
    assert found == ([cache] if cache in ("auto", "folder") else [])
    assert len(list(tmp_path.rglob("*.npy"))) == len(found)


def test_a_run_says_what_it_computes_and_how_fast(ready, pixels, caplog, capsys):
    caplog.set_level(logging.INFO, "kerasresnet")
    keras.utils.enable_interactive_logging()
    try:
        trained(ready(), pixels, None, epochs=1, cache="memory", verbose=1)
    finally:
        keras.utils.disable_interactive_logging()
    said = "Features up to avg_pool: 10 to compute, 0 known, 0.00128 MB in memory."
    assert said in caplog.messages
    shown = capsys.readouterr().out
    assert shown.index("features to avg_pool, images/s") < shown.index("loss")


def test_a_dataset_runs_through_the_frozen_part_unless_asked(ready, pixels, caplog):
    caplog.set_level(logging.INFO, "kerasresnet")
    dataset = tf.data.Dataset.from_tensor_slices(pixels).batch(4)
    model, keys = ready(), []
    for cache in ("auto", False, "memory"):
        feed = Feed(model, "conv4", "float32", FeedSettings(4, None, cache, 0, 0))
        batches = feed.training(dataset), feed.evaluation(dataset)
        keys.append([next(iter(each))[0].keys() for each in batches])
        assert ("may give other images" in caplog.text) == (cache == "auto")
        caplog.clear()
    assert keys == [[{"images"}] * 2, [{"images"}] * 2, [{"features"}] * 2]


def test_a_dataset_cannot_be_augmented_here(ready, pixels):
    dataset = tf.data.Dataset.from_tensor_slices(pixels).batch(4)
    with pytest.raises(ValueError, match="augmentation works on ImageData and arrays"):
        kr.fit(ready(), dataset, augmentation=kr.Augmentation(), cache="memory")


def test_what_is_wrong_with_a_dataset_is_said_also_while_features_are_taken(
    small, pixels
):
    images, labels = pixels[0], pixels[1].copy()
    labels[9] = 7
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    with pytest.raises(kr.DataError, match="labels run from"):
        kr.fit(small(), dataset, cache="memory")


def test_a_dataset_keeps_its_batch_size_when_its_features_are_kept(small, pixels):
    dataset = tf.data.Dataset.from_tensor_slices(pixels).batch(4)
    model = small()
    kr.fit(model, dataset, epochs=1, cache="memory")
    assert int(model.optimizer.iterations) == 3


def test_a_callback_that_changes_frozen_weights_stops_the_run(small, pixels):
    other = small(seed=1)

    class Restore(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.set_weights(other.get_weights())

    with pytest.raises(RuntimeError, match="Frozen weights were changed"):
        kr.fit(small(), pixels, epochs=1, callbacks=[Restore()])


def test_what_cannot_be_compiled_again_is_refused_before_the_slow_work(
    small, pixels, monkeypatch
):
    def unregistered(y_true, y_pred):
        return y_pred[:, 0]

    model = small()
    model.compile("adam", unregistered)
    monkeypatch.setattr(Trunk, "features", None)
    with pytest.raises(ValueError, match="register_keras_serializable"):
        kr.fine_tune(model, pixels, epochs=1)


def test_fine_tuning_judges_a_model_by_the_flags_that_it_will_have(small, pixels):
    model = small()
    model.get_layer("conv5_block1_1_bn").trainable = True
    kr.fine_tune(model, pixels, epochs=1, precision="bfloat16")
