"""Rules on counts: nothing is lost, and shares are as near as whole images allow."""

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.splits import part_sizes, proportional


@pytest.mark.parametrize("fractions", [(0.2,), (0.1, 0.1), (0.5, 0.4), (0.05, 0.9)])
def test_every_part_gets_an_image_and_a_near_share(fractions):
    for count in range(len(fractions) + 1, 200):
        sizes = part_sizes(count, fractions, "daisy")
        assert min(sizes) >= 1
        assert sum(sizes) < count
        if count > 2 / (1 - sum(fractions)):
            exact = np.maximum(np.array(fractions) * count, 1)
            assert np.abs(sizes - exact).max() <= 1


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 images,"), (1, "1 image,"), (2, "2 images,")]
)
def test_a_class_with_too_few_images_is_named(count, said):
    with pytest.raises(kr.DataError, match=f"'daisy' has {said} too few for 3 parts"):
        part_sizes(count, (0.1, 0.1), "daisy")


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
