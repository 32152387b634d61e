"""Rounds of training: stages one after another, rates, and what happens when it goes wrong."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.compiling import optimizers_of

QUIET = {"verbose": 0, "batch_size": 4}


@pytest.fixture(scope="module")
def colour_head(small, coloured):
    """Weights of a model whose head knows the colours."""
    model = small(3)
    kr.compile_classifier(model, learning_rate=0.03)
    kr.fit(model, coloured, epochs=8, **QUIET)
    return model.get_weights()


@pytest.fixture
def ready(small, colour_head):
    """Builds that model."""

    def build():
        model = small(3)
        model.set_weights(colour_head)
        kr.compile_classifier(model)
        return model

    return build


def weights_of(model):
    return [np.array(weight) for weight in model.weights]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def fine_tuned(model, data, validation=None, **settings):
    return kr.fine_tune(
        model, data, validation, **{"learning_rate": 1e-3, **QUIET, **settings}
    )


# Stages --------------------------------------------------------------------------------


@pytest.mark.core
def test_stages_are_unfrozen_one_after_another_with_one_history(ready, coloured):
    model, alone = ready(), ready()
    before = {layer.name: layer.get_weights() for layer in model.layers}
    history = fine_tuned(model, coloured, from_stage=("conv5", "conv4"), epochs=(2, 3))
    first = fine_tuned(alone, coloured, from_stage="conv5", epochs=2)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert history.history["loss"][:2] == first.history["loss"]
    assert int(model.optimizer.iterations) == 3 * 15  # a new one for the last stage
    moved = {
        layer.name.split("_")[0]
        for layer in model.layers
        for now, then in zip(layer.get_weights(), before[layer.name], strict=True)
        if not np.array_equal(now, then)
    }
    assert moved == {"conv4", "conv5", "predictions"}


def test_each_stage_may_have_its_own_rate(ready, coloured):
    model = ready()
    fine_tuned(
        model,
        coloured,
        from_stage=("conv5", "conv3"),
        epochs=1,
        learning_rate=(1e-3, 1e-5),
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": (1, 2, 3)},
        {"learning_rate": (1e-3,)},
        {"from_stage": ()},
        {"from_stage": ("conv5", "conv9")},
        {"epochs": (1, 0)},
        {"layer_decay": 0},
        {"layer_decay": 1.5},
        {"keep": "all"},
        {"schedule": "linear"},
        {"warmup": 2.0},
    ],
)
def test_rounds_that_do_not_fit_together_are_refused(small, coloured, wrong):
    model = small(3)
    with pytest.raises(ValueError, match=r"xpected|must be|Unknown"):
        kr.fine_tune(model, coloured, **{"from_stage": ("conv5", "conv4"), **wrong})
    assert not model.compiled


# Rates ---------------------------------------------------------------------------------


@pytest.mark.core
def test_layer_decay_slows_each_stage_by_its_factor(small, coloured):
    names = ("predictions", "conv5_block1_1_conv", "conv4_block1_1_conv")
    found = {}
    for decay in (1.0, 0.5):
        model = small(3)
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        kernels = [model.get_layer(name).kernel for name in names]
        before = [np.array(kernel) for kernel in kernels]
        settings = {"from_stage": "conv4", "epochs": 1, "batch_size": 60}
        fine_tuned(model, coloured, layer_decay=decay, **settings)  # one step
        found[decay] = [
            np.array(now) - then for now, then in zip(kernels, before, strict=True)
        ]
    for steps, (slow, fast) in enumerate(zip(found[0.5], found[1.0], strict=True)):
        np.testing.assert_allclose(slow, fast * 0.5**steps, rtol=1e-3, atol=1e-7)


def test_a_model_with_a_rate_for_each_stage_is_saved_and_trained_again(
    ready, coloured, tmp_path
):
    model = ready()
    fine_tuned(model, coloured, from_stage="conv4", epochs=1, layer_decay=0.5)
    rates = [float(each.learning_rate) for each in optimizers_of(model.optimizer)]
    assert rates[:3] == pytest.approx([1e-3, 5e-4, 2.5e-4])
    model.save(tmp_path / "model.keras")
    loaded = kr.load(tmp_path / "model.keras")
    assert_equal(loaded.get_weights(), model.get_weights())
    kr.fit(loaded, coloured, epochs=1, **QUIET)
    fine_tuned(loaded, coloured, epochs=1, learning_rate=1e-4)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(1e-4)


@pytest.mark.core
@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_schedule_runs_through_and_leaves_the_rate_as_it_was(
    ready, coloured, schedule
):
    model = ready()
    history = kr.fit(
        model, coloured, epochs=4, learning_rate=0.01, schedule=schedule, **QUIET
    )
    rates = history.history["learning_rate"]
    assert len(rates) == 4
    assert max(rates) <= 0.01
    assert rates[-1] < 0.001 < max(rates)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_a_schedule_begins_anew_in_each_stage(ready, coloured):
    history = fine_tuned(
        ready(),
        coloured,
        from_stage=("conv5", "conv4"),
        epochs=2,
        schedule="cosine",
        layer_decay=0.5,
    )
    rates = history.history["learning_rate"]
    assert rates[2:] == pytest.approx(rates[:2])
    assert rates[0] > rates[1]


def test_a_schedule_needs_to_know_the_number_of_batches(small, coloured):
    dataset = tf.data.Dataset.from_tensor_slices(coloured).batch(4)
    endless = dataset.filter(lambda images, labels: True)
    with pytest.raises(kr.DataError, match="needs the number of batches"):
        kr.fit(small(3), endless, epochs=1, schedule="cosine", verbose=0)
    known = endless.apply(tf.data.experimental.assert_cardinality(15))
    history = kr.fit(small(3), known, epochs=1, schedule="cosine", verbose=0)
    assert history.history["learning_rate"][0] < 1e-4


@pytest.mark.core
def test_averaged_weights_are_validated_and_kept(small, coloured):
    model = small(3)
    kr.compile_classifier(model, learning_rate=0.05, ema_momentum=0.9)
    history = kr.fit(model, coloured, coloured, epochs=3, **QUIET)
    averages = model.optimizer._model_variables_moving_average
    for weight, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(weight, average)
    loss, _ = model.evaluate(*coloured, verbose=0)
    assert loss == pytest.approx(history.history["val_loss"][-1], rel=0.1)


def test_gradients_of_several_batches_make_one_step(small, coloured):
    images, labels = coloured
    steps = {}
    for size, count in ((60, None), (15, 4)):
        model = small(3)
        kr.compile_classifier(
            model,
            optimizer="sgd",
            learning_rate=0.1,
            gradient_accumulation_steps=count,
        )
        kr.fit(model, (images, labels), epochs=1, batch_size=size, verbose=0)
        steps[size] = model.get_weights()[-1]
    np.testing.assert_allclose(steps[15], steps[60], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["global_clipnorm", "learning_rate"])
def test_settings_of_an_optimizer_beside_one_are_refused(small, name):
    with pytest.raises(ValueError, match=f"{name} given beside an optimizer"):
        kr.compile_classifier(
            small(3), optimizer=keras.optimizers.Adam(), **{name: 1.0}
        )


# What is kept --------------------------------------------------------------------------


def test_the_best_epoch_of_all_stages_is_kept(ready, coloured):
    model = ready()
    rng = np.random.default_rng(1)
    images, labels = coloured
    noisy = (images, np.where(rng.random(60) < 0.5, labels, rng.integers(0, 3, 60)))
    before = model.evaluate(*noisy, verbose=0, return_dict=True)
    history = fine_tuned(
        model, coloured, noisy, from_stage=("conv5", "conv4"), epochs=3
    )
    after = model.evaluate(*noisy, verbose=0, return_dict=True)
    reached = [*history.history["val_accuracy"], before["accuracy"]]
    assert after["accuracy"] == pytest.approx(max(reached), abs=1e-6)


def test_a_model_that_was_better_before_is_given_back_and_that_is_said(
    ready, coloured, caplog
):
    model = ready()
    before = weights_of(model)
    images, labels = coloured
    fine_tuned(model, (images, (labels + 1) % 3), coloured, epochs=2, keep="best", learning_rate=1e-6)  # fmt: skip
    assert "Fine-tuning did not improve on the validation accuracy" in caplog.text
    assert_equal(weights_of(model), before)
    fine_tuned(model, (images, (labels + 1) % 3), coloured, epochs=2, keep="last", learning_rate=1e-6)  # fmt: skip
    assert any(
        not np.array_equal(now, then)
        for now, then in zip(weights_of(model), before, strict=True)
    )


def test_a_stage_that_does_harm_is_undone_and_tried_at_half_the_rate(
    ready, coloured, caplog
):
    model = ready()
    before = weights_of(model)
    images, labels = coloured
    history = fine_tuned(model, (images, (labels + 1) % 3), coloured, epochs=2, learning_rate=0.05)  # fmt: skip
    fallen = [text for text in caplog.messages if "Validation accuracy fell" in text]
    assert [("0.025" in text, "0.0125" in text) for text in fallen[:2]] == [
        (True, False),
        (False, True),
    ]
    assert "the stage is left out" in fallen[2]
    assert history.epoch == []
    assert_equal(weights_of(model), before)


@pytest.mark.core
def test_training_that_diverges_ends_with_the_last_good_weights(ready, coloured):
    model = ready()
    before = weights_of(model)
    with pytest.raises(kr.DivergenceError, match="Try a lower learning rate") as caught:
        fine_tuned(model, coloured, epochs=2, learning_rate=1e25)
    assert_equal(weights_of(model), before)
    assert caught.value.history.epoch == [0]


def test_a_loss_that_runs_away_is_divergence_too(small, coloured):
    model = small(3)
    kr.compile_classifier(model, optimizer="sgd", learning_rate=1e3)
    with pytest.raises(kr.DivergenceError, match=r"where guessing gives 1\.1"):
        kr.fit(model, coloured, epochs=5, **QUIET)
    assert all(np.isfinite(weight).all() for weight in weights_of(model))


def test_a_dataset_is_watched_like_images(ready, coloured, caplog):
    caplog.set_level(logging.WARNING)
    dataset = tf.data.Dataset.from_tensor_slices(coloured).batch(20)
    history = fine_tuned(ready(), dataset, dataset, epochs=1)
    assert len(history.history["val_accuracy"]) == 1
