"""Views are random but reproducible, and stay pictures."""

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr

OFF = {"horizontal_flip": False, "smallest_crop": 1, "brightness": 0, "contrast": 0}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (16, 12, 3), "uint8")


def views(image, count=40, **settings):
    view = kr.Augmentation(**{**OFF, **settings})
    return np.stack([view(image, tf.constant([0, i])) for i in range(count)])


@pytest.mark.parametrize("smallest_crop", [0.05, 0.7, 1])
@pytest.mark.parametrize("strength", [0.1, 0.9])
def test_views_keep_shape_and_range(image, smallest_crop, strength):
    drawn = views(image, 20, smallest_crop=smallest_crop, brightness=strength)
    assert drawn.shape == (20, 16, 12, 3)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 255


def test_strong_contrast_and_brightness_stay_in_range(image):
    drawn = views(image, brightness=0.99, contrast=0.99)
    assert drawn.min() == 0
    assert drawn.max() == 255


def test_the_same_seed_gives_the_same_view_and_others_differ(image):
    everything = kr.Augmentation()
    first, again, other = (
        everything(image, tf.constant(seed)).numpy()
        for seed in ((3, 4), (3, 4), (4, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_with_everything_off_a_view_is_the_image(image):
    np.testing.assert_array_equal(views(image, 1)[0], image)


def test_half_of_the_views_are_mirrored(image):
    mirrored = 0
    for view in views(image, 200, horizontal_flip=True):
        turned = (view == image[:, ::-1]).all()
        assert turned or (view == image).all()
        mirrored += int(turned)
    assert 70 < mirrored < 130


def test_brightness_shifts_all_pixels_by_one_amount_within_its_limit():
    gray = np.full((8, 8, 3), 128, "uint8")
    shifts = views(gray, brightness=0.2) - 128
    assert np.ptp(shifts, axis=(1, 2, 3)).max() == 0
    assert 30 < np.abs(shifts).max() <= 0.2 * 255


def test_contrast_stretches_around_the_mean_within_its_limit(image):
    soft = (image // 4 + 96).astype("uint8")
    for view in views(soft, contrast=0.3):
        factors = view.std((0, 1)) / soft.std((0, 1))
        np.testing.assert_allclose(factors, factors[0], rtol=1e-4)
        assert 0.7 <= factors[0] <= 1.3
        np.testing.assert_allclose(view.mean((0, 1)), soft.mean((0, 1)), atol=1e-2)


def test_a_crop_keeps_at_least_its_share_of_a_ramp():
    ramp = np.broadcast_to(np.arange(64)[:, None, None], (64, 64, 3)).astype("uint8")
    kept = np.ptp(views(ramp, smallest_crop=0.5), axis=(1, 2, 3)) / 63
    assert kept.min() > 0.5  # a side of half the area within 3:4 and 4:3
    assert kept.min() < 0.9


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_crop_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=f"smallest_crop .* received {share}"):
        kr.Augmentation(smallest_crop=share)


@pytest.mark.parametrize("name", ["brightness", "contrast"])
@pytest.mark.parametrize("value", [-0.1, 1])
def test_brightness_and_contrast_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must .* received {value}"):
        kr.Augmentation(**{name: value})
