import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

import kerasresnet as kr
from kerasresnet.calibration import best_temperature
from kerasresnet.scores import log_loss


def noisy(data):
    """The same images, a third of them with another label."""
    images, labels = data
    rng = np.random.default_rng(0)
    return images, np.where(rng.random(60) < 0.3, rng.integers(0, 3, 60), labels)


@pytest.fixture
def sharp(small, coloured):
    """Builds a model of three classes that is rather sure of itself."""

    def build(hidden_units=()):
        model = small(3, hidden_units=hidden_units)
        head = model.get_layer("predictions")
        values = keras.Model(model.input, head.input).predict(coloured[0])
        logits = values @ np.array(head.kernel)
        head.kernel.assign(head.kernel * 20 / np.ptp(logits, axis=1).max())
        return model

    return build


@pytest.mark.parametrize("hidden_units", [(), (6,)])
def test_the_model_divides_its_logits_and_changes_no_answer(
    sharp, coloured, hidden_units
):
    model, data = sharp(hidden_units), noisy(coloured)
    before = model.predict(data[0]).astype("float64")
    layers = len(model.layers)
    found = kr.calibrate(model, data)
    after = model.predict(data[0])
    assert abs(found.temperature - 1) > 0.1
    expected = softmax(np.log(before) / found.temperature, axis=1)
    np.testing.assert_allclose(after, expected, rtol=1e-4)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    assert len(model.layers) == layers


def test_the_temperature_is_the_one_of_the_lowest_log_loss():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 5, 300), rng.normal(size=(300, 5)) * 4
    logits[np.arange(300), labels] += 3
    oracle = minimize_scalar(
        lambda t: -log_softmax(logits / t, axis=1)[np.arange(300), labels].mean(),
        bounds=(0.2, 20),
        method="bounded",
        options={"xatol": 1e-9},
    )
    found = best_temperature(labels, softmax(logits, axis=1))
    assert found == pytest.approx(oracle.x, rel=1e-6)
    assert 1.2 < found < 19


def test_calibrating_again_changes_nothing(sharp, coloured):
    model, data = sharp(), noisy(coloured)
    first = kr.calibrate(model, data)
    chances = model.certainty.chances
    second = kr.calibrate(model, data)
    assert second.temperature == pytest.approx(1, abs=1e-4)
    assert second.log_loss == pytest.approx(first.log_loss, rel=1e-5)
    assert model.certainty.temperature == pytest.approx(first.temperature, rel=1e-4)
    np.testing.assert_allclose(model.certainty.chances, chances, rtol=1e-4)


def test_the_numbers_are_those_that_evaluate_finds(sharp, coloured):
    model, data = sharp(), noisy(coloured)
    labels = data[1]
    losses = []
    found = None
    for _ in range(2):
        probabilities = kr.evaluate(model, data).probabilities
        losses.append(log_loss(labels, probabilities)[0])
        found = found or kr.calibrate(model, data)
    assert [found.log_loss_before, found.log_loss] == pytest.approx(losses, rel=1e-4)
    assert found.log_loss < found.log_loss_before
    assert f"temperature {found.temperature:.3f}, from 60 images" in str(found)


@pytest.mark.core
def test_a_calibrated_model_is_the_same_after_saving(sharp, coloured, tmp_path):
    model, data = sharp(), noisy(coloured)
    kr.calibrate(model, data)
    model.save(tmp_path / "model.keras")
    again = kr.load(tmp_path / "model.keras")
    assert again.certainty == model.certainty
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))
    assert kr.predict(again, data[0], coverage=0.9) == kr.predict(
        model, data[0], coverage=0.9
    )


def test_a_dataset_is_as_good_as_arrays(sharp, coloured):
    images, labels = noisy(coloured)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    found = [
        kr.calibrate(sharp(), data).temperature for data in ((images, labels), dataset)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_no_temperature_is_low_enough_if_all_is_right(caplog):
    labels = np.arange(30) % 3
    probabilities = np.full((30, 3), 0.2)
    probabilities[np.arange(30), labels] = 0.6
    assert best_temperature(labels, probabilities) == 0.2
    assert "every image is called right" in caplog.text


def test_no_temperature_is_high_enough_if_all_is_wrong(caplog):
    labels = np.arange(30) % 3
    probabilities = np.full((30, 3), 0.45)
    probabilities[np.arange(30), labels] = 0.1
    assert best_temperature(labels, probabilities) == 20
    assert "would fall further beyond" in caplog.text


def test_probabilities_that_are_all_equal_stay(caplog):
    assert best_temperature(np.arange(3), np.full((3, 3), 1 / 3)) == 1
    assert not caplog.text


def test_all_in_all_a_temperature_stays_in_its_range(small, coloured):
    model = small(3)
    kr.probe(model, coloured, verbose=0)
    head = model.get_layer("predictions")
    head.kernel.assign(head.kernel / 20)
    head.bias.assign(head.bias / 20)
    temperatures = [kr.calibrate(model, coloured).temperature for _ in range(2)]
    assert temperatures == pytest.approx([0.2, 1])


def test_calibrating_takes_the_threshold_away_and_says_so(sharp, coloured, caplog):
    model = sharp()
    model.threshold = 0.7
    kr.calibrate(model, noisy(coloured))
    assert model.threshold is None
    assert "The threshold, 0.7, is taken away" in caplog.text


def test_calibrating_after_training_begins_anew(sharp, coloured):
    model, data = sharp(), noisy(coloured)
    kr.calibrate(model, data)
    kr.fit(model, coloured, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="weights have changed since"):
        kr.predict(model, data[0], coverage=0.9)
    found = kr.calibrate(model, data)
    assert model.certainty.temperature == found.temperature


def test_only_a_classifier_can_be_calibrated(coloured):
    with pytest.raises(ValueError, match="Expected a Classifier"):
        kr.calibrate(keras.Sequential(), coloured)


def test_probabilities_of_zero_are_reported(small, coloured, caplog):
    model = small(3)
    head = model.get_layer("predictions")
    head.bias.assign([1000.0, 0.0, 0.0])
    kr.calibrate(model, coloured)
    assert "40 of 60 images have a probability of 0 of the right class" in caplog.text


def test_few_images_are_refused_and_the_model_is_as_it_was(small, coloured):
    model, (images, labels) = small(3), coloured
    before = model.get_weights()
    with pytest.raises(kr.DataError, match=r"1 image cannot tell .* at least 10"):
        kr.calibrate(model, (images[:1], labels[:1]))
    assert model.certainty is None
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
