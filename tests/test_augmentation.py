"""Views are random but reproducible, and stay pictures."""

import colorsys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import augmentation
from kerasresnet.alterations import FILL
from kerasresnet.augmentation import PRESETS, as_augmentation, make_views

OFF = PRESETS["none"]
EVERYTHING = {
    "smallest_crop": 0.5,
    "rotation": 15,
    "saturation": 0.3,
    "hue": 0.1,
    "rand_augment": 2,
    "erasing": 0.5,
}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (16, 12, 3), "uint8")


def views(image, count=40, **settings):
    view = kr.Augmentation(**{**OFF, **settings})
    return np.stack([view(image, tf.constant([0, i])) for i in range(count)])


def many_views(image, count=40, **settings):
    images = np.stack([image] * count)
    seeds = np.stack([np.zeros(count, int), np.arange(count)], axis=-1)
    return make_views(kr.Augmentation(**{**OFF, **settings}), images, seeds)


# What a view is ------------------------------------------------------------------------


@pytest.mark.parametrize("smallest_crop", [0.05, 0.7, 1])
@pytest.mark.parametrize("strength", [0.1, 0.9])
def test_views_keep_shape_and_range(image, smallest_crop, strength):
    drawn = views(image, 20, smallest_crop=smallest_crop, brightness=strength)
    assert drawn.shape == (20, 16, 12, 3)
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 255


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (33, 2, 3)])
def test_views_of_any_size_are_pictures(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    drawn = many_views(picture, 30, **EVERYTHING)
    assert drawn.shape == (30, *shape)
    assert drawn.min() >= 0
    assert drawn.max() <= 255


def test_strong_contrast_and_brightness_stay_in_range(image):
    drawn = views(image, brightness=0.99, contrast=0.99)
    assert drawn.min() == 0
    assert drawn.max() == 255


def test_with_everything_off_a_view_is_the_image(image):
    np.testing.assert_array_equal(views(image, 1)[0], image)
    np.testing.assert_array_equal(views(image / 3, 1)[0], (image / 3).astype("f"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint16"])
@pytest.mark.parametrize("setting", ["rotation", "hue", "rand_augment", "erasing"])
def test_the_number_type_of_an_image_does_not_change_its_views(image, dtype, setting):
    settings = {setting: EVERYTHING[setting]}
    expected = many_views(image, 10, **settings)
    assert len(np.unique(expected, axis=0)) > 3
    found = many_views(image.astype(dtype), 10, **settings)
    np.testing.assert_array_equal(found, expected)


def test_a_view_is_made_in_a_graph_as_it_is_outside(image):
    view = kr.Augmentation(**EVERYTHING)
    dataset = tf.data.Dataset.from_tensors((image, (3, 4))).map(view)
    assert dataset.element_spec == tf.TensorSpec((16, 12, 3), tf.float32)
    np.testing.assert_array_equal(next(iter(dataset)), view(image, (3, 4)))


# Reproducible --------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_view_and_others_differ(image):
    everything = kr.Augmentation(**EVERYTHING)
    first, again, other = (
        everything(image, tf.constant(seed)).numpy()
        for seed in ((3, 4), (3, 4), (4, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_negative_seeds_are_seeds_too(image):
    drawn = [kr.Augmentation()(image, tf.constant([n, 0])).numpy() for n in (-1, 1)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_views_do_not_depend_on_threads_nor_on_their_neighbours(monkeypatch, workers):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 20, 20, 3), "uint8")
    seeds = rng.integers(0, 2**31, (9, 2))
    strong = kr.Augmentation(**EVERYTHING)
    alone = [make_views(strong, images[i:][:1], seeds[i:][:1])[0] for i in range(9)]
    monkeypatch.setattr(augmentation, "_WORKERS", workers)
    monkeypatch.setattr(augmentation, "_pool", ThreadPoolExecutor(workers))
    np.testing.assert_array_equal(make_views(strong, images, seeds), alone)
    turned = make_views(strong, images[::-1], seeds[::-1])[::-1]
    np.testing.assert_array_equal(turned, alone)


def test_turning_one_thing_off_leaves_the_others_as_they_are(image):
    mirrored = many_views(image, horizontal_flip=True)
    also = many_views(image, horizontal_flip=True, erasing=1)
    kept = (also != FILL).any(-1)
    assert 0.4 < kept.mean() < 0.99
    np.testing.assert_array_equal(also[kept], mirrored[kept])


# Geometry ------------------------------------------------------------------------------


def test_half_of_the_views_are_mirrored(image):
    mirrored = 0
    for view in many_views(image, 200, horizontal_flip=True):
        turned = (view == image[:, ::-1]).all()
        assert turned or (view == image).all()
        mirrored += int(turned)
    assert 70 < mirrored < 130


def test_a_crop_keeps_at_least_its_share_of_a_ramp():
    ramp = np.broadcast_to(np.arange(64)[:, None, None], (64, 64, 3)).astype("uint8")
    kept = np.ptp(many_views(ramp, smallest_crop=0.5), axis=(1, 2, 3)) / 63
    assert kept.min() > 0.5  # a side of half the area within 3:4 and 4:3
    assert kept.min() < 0.9


def test_crops_have_every_area_aspect_and_place_that_they_may():
    down, across = np.mgrid[:200, :200].astype("uint8")
    ramps = np.stack([across, down, down], axis=-1)
    drawn = many_views(ramps, 300, smallest_crop=0.25)
    left, right = drawn[:, 100, 0, 0], drawn[:, 100, -1, 0]
    top, bottom = drawn[:, 0, 100, 1], drawn[:, -1, 100, 1]
    wide, high = (right - left + 1) / 200, (bottom - top + 1) / 200
    area = wide * high
    assert 0.24 < area.min() < 0.28
    assert 0.95 < area.max() <= 1
    assert np.abs(np.sort(area) - np.linspace(0.25, 1, 300)).max() < 0.1
    assert 0.73 < (wide / high).min() < 0.78
    assert 1.29 < (wide / high).max() < 1.36
    assert left.min() <= 1 <= 198 <= right.max()
    assert top.min() <= 1 <= 198 <= bottom.max()


def test_a_rotation_turns_by_no_more_than_its_angle_and_fills_the_corners():
    dot = np.zeros((101, 101, 3), "uint8")
    dot[48:53, 88:93] = 255  # right of the middle
    drawn = many_views(dot, 60, rotation=30)
    bright = drawn[:, 20:81].min(-1) * (drawn[:, 20:81] > 200).all(-1)
    weight = bright.sum((1, 2))
    down = (bright * np.arange(20, 81)[:, None]).sum((1, 2)) / weight - 50
    across = (bright * np.arange(101)).sum((1, 2)) / weight - 50
    angles = np.degrees(np.arctan2(-down, across))
    assert -30.5 < angles.min() < -20
    assert 20 < angles.max() < 30.5
    np.testing.assert_allclose(np.hypot(down, across), 40, atol=1)
    np.testing.assert_array_equal(drawn[np.abs(angles).argmax(), 0, 0], FILL)


# Colour --------------------------------------------------------------------------------


def test_brightness_shifts_all_pixels_by_one_amount_within_its_limit():
    gray = np.full((8, 8, 3), 128, "uint8")
    shifts = views(gray, brightness=0.2) - 128
    assert np.ptp(shifts, axis=(1, 2, 3)).max() == 0
    assert 30 < np.abs(shifts).max() <= 0.2 * 255


def test_contrast_stretches_around_the_mean_within_its_limit(image):
    soft = (image // 4 + 96).astype("uint8")
    for view in views(soft, contrast=0.3):
        factors = view.std((0, 1)) / soft.std((0, 1))
        np.testing.assert_allclose(factors, factors[0], rtol=1e-2)
        assert 0.7 <= factors[0] <= 1.3
        np.testing.assert_allclose(view.mean((0, 1)), soft.mean((0, 1)), atol=0.4)


def luma(images):
    return images @ np.array([0.299, 0.587, 0.114])


def test_saturation_scales_the_distance_from_gray_and_keeps_it(image):
    soft = (image // 4 + 96).astype("uint8")
    distance = soft - luma(soft)[..., None]
    factors = []
    for view in many_views(soft, saturation=0.5):
        np.testing.assert_allclose(luma(view), luma(soft), atol=0.51)
        found = view - luma(view)[..., None]
        factors.append((found * distance).sum() / (distance**2).sum())
        np.testing.assert_allclose(found, factors[-1] * distance, atol=1.1)
    assert 0.49 < min(factors) < 0.7
    assert 1.3 < max(factors) < 1.51


def test_hue_turns_colours_by_up_to_its_share_of_a_circle_and_keeps_gray():
    colours = np.array([[[150, 110, 110], [128, 128, 128]]], "uint8")
    drawn = many_views(colours, 100, hue=0.1)
    np.testing.assert_array_equal(drawn[:, :, 1], np.full((100, 1, 3), 128))
    np.testing.assert_allclose(luma(drawn[:, 0, 0]), luma(colours[0, 0]), atol=0.6)
    hues = [colorsys.rgb_to_hsv(*rgb)[0] for rgb in drawn[:, 0, 0]]
    turned = (np.array(hues) + 0.5) % 1 - 0.5
    assert -0.15 < turned.min() < -0.05
    assert 0.05 < turned.max() < 0.15


# Erasing -------------------------------------------------------------------------------


def test_the_share_of_views_with_an_erased_box_is_that_of_erasing(image):
    large = image.repeat(4, 0).repeat(4, 1)
    for share in (0, 0.3, 1):
        drawn = many_views(large, 200, erasing=share)
        changed = (drawn != large).any((1, 2, 3)).mean()
        assert abs(changed - share) < 0.1


def test_what_is_erased_is_one_filled_box_of_a_third_at_most():
    black = np.zeros((60, 80, 3), "uint8")
    areas = []
    for view in many_views(black, 100, erasing=1):
        rows, columns = np.nonzero(view.any(-1))
        box = view[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        np.testing.assert_array_equal(box, np.broadcast_to(FILL, box.shape))
        assert len(rows) == box[..., 0].size
        areas.append(len(rows) / black[..., 0].size)
    assert 0.01 < min(areas) < 0.05
    assert 0.28 < max(areas) < 0.35


# Presets -------------------------------------------------------------------------------


def test_presets_are_what_the_documentation_says():
    preset = kr.Augmentation.preset
    assert preset("light") == kr.Augmentation()
    assert preset("standard") == kr.Augmentation(
        smallest_crop=0.4,
        rotation=10,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.02,
    )
    assert preset("strong", views=4) == kr.Augmentation(
        smallest_crop=0.25,
        brightness=0,
        contrast=0,
        rand_augment=2,
        erasing=0.25,
        views=4,
    )
    assert not any(preset(name).mixes for name in PRESETS)
    assert [preset(name).varies for name in PRESETS] == [False, True, True, True]


def test_a_name_stands_for_its_preset_and_none_for_no_change():
    assert as_augmentation("strong") == kr.Augmentation.preset("strong")
    assert as_augmentation(kr.Augmentation()) == kr.Augmentation()
    for nothing in (
        None,
        "none",
        kr.Augmentation(**OFF),
        kr.Augmentation(**OFF, views=3),
    ):
        assert as_augmentation(nothing) is None
    only_mixed = kr.Augmentation.preset("none", mixup=0.2)
    assert as_augmentation(only_mixed) is only_mixed


@pytest.mark.parametrize("name", ["medium", "Light", None, 3, ["light"]])
def test_an_unknown_preset_is_refused(name):
    with pytest.raises(
        ValueError, match=r"Unknown augmentation .* one of: 'none', 'light'"
    ):
        kr.Augmentation.preset(name)


def test_settings_name_all_that_decides_a_view_in_one_form():
    settings = kr.Augmentation(smallest_crop=1, hue=np.float32(0.5), views=3).settings
    fields = set(kr.Augmentation.__dataclass_fields__) - {"views"}
    assert set(settings) == {"policy", *fields}
    assert settings == kr.Augmentation(smallest_crop=1.0, hue=0.5).settings
    assert {type(value) for value in settings.values()} == {int, float}
    assert settings != kr.Augmentation(smallest_crop=1, hue=0.4).settings


# Values out of range -------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, -0.1, 1.1, "half", True, float("nan")])
def test_a_crop_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=f"smallest_crop .* received {share!r}"):
        kr.Augmentation(smallest_crop=share)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("rotation", 180),
        ("hue", 0.5),
        ("magnitude", 30),
        ("erasing", 1),
        ("mixup", 100),
        ("cutmix", 100),
    ],
)
def test_a_number_above_its_largest_or_below_0_is_refused(name, most):
    kr.Augmentation(**{name: most})
    for value in (-0.1, most * 1.01, float("nan"), "much", True):
        with pytest.raises(
            ValueError, match=f"{name} must be at least 0 and at most {most}, received"
        ):
            kr.Augmentation(**{name: value})


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("value", [-0.1, 1, None])
def test_colours_out_of_range_are_refused(name, value):
    with pytest.raises(
        ValueError, match=f"{name} must be .* below 1, received {value}"
    ):
        kr.Augmentation(**{name: value})


@pytest.mark.parametrize("count", [-1, 1.5, True, "two"])
def test_a_number_of_operations_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match=f"rand_augment must be .* received {count!r}"):
        kr.Augmentation(rand_augment=count)


@pytest.mark.parametrize("count", [0, -1, 2.0, True])
def test_a_number_of_views_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match=f"views must be .* received {count!r}"):
        kr.Augmentation(views=count)


def test_a_flip_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(ValueError, match="horizontal_flip must be True or False"):
        kr.Augmentation(horizontal_flip=0.5)


@pytest.mark.parametrize("mixing", [{"mixup": 0.2}, {"cutmix": 1.0}])
def test_views_that_are_computed_once_cannot_be_mixed(mixing):
    with pytest.raises(
        ValueError, match=r"views=4 .* expected mixup=0 .* Leave out views"
    ):
        kr.Augmentation(views=4, **mixing)
