"""One look tells size, format and whether a photo can be read, files and arrays alike."""

import io

import numpy as np
import pytest
from PIL import Image

from kerasresnet.looks import look_at, look_at_rows, sketches_of


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), "uint8")


def encoded(image, kind="PNG", **settings):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_format_and_size_are_told(picture, kind):
    look = look_at(encoded(picture, kind))
    assert (look.format, look.width, look.height) == (kind, 60, 40)
    assert look.problem is None
    assert look.contrast > 10
    assert look.colour > 10


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "empty"), (b"text", "not an image"), (b"\xff\xd8\xff\xe0", "not an image")],
)
def test_a_photo_that_cannot_be_read_is_told_with_its_reason(content, problem):
    look = look_at(content)
    assert look.problem == problem
    assert look.reason
    assert look.sketch == b""


@pytest.mark.parametrize("shape", [(80, 90), (80, 90, 1), (80, 90, 3), (20, 30, 3)])
def test_rows_of_an_array_are_seen_as_its_images_are(shape):
    waves = np.random.default_rng(0).uniform(0, 0.1, (5, 1, 1, *shape[2:]))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = (rows + 2 * columns).reshape(*shape[:2], *[1] * (len(shape) - 2))
    images = (np.sin(waves * ramp) * 120 + 128).astype("uint8")
    chosen = np.array([3, 0, 3])
    for row, seen in zip(chosen, look_at_rows(images, chosen), strict=True):
        alone = look_at(images[row])
        assert (seen.width, seen.height) == (alone.width, alone.height)
        apart = sketches_of([seen]).astype(int) - sketches_of([alone])
        assert np.abs(apart).mean() < 4  # those of `look_at` are scaled first
        assert seen.colour == pytest.approx(alone.colour, abs=6)
        assert seen.contrast == pytest.approx(alone.contrast, abs=6)


def test_many_rows_are_looked_at_in_chunks_as_in_one(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (9, 20, 20, 3), "uint8")
    whole = look_at_rows(images, np.arange(9))
    monkeypatch.setattr("kerasresnet.looks._CHUNK", 2)
    assert look_at_rows(images, np.arange(9)) == whole
    assert look_at_rows(images, np.arange(0)) == []


def test_a_sketch_is_the_mean_of_each_block():
    blocks = np.random.default_rng(0).integers(0, 256, (8, 9, 3), "uint8")
    for height, width in ((5, 7), (3, 4)):
        image = blocks.repeat(height, 0).repeat(width, 1)
        (seen,) = look_at_rows(image[None], np.array([0]))
        np.testing.assert_array_equal(sketches_of([seen])[0], blocks)


def test_images_smaller_than_a_sketch_have_one():
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), "uint8")
    seen = look_at_rows(images, np.arange(4))
    assert sketches_of(seen).shape == (4, 8, 9, 3)
    assert len({one.sketch for one in seen}) == 4


def test_a_plain_picture_has_no_contrast_and_a_gray_one_no_colour():
    plain, gray = (
        np.full((30, 30, 3), (9, 90, 200), "uint8"),
        np.tile(np.arange(30, dtype="uint8")[:, None, None], (1, 30, 3)),
    )
    assert look_at(plain).contrast == 0
    assert look_at(gray).colour == 0
    assert look_at(gray).contrast > 5
    assert look_at(plain).colour == pytest.approx(191)
