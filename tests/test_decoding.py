"""Every kind of file and array becomes the same RGB pixels, or an error naming it."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from pictures import UPRIGHT, encoded, exif
from PIL import Image

import kerasresnet as kr
from kerasresnet import decoding
from kerasresnet.decoding import (
    SUFFIXES,
    UnreadableError,
    check_values,
    describe,
    has_signature,
    read_image,
)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (24, 20, 3), "uint8")


def photograph(height, width):
    """A picture with the smooth parts and the edges of a photo."""
    rows, columns = np.mgrid[:height, :width] / height
    waves = [np.sin((3 + k) * rows + 9 * columns * columns * k) for k in range(3)]
    flat = np.stack(waves, -1) * 90 + 128
    flat[(rows - 0.5) ** 2 + (columns - 0.6) ** 2 < 0.1] = (200, 40, 90)
    return flat.clip(0, 255).astype("uint8")


# What becomes of a file ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_pixels_survive_a_lossless_file(picture, kind, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(encoded(picture, kind))
    np.testing.assert_array_equal(read_image(path), picture)


def test_path_text_bytes_pillow_image_and_array_give_the_same_pixels(picture, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(picture))
    for photo in (path, str(path), path.read_bytes(), Image.fromarray(picture)):
        read = read_image(photo, (16, 10))
        np.testing.assert_array_equal(read, read_image(picture, (16, 10)))


def test_every_suffix_that_is_listed_belongs_to_a_format_that_pillow_reads():
    Image.init()
    opened = {*Image.OPEN, "MPO"}  # by the plugin for JPEG
    readable = {s for s, kind in Image.EXTENSION.items() if kind in opened}
    assert readable >= SUFFIXES


def test_the_content_decides_what_a_file_is_not_its_name(picture, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(picture, "PNG"))
    np.testing.assert_array_equal(read_image(path), picture)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "ICO"])
def test_formats_that_are_not_for_photos_are_not_opened(picture, kind):
    with pytest.raises(UnreadableError, match="not an image in a known format"):
        read_image(encoded(picture, kind))


@pytest.mark.parametrize("kind", decoding.FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind, tmp_path):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow cannot write {kind}")
    picture = photograph(60, 50)
    (tmp_path / "photo").write_bytes(encoded(picture, kind))
    assert has_signature(tmp_path / "photo")
    apart = np.abs(read_image(tmp_path / "photo") - picture.astype(int))
    assert apart.mean() < 9


def test_other_files_have_no_signature(tmp_path):
    (tmp_path / "notes").write_text("notes", "utf-8")
    assert not has_signature(tmp_path / "notes")
    assert not has_signature(tmp_path)
    assert not has_signature(tmp_path / "absent")


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_are_turned_upright(picture, orientation):
    read = read_image(encoded(picture, exif=exif(orientation)))
    np.testing.assert_array_equal(read, UPRIGHT[orientation](picture))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_are_themselves_in_every_mode(mode, level):
    image = Image.new("RGB", (4, 3), (level,) * 3).convert(mode)
    expected = np.full((3, 4, 3), level, "uint8")
    np.testing.assert_array_equal(read_image(image), expected)


def test_cmyk_files_are_read_in_their_true_colours():
    red = encoded(Image.new("CMYK", (4, 3), (0, 255, 255, 0)), "TIFF")
    np.testing.assert_array_equal(read_image(red)[0, 0], [255, 0, 0])


def test_transparent_pixels_show_white():
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([value, value[::-1], value * 0, alpha], -1).astype("uint8")
    share = rgba[..., 3:] / 255
    expected = np.rint(rgba[..., :3] * share + 255 * (1 - share))
    np.testing.assert_array_equal(read_image(encoded(rgba)), expected)


def test_a_transparent_palette_colour_shows_white(picture):
    image = Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE)
    colour = int(np.asarray(image)[0, 0])
    hidden = np.asarray(image) == colour
    read = read_image(encoded(image, transparency=colour))
    expected = np.where(hidden[..., None], 255, np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(read, expected)
    assert not hidden.all()


def test_sixteen_bits_are_scaled_to_eight_instead_of_clipped():
    levels = np.arange(0, 65536, 64, dtype="uint16").reshape(32, 32)
    read = read_image(encoded(levels))
    np.testing.assert_array_equal(read, np.repeat(levels[..., None] // 256, 3, -1))


def test_the_first_picture_of_an_animation_is_read(picture):
    still = Image.new("RGB", (20, 24), "red")
    moving = encoded(still, "GIF", save_all=True, append_images=[still.rotate(90)])
    np.testing.assert_array_equal(read_image(moving), np.asarray(still))


# Resizing ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(7, 5), (24, 20), (50, 31)])
def test_resizing_is_pillows_antialiased_bilinear(picture, size):
    oracle = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(encoded(picture), size), oracle)


def test_float_pixels_are_resized_as_bytes_are_without_rounding(picture):
    read = read_image(picture.astype("float64"), (7, 5))
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, read_image(picture, (7, 5)), atol=1)


def test_a_size_that_fits_changes_nothing(picture):
    np.testing.assert_array_equal(read_image(picture, (24, 20)), picture)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("size", [(7, 5), (24, 20), (50, 31)])
def test_turned_photos_are_resized_as_upright_ones(picture, orientation, size):
    upright = np.ascontiguousarray(UPRIGHT[orientation](picture))
    read = read_image(encoded(picture, exif=exif(orientation)), size)
    np.testing.assert_allclose(read, read_image(upright, size).astype(int), atol=1)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("beyond", [0, 1, 5])
@pytest.mark.parametrize("scale", [1.5, 2, 3, 4, 8, 12, 15])
def test_a_large_jpeg_is_decoded_smaller_within_a_level(scale, beyond, orientation):
    large = photograph(int(96 * scale) + beyond, int(64 * scale) + beyond)
    content = encoded(large, "JPEG", quality=90, exif=exif(orientation))
    size = (48, 32) if orientation == 1 else (32, 48)
    whole = read_image(content)
    oracle = Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR)
    apart = np.abs(read_image(content, size).astype(float) - np.asarray(oracle))
    assert apart.mean() < 1


@pytest.mark.parametrize(("side", "scale"), [(95, 1), (96, 2), (191, 2), (192, 4)])
def test_a_jpeg_is_decoded_smaller_while_half_as_many_pixels_more_remain(
    side, scale, monkeypatch
):
    decoded = []
    convert = decoding._rgb_image
    monkeypatch.setattr(
        decoding, "_rgb_image", lambda one: decoded.append(one.size) or convert(one)
    )
    content = encoded(photograph(side, side), "JPEG")
    assert read_image(content, (32, 32)).shape == (32, 32, 3)
    assert decoded == [(-(-side // scale),) * 2]


def test_a_pillow_image_that_is_given_keeps_its_size_and_its_pixels():
    content = encoded(photograph(150, 100), "JPEG")
    with Image.open(io.BytesIO(content)) as image:
        read = read_image(image, (8, 8))
        np.testing.assert_array_equal(image, read_image(content))
    oracle = Image.fromarray(read_image(content)).resize(
        (8, 8), Image.Resampling.BILINEAR
    )
    np.testing.assert_array_equal(read, oracle)


def test_pixels_of_a_jpeg_that_is_not_large_are_the_whole_ones():
    content = encoded(photograph(150, 100), "JPEG")
    oracle = Image.fromarray(read_image(content)).resize(
        (40, 40), Image.Resampling.BILINEAR
    )
    np.testing.assert_array_equal(read_image(content, (40, 40)), oracle)


# Arrays ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_array_is_read_as_the_same_picture_in_a_file_is(channels):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 256, (9, 8, channels), "uint8")
    file = encoded(array[..., 0] if channels == 1 else array)
    np.testing.assert_array_equal(read_image(array), read_image(file))


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3), (9, 8, 4)])
def test_the_number_type_of_an_array_makes_no_difference(shape):
    array = np.random.default_rng(1).integers(0, 256, shape, "uint8")
    for dtype in ("int64", "uint16", "float32", "float64"):
        read = read_image(array.astype(dtype))
        assert read.dtype == ("float32" if dtype.startswith("float") else "uint8")
        np.testing.assert_allclose(read, read_image(array), atol=0.5)


def test_what_is_read_from_an_array_is_a_copy(picture):
    read = read_image(picture)
    read[:] = 0
    assert picture.any()


@pytest.mark.parametrize("shape", [(3, 9, 8), (9,), (2, 9, 8, 3), (9, 8, 2), (0, 8, 3)])
def test_an_array_that_is_no_picture_is_refused(shape):
    with pytest.raises(kr.DataError, match=r"expected \(H, W, 3\)"):
        read_image(np.zeros(shape, "uint8"))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "U1", "object"])
def test_an_array_that_holds_no_numbers_is_refused(dtype):
    with pytest.raises(kr.DataError, match=r"expected numbers in 0\.\.255"):
        read_image(np.zeros((9, 8, 3), dtype))


@pytest.mark.parametrize("size", [None, (7, 5)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_may_be_written_where_they_are_wanted(picture, size, dtype):
    for photo in (picture.astype(dtype), Image.fromarray(picture), encoded(picture)):
        expected = read_image(photo, size)
        rows = np.zeros((2, *expected.shape), expected.dtype)
        assert np.shares_memory(read_image(photo, size, out=rows[1]), rows)
        np.testing.assert_array_equal(rows[1], expected)
        assert not rows[0].any()


# Values ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 256, np.inf, -np.inf])
def test_values_outside_0_to_255_are_refused(picture, value):
    array = picture.astype("float32")
    array[3, 3, 1] = value
    with pytest.raises(kr.DataError, match=r"expected 0\.\.255\. Pass RGB"):
        read_image(array)


def test_missing_values_are_refused(picture):
    array = picture.astype("float32")
    array[3, 3, 1] = np.nan
    with pytest.raises(kr.DataError, match="contain NaN"):
        read_image(array)


def test_one_photo_may_be_black_but_a_whole_set_was_scaled_to_0_1():
    check_values(0, 1, whole_set=False)
    check_values(0, 1.01, whole_set=True)
    with pytest.raises(kr.DataError, match="from 0 to 1: these images were scaled"):
        check_values(0, 1, whole_set=True)


# Photos that cannot be read ------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "it is not an image in a known format"),
        (encoded(np.zeros((50, 50, 3), "uint8"), "BMP")[:900], "truncated"),
    ],
)
def test_an_unreadable_file_is_named_with_its_reason(content, reason, tmp_path):
    path = tmp_path / "tulip 1.jpg"
    path.write_bytes(content)
    with pytest.raises(kr.DataError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path} cannot be read: ")


def test_an_absent_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(kr.DataError, match=r"a\.jpg cannot be .* there is no such"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(kr.DataError, match="cannot be read: it is a folder"):
        read_image(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadableError, match="not a regular file"):
        read_image(tmp_path / "a.jpg")
    assert not has_signature(tmp_path / "a.jpg")


def test_a_broken_link_is_called_one(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(UnreadableError, match="it is a broken link"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_photo(picture):
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    content = encoded(picture, "JPEG", exif=exif)
    assert read_image(content).shape == picture.shape


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"no image", "not an image"),
        (encoded(np.zeros((50, 50, 3), "uint8"), "JPEG")[:-50], "truncated"),
        (encoded(np.zeros((50, 50, 3), "uint8"), "PNG")[:60], "truncated"),
        (encoded(np.zeros((50, 50), "float32"), "TIFF"), "damaged"),
    ],
)
def test_what_is_wrong_is_also_said_in_a_word(content, problem):
    with pytest.raises(UnreadableError) as caught:
        read_image(content)
    assert caught.value.problem == problem


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(3, 2), (40, 30)])
def test_a_cut_photo_is_unreadable_at_every_size_or_at_none(kind, size):
    whole = encoded(photograph(96, 80), kind)
    for length in range(0, len(whole), len(whole) // 40):
        answers = set()
        for wanted in (None, size):
            try:
                read_image(whole[:length], wanted)
                answers.add("")
            except UnreadableError as error:
                answers.add(str(error))
        assert len(answers) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_file_cut_anywhere_is_a_data_error_or_a_picture(picture, kind):
    whole = encoded(picture, kind)
    for length in range(0, len(whole), 11):
        try:
            shape = read_image(whole[:length]).shape
        except kr.DataError as error:
            assert str(error).startswith(f"An image of {length:,} bytes")  # noqa: PT017
        else:
            assert shape == picture.shape


def test_a_header_that_asks_for_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("RGB", (20, 10)).save(path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 200)
    assert read_image(path).shape == (10, 20, 3)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 199)
    with pytest.raises(kr.DataError, match=r"bomb\.png .* 20 x 10 is more than 199"):
        read_image(path)


def test_pillows_own_limit_is_a_data_error_too(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    Image.new("RGB", (20, 10)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(kr.DataError, match=r"bomb\.png cannot be read"):
        read_image(path)


def test_a_pillow_image_that_fails_late_is_named(picture, tmp_path):
    path = tmp_path / "late.bmp"
    path.write_bytes(encoded(picture, "BMP")[:900])
    with Image.open(path) as image, pytest.raises(kr.DataError, match=r"late\.bmp"):
        read_image(image)


def test_every_photo_has_a_name_in_messages(picture):
    assert describe("a/b.jpg") == str(Path("a/b.jpg"))
    assert describe(b"x" * 1234) == "An image of 1,234 bytes"
    assert describe(Image.new("L", (2, 2))) == "A PIL image of mode L"
    assert describe(picture) == "An array of shape (24, 20, 3)"
