"""The rules one by one; `test_recipes` is about what they give together."""

import math

import pytest

from kerasresnet.rules import Facts, check_overrides, decide, with_images

STEPS = {"conv5": 1 / 85, "conv4": 1 / 45, "conv3": 1 / 37}
FACTS = {
    "images": 500,
    "smallest_class": 100,
    "classes": 5,
    "image_size": 224,
    "trunk_seconds": 1 / 90,
    "step_seconds": STEPS,
}


def test_what_is_given_is_kept_and_the_rest_is_as_without_it_where_nothing_depends():
    facts = Facts(**FACTS)
    plain, why = decide(facts, {})
    given, because = decide(facts, {"batch_size": 7})
    assert given == {**plain, "batch_size": 7}
    assert because == {**why, "batch_size": "As you asked."}


def test_each_decided_value_given_back_changes_no_value():
    for images in (50, 500, 5000, 50_000):
        facts = Facts(**{**FACTS, "images": images, "smallest_class": images // 5})
        values, _ = decide(facts, {})
        check_overrides(values)
        again, reasons = decide(facts, values)
        assert again == values
        assert set(reasons.values()) == {"As you asked."}


@pytest.mark.parametrize("images", [5, 123, 500])
def test_fewer_images_leave_the_classes_in_proportion_and_at_least_one_of_each(images):
    fewer = with_images(Facts(**FACTS), {"images": images})
    assert fewer.images == images
    assert fewer.smallest_class == images // 5
    assert with_images(fewer, {}) is fewer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 0}, "images must be a whole number of at least 1"),
        ({"images": 10.0}, "images must be a whole number"),
        ({"classes": True}, "classes must be a whole number"),
        (
            {"smallest_class": 101},
            "at least smallest_class=101 are more than images=500",
        ),
        ({"validation_images": -1}, "validation_images must be"),
        ({"trunk_seconds": -1}, "trunk_seconds must be at least 0 seconds"),
        ({"overhead_seconds": math.nan}, "overhead_seconds must be at least 0 seconds"),
        ({"step_seconds": {"conv5": 1}}, "no time for conv4, conv3"),
        ({"step_seconds": {**STEPS, "conv9": 1}}, "Unknown stage 'conv9'"),
        ({"step_seconds": {**STEPS, "conv5": "1"}}, r"step_seconds\['conv5'\] must be"),
    ],
)
def test_facts_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Facts(**{**FACTS, **changes})
