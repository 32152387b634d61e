import json

import numpy as np
import pytest
from scipy.special import softmax

from kerasresnet.calibration import best_temperature
from kerasresnet.certainty import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Certainty,
    before_temperature,
    fingerprint,
    kept_chances,
    kept_ranks,
    prediction_sets,
)


def drawn(rng, images, classes=4, too_sure=3.0):
    """Labels drawn from probabilities, and what a model says that is too sure of them."""
    logits = rng.normal(scale=1.5, size=(images, classes))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (rng.random((images, 1)) > chances).sum(axis=1).clip(max=classes - 1)
    return labels, softmax(too_sure * logits, axis=1).astype("float32")


def calibrated(labels, probabilities):
    """What `calibrate` does, on numbers: a certainty, and the temperature."""
    temperature = best_temperature(labels, probabilities)
    chances = kept_chances(labels, before_temperature(probabilities, 1.0))
    return Certainty("", temperature, len(labels), chances)


def scaled(probabilities, temperature):
    logits = np.log(probabilities.astype("float64")) / temperature
    return softmax(logits, axis=1).astype("float32")


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_right_class_as_often_as_promised(coverage):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(600):
        labels, probabilities = drawn(rng, 139)
        certainty = calibrated(labels[:39], probabilities[:39])
        rest = scaled(probabilities[39:], certainty.temperature)
        sets = prediction_sets(certainty, rest, coverage)
        shares.append(sets[np.arange(100), labels[39:]].mean())
    # Exactly 0.8 and 0.95 of 40, but for the most probable class, which always is in.
    error = np.std(shares) / np.sqrt(len(shares))
    assert coverage - 3 * error < np.mean(shares) < coverage + 0.02


def test_a_set_is_never_empty_and_grows_with_the_coverage():
    labels, probabilities = drawn(np.random.default_rng(1), 500)
    certainty = calibrated(labels, probabilities)
    small, large = (
        prediction_sets(certainty, probabilities, share) for share in (0.3, 0.9)
    )
    best = probabilities.argmax(axis=1)
    assert small[np.arange(500), best].all()
    assert (small <= large).all()
    assert small.sum() < large.sum() < large.size


@pytest.mark.parametrize("images", [1, 1000, 1001, 30_000])
def test_few_of_many_chances_say_nearly_the_same_and_never_more(images):
    every = np.sort(np.random.default_rng(0).random(images))
    certainty = Certainty("", images=images, chances=kept_chances(
        np.zeros(images, int), every[:, None]
    ))  # fmt: skip
    assert len(certainty.chances) <= 1000
    for coverage in (0.5, 0.9, 0.999):
        rank = images + 1 - int(np.ceil(round((images + 1) * coverage, 6)))
        exact = every[rank - 1] if rank else 0.0
        found = certainty.least_chance(coverage)
        assert found <= exact
        nearly = max(int(rank / 1.016) - 1, 1)
        assert found >= (every[nearly - 1] * 0.999 if rank else 0)


def test_kept_ranks_begin_with_the_first_and_are_near_each_other():
    ranks = kept_ranks(100_000)
    assert ranks[:3].tolist() == [1, 2, 3]
    assert (np.diff(ranks) <= 1 + 0.012 * ranks[:-1]).all()


def test_too_few_images_for_a_coverage_name_all_classes_and_say_so(caplog):
    labels, probabilities = drawn(np.random.default_rng(0), 18)
    sets = prediction_sets(calibrated(labels, probabilities), probabilities, 0.95)
    assert sets.all()
    assert "calibrated on 18 images, and at least 19 are needed" in caplog.text
    caplog.clear()
    labels, probabilities = drawn(np.random.default_rng(0), 19)
    prediction_sets(calibrated(labels, probabilities), probabilities, 0.95)
    assert not caplog.text


@pytest.mark.parametrize("temperature", [LOWEST_TEMPERATURE, 1.0, HIGHEST_TEMPERATURE])
def test_a_temperature_is_undone_also_where_a_probability_has_become_zero(temperature):
    logits = np.random.default_rng(0).normal(scale=6, size=(200, 10))
    first = softmax(logits, axis=1).astype("float32")
    later = softmax(logits / temperature, axis=1).astype("float32")
    assert temperature > 1 or (later == 0).any() or temperature == 1
    np.testing.assert_allclose(
        before_temperature(later, temperature), before_temperature(first, 1), rtol=1e-4
    )


def test_every_weight_is_in_the_fingerprint(small):
    model = small(hidden_units=(4,))
    known = {fingerprint(model.weights)}
    for weight in model.weights:
        changed = np.array(weight)
        changed.flat[-1] += np.float32(1e-3)
        weight.assign(changed)
        known.add(fingerprint(model.weights))
    assert len(known) == len(model.weights) + 1


def test_a_certainty_comes_back_from_json():
    certainty = Certainty("abc", 1.7, 3, (0.1, 0.25, 0.7), 0.9)
    text = json.dumps(certainty.to_config())
    assert Certainty.from_config(json.loads(text)) == certainty
    assert Certainty.from_config(None) is None
