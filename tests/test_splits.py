"""Where images go: nothing is lost or torn apart, and what is added moves nothing."""

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.splits import divide, folds, position, proportional


def places(count, seed=0, times=0):
    return np.array([position(str(i), seed, times) for i in range(count)])


def divided(positions, labels, fractions, units=None):
    units = np.arange(len(positions)) if units is None else units
    names = [f"class{i}" for i in range(labels.max() + 1)]
    return divide(positions, units, labels, fractions, names)


@pytest.mark.parametrize("fractions", [(0.2,), (0.1, 0.1), (0.5, 0.4), (0.05, 0.9)])
def test_shares_of_every_class_are_met_as_by_chance(fractions):
    labels = np.arange(9000) % 3
    parts = divided(places(9000), labels, fractions)
    for label in range(3):
        for part, share in enumerate(fractions, 1):
            found = (parts[labels == label] == part).sum()
            assert abs(found - 3000 * share) < 4 * (3000 * share * (1 - share)) ** 0.5


def test_more_images_move_none_that_were_there():
    labels = np.random.default_rng(0).integers(0, 4, 500)
    few = divided(places(300), labels[:300], (0.2, 0.1))
    many = divided(places(500), labels, (0.2, 0.1))
    np.testing.assert_array_equal(many[:300], few)


def test_a_further_part_leaves_the_first_as_it_is():
    labels = np.zeros(500, "int64")
    one = divided(places(500), labels, (0.2,))
    two = divided(places(500), labels, (0.2, 0.3))
    np.testing.assert_array_equal(one == 1, two == 1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("fractions", [(0.01,), (0.9,), (0.05, 0.05)])
def test_every_class_has_an_image_in_every_part(fractions, seed):
    labels = np.repeat(np.arange(5), [3, 3, 4, 9, 40])
    parts = divided(places(59, seed), labels, fractions)
    for label in range(5):
        assert set(parts[labels == label]) == set(range(len(fractions) + 1))


def test_units_stay_together_also_when_a_class_is_completed():
    for seed in range(30):
        units = np.arange(40) // 4
        positions = places(10, seed)[units]
        parts = divided(positions, np.zeros(40, "int64"), (0.05,), units)
        assert {len(set(parts[units == unit])) for unit in range(10)} == {1}
        assert set(parts) == {0, 1}


def test_a_class_of_one_picture_stays_in_one_part_and_that_is_said(caplog):
    parts = divided(places(12), np.repeat([0, 1], 6), (0.5,), np.repeat([0, 1, 2], 4))
    assert len(parts) == 12
    alone = divided(np.full(4, 0.7), np.zeros(4, "int64"), (0.2,), np.zeros(4, "int64"))
    assert set(alone) == {0}
    assert "for one in every part: class0" in caplog.text


@pytest.mark.parametrize(("count", "said"), [(1, "1 image,"), (2, "2 images,")])
def test_a_class_with_too_few_images_is_named(count, said):
    labels = np.repeat([0, 1], [9, count])
    with pytest.raises(kr.DataError, match=f"'class1' has {said} too few for 3 parts"):
        divided(places(9 + count), labels, (0.1, 0.1))


def test_what_was_divided_with_the_same_seed_before_is_noticed(caplog):
    rest = places(1000)
    rest = rest[rest >= 0.2]
    divided(rest, np.zeros(len(rest), "int64"), (0.2,))
    assert "divided with this seed before" in caplog.text


def test_places_depend_on_key_seed_and_times_alone():
    assert position("a", 0, 0) == position("a", 0, 0)
    others = {position("a", 1, 0), position("a", 0, 1), position("b", 0, 0)}
    assert len(others | {position("a", 0, 0)}) == 4
    drawn = places(20_000)
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 2000).max() < 200


@pytest.mark.parametrize("k", [2, 3, 7])
def test_folds_have_equal_shares_and_keep_units_together(k):
    units = np.random.default_rng(0).integers(0, 200, 400)
    labels = units % 3
    found = folds(places(200)[units], units, labels, k)
    assert set(found) == set(range(k))
    assert all(len(set(found[units == unit])) == 1 for unit in set(units))
    single = folds(places(300), np.arange(300), np.arange(300) % 3, k)
    for label in range(3):
        sizes = np.bincount(single[np.arange(300) % 3 == label], minlength=k)
        assert np.ptp(sizes) <= 1


def test_shares_add_up_and_differ_from_exact_ones_by_less_than_one_image():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.integers(50, 5000, rng.integers(1, 12))
        total = int(rng.integers(len(counts), counts.sum() + 1))
        sizes = proportional(counts, total)
        exact = counts * total / counts.sum()
        assert sizes.sum() == total
        assert (sizes <= counts).all()
        assert (np.abs(sizes - exact) < 1).all() or sizes.min() == 1


def test_no_class_is_lost_while_there_is_room_for_each():
    counts = np.array([1000, 1, 0, 1, 500])
    for total in range(4, 1500):
        sizes = proportional(counts, total)
        assert sizes.sum() == total
        np.testing.assert_array_equal(sizes > 0, counts > 0)


def test_fewer_images_than_classes_go_to_different_classes():
    np.testing.assert_array_equal(proportional(np.array([5, 5, 5, 5]), 2), [1, 1, 0, 0])
