"""Small pictures: upright, in shape, whole within their address."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet.decoding import read_image
from kerasresnet.thumbnails import embedded, thumbnail


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 4, 3), "uint8")
    return np.asarray(Image.fromarray(small).resize((200, 150)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_has_the_shape_of_the_photo_as_it_is_seen(
    drawn, orientation, tmp_path
):
    path, exif = tmp_path / "photo.jpg", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(drawn).save(path, exif=exif, quality=95)
    seen = read_image(path)
    small = thumbnail(path, 40)
    assert small.shape == ((30, 40, 3) if orientation < 5 else (40, 30, 3))
    assert small.dtype == np.uint8
    wanted = read_image(seen, small.shape[:2])
    assert np.abs(small.astype(int) - wanted).mean() < 8
    np.testing.assert_array_equal(thumbnail(path.read_bytes(), 40), small)
    with Image.open(path) as image:
        assert thumbnail(image, 40).shape == small.shape


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (96, 96)])
def test_every_shape_has_a_thumbnail(shape):
    made = thumbnail(np.full((*shape, 3), 90, "uint8"), 40)
    assert max(made.shape[:2]) == 40
    assert (made == 90).all()


def test_floats_are_rounded_not_wrapped():
    made = thumbnail(np.full((8, 8, 3), 254.6, "float32"), 4)
    assert (made == 255).all()


def test_a_photo_that_cannot_be_read_is_an_error_with_its_name(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(kr.DataError, match=r"bad\.jpg cannot be read: it is not an"):
        thumbnail(tmp_path / "bad.jpg", 40)


def test_an_address_holds_the_picture(drawn):
    kind, _, text = embedded(drawn).partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        back = np.asarray(image.convert("RGB")).astype(int)
    assert back.shape == drawn.shape
    assert np.abs(back - drawn).mean() < 12
