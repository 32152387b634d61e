import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasresnet.schedules import WARMUP, OneCycle, check_schedule, make_schedule

PEAK = 0.02
STEPS = 40
VARYING = [
    ("constant", 0.1),
    ("cosine", 0.0),
    ("cosine", 0.1),
    ("cosine", 0.9),
    ("one_cycle", 0.0),
    ("one_cycle", 0.25),
    ("one_cycle", 0.9),
]


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


@pytest.fixture(params=VARYING, ids=lambda param: f"{param[0]}-{param[1]}")
def case(request):
    name, warmup = request.param
    return name, warmup, make_schedule(name, PEAK, steps=STEPS, warmup=warmup)


def test_the_rate_never_passes_the_peak_and_reaches_it_where_warm_up_ends(case):
    _, warmup, schedule = case
    found = rates(schedule, range(STEPS + 1))
    assert found.max() == pytest.approx(PEAK, rel=1e-6)
    assert found.min() >= 0
    assert found[round(warmup * STEPS)] == pytest.approx(PEAK, rel=1e-6)


def test_the_rate_rises_until_the_peak_and_never_after_it(case):
    _, warmup, schedule = case
    change = np.diff(rates(schedule, range(STEPS + 1)))
    assert (change[: round(warmup * STEPS)] > 0).all()
    assert (change[round(warmup * STEPS) :] <= 1e-9).all()


def test_no_rate_jumps(case):
    _, warmup, schedule = case
    steps = np.linspace(0, STEPS + 1, 206, dtype="float32")
    shortest = min(round(warmup * STEPS) or STEPS, STEPS - round(warmup * STEPS))
    # No half cosine is steeper than pi/2 times its mean.
    most = np.pi / 2 * PEAK / shortest * (steps[1] - steps[0])
    assert np.abs(np.diff(rates(schedule, steps))).max() < 1.05 * most


def test_the_first_batch_and_every_other_trains(case):
    _, _, schedule = case
    assert rates(schedule, range(STEPS)).min() > 0


def test_steps_beyond_the_end_keep_the_last_rate(case):
    name, _, schedule = case
    end = {"constant": PEAK, "cosine": 0.0, "one_cycle": PEAK / 1e5}[name]
    beyond = rates(schedule, [STEPS, STEPS + 1, 10 * STEPS, 10**6])
    np.testing.assert_allclose(beyond, end, rtol=1e-4, atol=1e-9)


def test_one_cycle_follows_its_formula():
    schedule = OneCycle(PEAK, STEPS)
    rise = np.arange(10) / 10
    fall = np.arange(31) / 30
    low, end = PEAK / 25, PEAK / 1e5
    expected = np.concatenate(
        [
            low + (PEAK - low) * (1 - np.cos(np.pi * rise)) / 2,
            end + (PEAK - end) * (1 + np.cos(np.pi * fall)) / 2,
        ]
    )
    np.testing.assert_allclose(
        rates(schedule, range(STEPS + 1)), expected, rtol=1e-4, atol=1e-8
    )


def test_constant_without_warm_up_is_the_number_itself():
    assert make_schedule("constant", PEAK, steps=STEPS) == PEAK
    assert make_schedule("constant", PEAK, steps=1, warmup=0.9) == PEAK


@pytest.mark.parametrize("name", WARMUP)
def test_the_usual_warm_up_is_that_of_the_table(name):
    usual, said = (
        make_schedule(name, PEAK, steps=STEPS, warmup=warmup)
        for warmup in (None, WARMUP[name])
    )
    if name == "constant":
        assert usual == said
    else:
        assert usual.get_config() == said.get_config()


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_whole_number_or_one_of_numpy_is_a_rate_like_any_other(name):
    steps = range(0, STEPS, 7)
    expected = rates(make_schedule(name, 1.0, steps=STEPS), steps)
    for peak, last in ((1, STEPS), (np.float32(1), np.int64(STEPS))):
        schedule = make_schedule(name, peak, steps=last)
        json.dumps(schedule.get_config())
        np.testing.assert_array_equal(rates(schedule, steps), expected)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_single_step_is_made_at_the_peak(name):
    schedule = make_schedule(name, PEAK, steps=1, warmup=0.9)
    assert float(schedule(0)) == pytest.approx(PEAK)


def test_a_schedule_survives_serialization(case):
    _, _, schedule = case
    serialize = keras.optimizers.schedules.serialize
    again = keras.optimizers.schedules.deserialize(serialize(schedule))
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    steps = range(0, STEPS + 1, 7)
    np.testing.assert_array_equal(rates(again, steps), rates(schedule, steps))


def test_a_model_trained_with_one_cycle_is_saved_and_loaded(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(OneCycle(PEAK, STEPS)), "mse")
    model.fit(np.ones((6, 2)), np.ones((6, 1)), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = float(OneCycle(PEAK, STEPS)(3))
    assert float(loaded.optimizer.learning_rate) == pytest.approx(expected)


def test_a_symbolic_step_gives_the_same_rate(case):
    _, _, schedule = case
    traced = tf.function(schedule, input_signature=[tf.TensorSpec((), "int64")])
    steps = [0, 1, 9, 10, 39, 40, 50]
    found = [float(traced(tf.constant(step, "int64"))) for step in steps]
    np.testing.assert_allclose(found, rates(schedule, steps), rtol=1e-5, atol=1e-9)


def test_an_unknown_schedule_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        make_schedule("cosin", PEAK, steps=STEPS)
    with pytest.raises(ValueError, match="Unknown schedule None"):
        check_schedule(None)


@pytest.mark.parametrize("warmup", [-0.1, 1, 1.0, 5, float("nan"), "0.1", True])
def test_a_warm_up_that_is_no_share_is_refused(warmup):
    for call in (
        lambda: check_schedule("cosine", warmup),
        lambda: make_schedule("constant", PEAK, steps=STEPS, warmup=warmup),
        lambda: OneCycle(PEAK, STEPS, warmup),
    ):
        with pytest.raises(ValueError, match="warmup must be a share of the steps"):
            call()


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, None])
def test_steps_that_are_no_number_of_them_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be a whole number"):
        make_schedule("one_cycle", PEAK, steps=steps)


@pytest.mark.parametrize("peak", [0, -1.0, float("inf"), float("nan"), "1e-3"])
def test_a_peak_that_is_no_rate_is_refused(peak):
    with pytest.raises(ValueError, match="peak rate must be a number above 0"):
        make_schedule("cosine", peak, steps=STEPS)


@pytest.mark.parametrize("which", ["start_divisor", "end_divisor"])
@pytest.mark.parametrize("value", [0.5, 0, float("inf"), None])
def test_a_divisor_below_1_is_refused(which, value):
    with pytest.raises(ValueError, match=f"{which} must be a number of at least 1"):
        OneCycle(PEAK, STEPS, **{which: value})
