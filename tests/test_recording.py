"""A run that goes on from any of its states ends as if it had never been cut off."""

import json

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import recording
from kerasresnet.feeding import FeedSettings
from kerasresnet.inputs import checked_inputs
from kerasresnet.keeping import Best
from kerasresnet.preparing import Round, trained_in
from kerasresnet.rounds import Course

ROUNDS = [
    Round(2, "conv5", 1e-3, schedule="cosine"),
    Round(2, "conv4", 1e-3, schedule="one_cycle", layer_decay=0.5),
]


@pytest.fixture(scope="module")
def colour_parts(coloured):
    images, labels = coloured
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 3, 60))
    return (images[:40], noisy[:40]), (images[40:], noisy[40:])


@pytest.fixture
def course(small, colour_parts):
    """Makes a model and a course that trains it, with all that has a state."""

    def make(states=None, *, rounds=ROUNDS, ema=None, **settings):
        model = small(3, dropout=0.5, hidden_units=(8,))
        kr.compile_classifier(model, ema_momentum=ema)
        inputs = checked_inputs(model, *colour_parts, "raise")
        course = Course(
            model,
            inputs,
            FeedSettings(16, None, "memory", 3, 0),
            rounds,
            precision="float32",
            best=Best(trained_in(model, rounds)),
            record=None if states is None else states.append,
            **settings,
        )
        return model, course

    return make


def through_json(state):
    """As it comes back from a file."""
    arrays, notes = state
    return {name: np.array(array) for name, array in arrays.items()}, json.loads(
        json.dumps(notes)
    )


def assert_same_end(one, other):
    for (model, course), (expected, whole) in [(one, other)]:
        assert course.history.epoch == whole.history.epoch
        assert course.history.history == whole.history.history
        assert course._best.notes == whole._best.notes
        for found, wanted in zip(model.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_from_every_state_the_run_ends_with_the_same_weights_and_history(
    course, monkeypatch, ema
):
    monkeypatch.setattr(recording, "_SECONDS", 0.0)
    states = []
    whole = course(states, ema=ema)
    whole[1].save()
    whole[1].run()
    # At first; after two of three batches in four epochs; between epochs; after rounds.
    assert len(states) == 1 + (0 if ema else 4 * 2) + 2 + 2
    chosen = [1, 2] if ema else [0, 1, 2, 5, 6, 8, -1]
    for number in chosen:
        again = course(ema=ema)
        again[1].resume(through_json(states[number]))
        again[1].run()
        assert_same_end(again, whole)


@pytest.mark.core
def test_a_run_goes_on_from_the_middle_of_an_epoch_on_every_backend(
    course, monkeypatch
):
    monkeypatch.setattr(recording, "_SECONDS", 0.0)
    rounds, states = [Round(1, "conv5", 1e-3, schedule="cosine")], []
    whole = course(states, rounds=rounds)
    whole[1].run()
    assert states[0][1]["standing"]["batch"] == 1
    again = course(rounds=rounds)
    again[1].resume(through_json(states[0]))
    again[1].run()
    assert_same_end(again, whole)


def test_states_are_taken_between_epochs_and_after_rounds(course):
    states = []
    _, whole = course(states)
    whole.run()
    assert [notes["standing"]["batch"] for _, notes in states] == [0] * 4
    assert [notes["standing"]["number"] for _, notes in states] == [0, 1, 1, 2]
    assert [len(notes["epochs"]) for _, notes in states] == [1, 2, 3, 4]


def test_a_stage_that_was_begun_again_goes_on_at_its_rate(
    small, course, colour_parts, monkeypatch
):
    monkeypatch.setattr(recording, "_SECONDS", 0.0)
    model = small(3)
    (images, labels), held_out = colour_parts
    kr.probe(model, (images, labels), held_out, verbose=0)
    head = model.get_weights()
    wrong = (images, (labels + 1) % 3)
    rounds = [Round(2, "conv5", 0.05)]

    def make(states=None):
        model = small(3)
        model.set_weights(head)
        kr.compile_classifier(model)
        inputs = checked_inputs(model, wrong, held_out, "raise")
        settings = FeedSettings(16, None, "memory", 3, 0)
        record = None if states is None else states.append
        best = Best(trained_in(model, rounds))
        return model, Course(model, inputs, settings, rounds, precision="float32", best=best, record=record)  # fmt: skip

    states = []
    whole = make(states)
    whole[1].run()
    assert {notes["standing"]["retries"] for _, notes in states} >= {0, 1, 2}
    for number in range(1, len(states), 3):
        again = make()
        again[1].resume(through_json(states[number]))
        again[1].run()
        assert_same_end(again, whole)
