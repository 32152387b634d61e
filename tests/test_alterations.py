"""Each operation does to a picture what a naive computation says, and keeps its form."""

import numpy as np
import pytest
from PIL import Image

from kerasresnet.alterations import FILL, OPERATIONS, recolour, rotate, shear, shift
from kerasresnet.demo import draw_flowers

SIGNED = {
    "rotate",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
}
ALWAYS = {"auto_contrast", "equalize"}  # the same at every strength


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A drawn flower in soft colours: none is 0 or 255."""
    folder = draw_flowers(tmp_path_factory.mktemp("flowers"), per_class=1)
    with Image.open(next(folder.rglob("*.jpg"))) as photo:
        small = photo.convert("RGB").resize((48, 40))
    return Image.fromarray(np.array(small) // 2 + 60)


def changed(picture, name, strength):
    return np.asarray(OPERATIONS[name](picture, strength))


def gray(pixels):
    """Pillow's luma, ITU-R 601-2, in whole numbers."""
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16


def clipped(values):
    return np.clip(values, 0, 255)


def test_the_operations_are_the_fourteen_of_the_paper():
    assert len(OPERATIONS) == 14
    assert {"identity"} | SIGNED | ALWAYS < set(OPERATIONS)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_each_operation_changes_a_picture_and_keeps_its_form(picture, name):
    before = np.array(picture)
    for strength in (0.5, 1.0, -0.5, -1.0):
        after = OPERATIONS[name](picture, strength)
        assert (after.mode, after.size) == ("RGB", picture.size)
        share = (np.asarray(after) != before).any(-1).mean()
        assert share > (0.01 if name == "solarize" else 0.5)
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ALWAYS))
def test_strength_0_leaves_a_picture_as_it_is(name):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")
    noise[0, 0] = 0, 255, 255
    np.testing.assert_array_equal(changed(Image.fromarray(noise), name, 0.0), noise)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_the_sign_matters_exactly_where_there_are_two_directions(picture, name):
    plus, minus = changed(picture, name, 0.6), changed(picture, name, -0.6)
    assert np.array_equal(plus, minus) == (name not in SIGNED)


# Against naive computations ------------------------------------------------------------


@pytest.mark.parametrize("strength", [-1, -0.3, 0.3, 1])
def test_enhancements_go_from_a_dull_picture_through_the_own_one(picture, strength):
    pixels = np.asarray(picture).astype(float)
    luma = gray(pixels)[..., None]
    dull = {"color": luma, "contrast": round(luma.mean()), "brightness": 0}
    for name, start in dull.items():
        expected = clipped(start + (1 + 0.9 * strength) * (pixels - start))
        found = changed(picture, name, strength)
        np.testing.assert_allclose(found, expected, atol=1.01)


def test_sharpness_goes_from_a_smoothed_picture_through_the_own_one(picture):
    pixels = np.asarray(picture).astype(float)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = sum(
        kernel[row, column] * pixels[row : row + 38, column : column + 46]
        for row in range(3)
        for column in range(3)
    )
    inner = pixels[1:-1, 1:-1]
    for strength in (-0.5, 0.5):
        expected = clipped(smooth + (1 + 0.9 * strength) * (inner - smooth))
        found = changed(picture, "sharpness", strength)[1:-1, 1:-1]
        np.testing.assert_allclose(found, expected, atol=2)


def test_solarizing_inverts_what_is_bright(picture):
    pixels = np.asarray(picture)
    expected = np.where(pixels >= 128, 255 - pixels, pixels)
    np.testing.assert_array_equal(changed(picture, "solarize", 0.5), expected)


def test_posterizing_drops_the_lowest_bits(picture):
    pixels = np.asarray(picture)
    np.testing.assert_array_equal(changed(picture, "posterize", 0.5), pixels // 4 * 4)
    np.testing.assert_array_equal(changed(picture, "posterize", 1), pixels // 16 * 16)


def test_auto_contrast_stretches_each_channel_to_the_whole_range(picture):
    pixels = np.asarray(picture).astype(float)
    low, high = pixels.min((0, 1)), pixels.max((0, 1))
    expected = (pixels - low) * 255 / (high - low)
    found = changed(picture, "auto_contrast", 0.3)
    np.testing.assert_allclose(found, expected, atol=1.01)


def test_equalizing_makes_each_channel_use_its_range_evenly(picture):
    pixels = np.asarray(picture)
    found = changed(picture, "equalize", 0.3).astype(float)
    for channel in range(3):
        before, after = pixels[..., channel].ravel(), found[..., channel].ravel()
        ranks = np.searchsorted(np.sort(before), before, side="left") / before.size
        np.testing.assert_allclose(after, ranks * 255, atol=40)
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= 0).all()


@pytest.mark.parametrize(("across", "down"), [(0.25, 0), (0, -0.25)])
def test_a_shift_moves_every_pixel_and_fills_the_rest(picture, across, down):
    pixels = np.asarray(picture)
    found = np.asarray(shift(picture, across, down))
    if across:
        np.testing.assert_array_equal(found[:, :36], pixels[:, 12:])
        assert (found[:, 36:] == FILL).all()
    else:
        np.testing.assert_array_equal(found[10:], pixels[:30])
        assert (found[:10] == FILL).all()


def test_a_shear_pushes_each_row_by_its_distance_from_the_middle():
    rows = np.full((41, 81, 3), 50, "uint8")
    rows[:, 40] = 250
    found = np.asarray(shear(Image.fromarray(rows), 0.5, 0))[..., 0].astype(float)
    bright = np.clip(found - 130, 0, None)
    middle = (bright * np.arange(81)).sum(1) / bright.sum(1)
    np.testing.assert_allclose(middle, 40 - 0.5 * (np.arange(41) - 20), atol=0.3)
    turned = Image.fromarray(rows.swapaxes(0, 1).copy())
    across = np.asarray(shear(turned, 0, 0.5))[..., 0]
    np.testing.assert_array_equal(across, found.T)


def test_a_turn_by_180_degrees_turns_the_picture_round(picture):
    found = np.asarray(rotate(picture, 180))
    np.testing.assert_allclose(found, np.asarray(picture)[::-1, ::-1], atol=1)


# Colours -------------------------------------------------------------------------------


def test_colours_stay_as_they_are_unless_something_is_changed(picture):
    np.testing.assert_array_equal(recolour(picture), picture)
    np.testing.assert_array_equal(recolour(picture, hue=1.0), picture)


def test_all_colours_are_changed_at_once_as_one_after_the_other(picture):
    pixels = np.asarray(picture).astype(float)
    mean = pixels.mean((0, 1))
    values = (pixels - mean) * 1.2 + mean + 8
    luma = values @ np.array([0.299, 0.587, 0.114])
    values = luma[..., None] + 0.5 * (values - luma[..., None])
    found = recolour(picture, brightness=8, contrast=1.2, saturation=0.5)
    np.testing.assert_allclose(found, clipped(values), atol=0.75)


def test_half_a_turn_of_hue_gives_the_opposite_colours(picture):
    pixels = np.asarray(picture).astype(float)
    luma = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    found = recolour(picture, hue=0.5)
    np.testing.assert_allclose(found, clipped(2 * luma - pixels), atol=0.75)
