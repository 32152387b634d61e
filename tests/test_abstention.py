from functools import cache

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.abstention import fewest_images, find_threshold

GOAL = {"max_error": 0.02, "confidence": 0.95}


def drawn(rng, images):
    """How sure a calibrated model is, and whether it is wrong."""
    sure = rng.beta(8, 0.5, images).astype("float32")
    return sure, rng.random(images) >= sure


@cache
def everyone():
    """How sure the model is of all images there are."""
    return drawn(np.random.default_rng(99), 50_000)[0]


def risk(threshold):
    """Share of wrong answers above a threshold, of all images there are."""
    sure = everyone()
    return float(np.mean(1 - sure[sure >= threshold]))


def chosen(sure, wrong):
    """The threshold that is found, or one that answers nothing."""
    try:
        return find_threshold(sure, wrong, **GOAL).threshold
    except kr.DataError:
        return 1.0


def tempting(sure, wrong):
    """The lowest threshold above which few enough answers are wrong: no guarantee."""
    order = np.argsort(-sure)
    fine = wrong[order].cumsum() / np.arange(1, len(sure) + 1) <= GOAL["max_error"]
    return sure[order[np.flatnonzero(fine)[-1]]] if fine.any() else 1.0


def test_more_errors_than_promised_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    sets = [drawn(rng, 1000) for _ in range(300)]
    ours = [chosen(*one) for one in sets]
    assert np.mean([risk(t) > 0.02 for t in ours]) <= 0.05 + 3 * 0.0126
    assert np.mean([t < 1 for t in ours]) > 0.4  # something is answered mostly
    # That the test would notice: without the guarantee it is a toss of a coin.
    naive = [risk(tempting(*one)) > 0.02 for one in sets]
    assert np.mean(naive) > 0.25


def test_a_threshold_answers_what_it_says():
    sure, wrong = drawn(np.random.default_rng(1), 5000)
    found = find_threshold(sure, wrong, **GOAL)
    assert found.images == 4500
    assert 0 < found.coverage < 1
    assert found.error_rate < 0.02
    share = np.mean(sure >= found.threshold)
    assert share == pytest.approx(found.coverage, abs=0.02)
    assert "at most 2.0% of such answers are wrong, with a confidence of 95%" in str(
        found
    )


def test_what_is_always_right_is_always_answered():
    sure = np.random.default_rng(0).uniform(0.3, 1, 200)
    found = find_threshold(sure, np.zeros(200, bool), **GOAL)
    assert (found.threshold, found.coverage) == (0.0, 1.0)


def test_images_that_are_equally_sure_are_answered_together():
    sure = np.repeat([0.9, 0.8, 0.5], 2000)
    wrong = np.zeros(6000, bool)
    wrong[4000::2] = True
    found = find_threshold(sure, wrong, **GOAL)
    assert 0.5 < found.threshold < 0.8
    assert found.errors == 0


@pytest.mark.parametrize(("max_error", "fewest"), [(0.02, 149), (0.01, 299), (0.5, 5)])
def test_the_fewest_images_are_those_that_suffice_if_all_are_right(max_error, fewest):
    assert fewest_images(max_error, 0.95) == fewest
    assert (1 - max_error) ** fewest <= 0.05 < (1 - max_error) ** (fewest - 1)
    right = np.zeros(fewest, bool)
    found = find_threshold(
        np.full(fewest, 0.9), right, max_error=max_error, confidence=0.95
    )
    assert found.answered == fewest
    with pytest.raises(kr.DataError, match=f"takes at least {fewest} that"):
        find_threshold(
            np.full(fewest - 1, 0.9), right[1:], max_error=max_error, confidence=0.95
        )


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_what_cannot_be_guaranteed_is_refused_with_numbers(share):
    rng = np.random.default_rng(0)
    wrong = rng.random(600) < share
    with pytest.raises(
        kr.DataError, match=r"of which the model is surest, .* more than"
    ):
        find_threshold(rng.random(600), wrong, **GOAL)


@pytest.fixture
def probed(small, coloured):
    model = small(class_names=["red", "green", "blue"])
    kr.probe(model, coloured, verbose=0)
    return model


def test_below_the_threshold_the_answer_is_unknown(probed, coloured):
    before = kr.predict(probed, coloured[0])
    shares = sorted(prediction.probability for prediction in before)
    probed.threshold = shares[30]
    after = kr.predict(probed, coloured[0])
    assert sum(one.label == "unknown" for one in after) == 30
    for old, new in zip(before, after, strict=True):
        assert new.top == old.top
        assert (new.label == "unknown") == (new.probability < shares[30])
        assert new.label in ("unknown", old.label)
    probed.threshold = None
    assert kr.predict(probed, coloured[0]) == before


def test_a_chosen_threshold_is_saved_with_the_model(probed, coloured, tmp_path):
    found = kr.choose_threshold(probed, coloured, max_error=0.2)
    assert probed.threshold == found.threshold
    probed.save(tmp_path / "model.keras")
    assert kr.load(tmp_path / "model.keras").threshold == found.threshold


def test_a_prediction_says_when_it_is_unknown(probed, coloured):
    surest = kr.predict(probed, coloured[0][0])[0]
    probed.threshold = min(1.0, surest.probability + 1e-6)
    (prediction,) = kr.predict(probed, coloured[0][0])
    assert str(prediction).startswith(f"image 0: unknown ({surest.top[0][0]} ")


def test_scores_are_of_the_classes_whatever_the_threshold(probed, coloured):
    before = kr.evaluate(probed, coloured).accuracy
    probed.threshold = 1.0
    assert kr.evaluate(probed, coloured).accuracy == before


def test_nothing_is_changed_if_there_is_no_threshold_to_give(probed, coloured):
    probed.threshold = 0.5
    with pytest.raises(kr.DataError, match=r"There are 60 images.* takes at least 149"):
        kr.choose_threshold(probed, coloured)
    assert probed.threshold == 0.5


@pytest.mark.parametrize("change", ["probe", "fit", "trunk"])
def test_a_threshold_of_other_weights_is_not_used(probed, coloured, change):
    probed.threshold = 0.5
    if change == "probe":
        kr.probe(probed, coloured, penalties=(0.1,), verbose=0)
    elif change == "fit":
        kr.fit(probed, coloured, epochs=1, verbose=0)
    else:
        kernel = probed.get_layer("conv3_block1_1_conv").kernel
        kernel.assign(kernel * 1.01)
    with pytest.raises(ValueError, match="weights have changed since"):
        kr.predict(probed, coloured[0])
    probed.threshold = 0.6
    assert kr.predict(probed, coloured[0])


def test_a_threshold_of_new_weights_forgets_the_calibration_of_old_ones(
    probed, coloured
):
    kr.calibrate(probed, coloured)
    probed.threshold = 0.5
    assert probed.certainty.images == 60
    kr.probe(probed, coloured, penalties=(0.1,), verbose=0)
    probed.threshold = 0.5
    with pytest.raises(ValueError, match=r"Call kr.calibrate"):
        kr.predict(probed, coloured[0], coverage=0.9)


def test_a_class_called_unknown_and_a_threshold_exclude_each_other(small, coloured):
    model = small(class_names=["red", "green", "unknown"])
    with pytest.raises(ValueError, match="A class is called 'unknown'"):
        kr.choose_threshold(model, coloured)
    with pytest.raises(ValueError, match="A class is called 'unknown'"):
        model.threshold = 0.5
    model.class_names = ["red", "green", "blue"]
    model.threshold = 0.5
    with pytest.raises(ValueError, match="A class is called 'unknown'"):
        model.class_names = ["red", "green", "unknown"]
    assert model.class_names == ("red", "green", "blue")


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(small, threshold):
    model = small()
    with pytest.raises(ValueError, match=r"must be a probability in 0\.\.1"):
        model.threshold = threshold


@pytest.mark.parametrize("name", ["max_error", "confidence"])
@pytest.mark.parametrize("share", [0, 1])
def test_shares_lie_between_zero_and_one(probed, coloured, name, share):
    with pytest.raises(ValueError, match=f"{name} must be a share between 0 and 1"):
        kr.choose_threshold(probed, coloured, **{name: share})


def test_a_few_images_can_be_enough_for_a_modest_promise():
    right = np.zeros(9, bool)
    found = find_threshold(
        np.linspace(0.5, 0.9, 9), right, max_error=0.3, confidence=0.95
    )
    assert (found.answered, found.threshold) == (9, 0.0)
