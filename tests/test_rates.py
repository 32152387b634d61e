"""The search for a learning rate: the curve is the truth, and the model notices nothing."""

import io
import logging
import math
from contextlib import redirect_stdout

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import rates
from kerasresnet.curves import Curve
from kerasresnet.rates import LearningRates, find_learning_rate

QUIET = {"verbose": 0, "batch_size": 20}
STILL = {"lowest": 1e-30, "highest": 1e-29, "precision": "float32", **QUIET}


def fresh(small):
    return small(3, hidden_units=(8,), dropout=0.3)


def trained(small, **settings):
    """A model whose optimizer has worked, as after a fit."""
    model = fresh(small)
    kr.compile_classifier(model, **settings)
    model.optimizer.build(model.trainable_variables)
    for variable in model.optimizer.variables:
        if variable.path.endswith(("kernel", "bias", "momentum", "iteration")):
            variable.assign(variable + 1)
    return model


def state(model):
    """All that a user could notice of a model."""
    optimizer = model.optimizer if model.compiled else None
    return {
        "variables": [np.array(v).tobytes() for v in model.variables],
        "paths": [v.path for v in model.trainable_variables],
        "flags": [(layer.name, layer.trainable) for layer in model.layers],
        "names": (model.class_names, model.named),
        "compiled": (model.compiled, model.stale, model.train_function),
        "config": model.get_compile_config() if model.compiled else None,
        "optimizer": optimizer,
        "slots": optimizer and [np.array(v).tobytes() for v in optimizer.variables],
    }


def judged(losses, planned=None):
    """What is read off a curve of losses."""
    curve = Curve()
    for loss in losses:
        curve.add(float(loss))
    return rates._judged(rates._rates(1e-7, 10, planned or len(losses)), curve)


@pytest.fixture(scope="module")
def model(small):
    """A model for searches after which it is as before."""
    return small(3)


MODELS = {
    "fresh": fresh,
    "averages": lambda small: trained(small, ema_momentum=0.9),
    "schedule": lambda small: trained(
        small,
        optimizer="sgd",
        learning_rate=keras.optimizers.schedules.CosineDecay(0.1, 9),
        weight_decay=1e-4,
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_model_is_as_before(small, coloured, kind):
    model = MODELS[kind](small)
    before = state(model)
    from_stage = None if kind == "schedule" else "conv5"
    found = find_learning_rate(
        model, coloured, from_stage=from_stage, lowest=1e-3, steps=20, **QUIET
    )
    assert len(set(found.losses)) > 3  # it did train
    assert state(model) == before


def test_the_model_is_as_before_if_the_search_is_cut_off(small, coloured, monkeypatch):
    def cut_off(self, batch, logs=None):
        if float(self.model.optimizer.learning_rate) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(rates._Search, "on_train_batch_begin", lambda *a, **k: None)
    monkeypatch.setattr(rates._Search, "on_train_batch_end", cut_off)
    model = trained(small)
    before = state(model)
    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(
            model, coloured, from_stage="conv5", lowest=2, highest=3, **QUIET
        )
    assert state(model) == before


def test_a_model_that_gives_no_number_is_no_fault_of_the_rate(small, coloured):
    model = trained(small)
    model.get_layer("predictions").bias.assign([np.nan] * 3)
    before = state(model)
    with pytest.raises(kr.DivergenceError, match="first batch is nan"):
        find_learning_rate(model, coloured, **QUIET)
    assert state(model) == before


@pytest.mark.core
def test_training_afterwards_is_as_without_the_search_and_finds_its_features(
    small, coloured, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "kerasresnet.extraction")
    weights = []
    for searched in (True, False):
        model = trained(small)
        if searched:
            settings = {"steps": 20, "seed": 5, "cache": tmp_path, **QUIET}
            find_learning_rate(model, coloured, **settings)
            assert "60 to compute" in caplog.text
            caplog.clear()
        kr.fit(model, coloured, epochs=1, cache=tmp_path, **QUIET)
        assert "all 60 known" in caplog.text
        weights.append(b"".join(weight.tobytes() for weight in model.get_weights()))
    assert weights[0] == weights[1]


@pytest.mark.core
def test_the_losses_are_those_of_fit_at_the_same_rates(small, coloured):
    settings = {**QUIET, "batch_size": 60, "class_weight": {"0": 3.0}}
    settings |= {"precision": "float32"}
    model = small(3)
    found = find_learning_rate(
        model,
        coloured,
        from_stage="conv5",
        lowest=1e-4,
        highest=0.1,
        steps=20,
        **settings,
    )
    kr.set_trainable(model, "conv5")
    plan = keras.callbacks.LearningRateScheduler(lambda epoch: found.rates[epoch])
    history = kr.fit(model, coloured, epochs=9, callbacks=[plan], **settings)
    np.testing.assert_allclose(found.losses[:9], history.history["loss"], rtol=1e-4)


def test_rates_of_nearly_nothing_give_the_loss_of_the_model_in_every_epoch(
    small, coloured
):
    model = small(3)
    kr.compile_classifier(model)
    found = find_learning_rate(model, coloured, steps=21, **STILL)
    epochs = np.reshape(found.losses, (7, 3))
    expected = model.evaluate(*coloured, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(epochs.mean(axis=1), expected, rtol=1e-4)
    assert len(np.unique(epochs[:, 0])) > 1  # in another order each time


@pytest.fixture(scope="module")
def search(small, coloured):
    """A search that runs away, and what it printed."""
    model, said = small(3), io.StringIO()
    kr.compile_classifier(model, optimizer="sgd")
    settings = {**QUIET, "verbose": 1, "highest": 1e3, "steps": 60}
    keras.utils.enable_interactive_logging()
    with redirect_stdout(said):
        found = find_learning_rate(model, coloured, **settings)
    keras.utils.disable_interactive_logging()
    return model, found, said.getvalue()


def test_the_rates_grow_by_the_same_factor_until_the_loss_runs_away(search):
    _, found, said = search
    done = len(found.rates)
    assert f"{done}/{done}" in said
    assert found.rates[0] == pytest.approx(1e-7)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e10) / 59)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 60
    lowest = min(found.smoothed)
    assert all(loss <= 4 * lowest for loss in found.smoothed[:-1])
    assert not found.smoothed[-1] <= 4 * lowest
    assert found.diverged == found.rates[-1]
    assert found.suggestion < found.diverged


def test_the_suggestion_lets_a_head_learn(search, coloured):
    model, found, _ = search
    kr.fit(model, coloured, epochs=15, learning_rate=found.suggestion, **QUIET)
    assert kr.evaluate(model, coloured).accuracy > 0.9


def test_the_same_seed_finds_the_same_and_the_form_of_the_data_does_not_matter(
    model, coloured
):
    data = kr.ImageData.from_arrays(*coloured)
    one, other, third = (
        find_learning_rate(model, given, steps=20, seed=seed, **QUIET)
        for given, seed in ((coloured, 1), (data, 1), (data, 2))
    )
    assert one == other
    assert one.losses != third.losses


def test_a_dataset_is_searched_in_its_own_order(model, coloured):
    dataset = tf.data.Dataset.from_tensor_slices(coloured).batch(20)
    found = find_learning_rate(model, dataset, steps=20, **STILL)
    np.testing.assert_allclose(found.losses[:3] * 6, found.losses[:18], rtol=1e-5)


def test_steepest_and_minimum_are_read_off_the_smoothed_curve():
    losses = np.r_[np.full(60, 2.0), np.linspace(2, 0.5, 25), np.full(15, 1e2)]
    found = judged(losses)
    inner = found.smoothed[10:-5]
    slopes = np.diff(inner) / np.diff(np.log(found.rates[10:-5]))
    assert found.steepest == found.rates[10 + int(np.argmin(slopes))]
    assert found.minimum == found.rates[10 + int(np.argmin(inner))] / 10
    assert found.rates[60] < found.suggestion < found.rates[85]


def test_noise_is_no_fall(caplog):
    noise = np.random.default_rng(0).normal(1.6, 0.1, (50, 100))
    answers = [judged(losses).suggestion for losses in noise]
    assert sum(map(math.isnan, answers)) >= 47
    assert "Pass more steps, a larger batch_size" in caplog.text


def test_a_fall_that_may_be_chance_counts_if_the_loss_runs_away_behind_it(caplog):
    noise = np.random.default_rng(0).normal(1.6, 0.1, 60)
    found = judged(np.r_[noise, np.linspace(5, 100, 10)], planned=100)
    assert found.rates[10] <= found.suggestion < found.rates[60]
    assert "uncertain" in caplog.text
    assert "steps=200" in caplog.text


def test_a_rate_that_was_not_found_is_refused_by_fit(model, coloured, caplog):
    found = find_learning_rate(model, coloured, steps=20, **STILL)
    assert math.isnan(found.suggestion)
    assert "No learning rate found" in caplog.text
    assert "No learning rate found" in str(found)
    with pytest.raises(ValueError, match="received nan"):
        kr.fit(model, coloured, learning_rate=found.suggestion)


def test_a_search_that_begins_too_high_says_so(caplog):
    assert math.isnan(judged([1.5, 1e3, 1e9], planned=100).suggestion)
    assert "Pass a lowest far below" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lowest": 0}, "Expected 0 < lowest < highest, received lowest=0"),
        ({"lowest": 1, "highest": 0.1}, "Expected 0 < lowest < highest"),
        ({"highest": "10"}, "received lowest=1e-07 and highest='10'"),
        ({"highest": math.inf}, "Expected 0 < lowest < highest"),
        ({"steps": 10}, "steps must be a whole number of at least 20, received 10"),
        ({"from_stage": "conv_5"}, "Unknown stage 'conv_5'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"precision": "float16"}, "Unknown precision"),
    ],
)
def test_arguments_that_cannot_work_are_refused(model, coloured, arguments, message):
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, coloured, **arguments)


def test_what_is_found_reads_well():
    curve = (1e-3, 1e-2, 0.1), (1.5, 1.0, 9.0), (1.5, 1.25, 9.0)
    text = str(LearningRates(*curve, 0.004, 0.005, 0.001))
    assert "Learning rate 0.004" in text
    assert "ran away at 0.1" in text
    calm = LearningRates(curve[0], curve[1][:2] * 2, (1.5, 1.2, 1.1), 0.004, 0.005, 0.1)
    assert calm.diverged is None
    assert "did not run away up to 0.1" in str(calm)
