"""Files as they are found in the wild: the right pixels or the right error, everywhere.

A corpus of odd files is drawn; `read_image`, `check`, `make_dataset` and `predict` must say
the same of each of them.
"""

import os
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import UPRIGHT, encoded, exif
from PIL import Image, features

import kerasresnet as kr
from kerasresnet import pixels
from kerasresnet.decoding import UnreadableError, read_image

HEIGHT, WIDTH = 24, 40


def photograph():
    """A smooth picture, which every compression keeps nearly as it is."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    channels = [60 + 4 * rows, 200 - 3 * columns, 90 + 2 * rows + 2 * columns]
    return np.stack(channels, -1).astype("uint8")


PICTURE = photograph()
GRAY = np.asarray(Image.fromarray(PICTURE).convert("L"))
GRAY_RGB = np.repeat(GRAY[..., None], 3, -1)
ON_WHITE = np.rint(PICTURE * (100 / 255) + 255 * (155 / 255))


def mode(name):
    return Image.fromarray(PICTURE).convert(name)


def with_alpha(level):
    alpha = np.full((HEIGHT, WIDTH, 1), level, "uint8")
    return np.concatenate([PICTURE, alpha], -1)


def png(width, height, *, depth=8, colour=2, rows=b""):
    """A PNG file made by hand: Pillow cannot write all of them."""

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", checksum)
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def png_of_16_bit_colours():
    wide = PICTURE.astype(">u2") * 257
    return png(
        WIDTH, HEIGHT, depth=16, rows=b"".join(b"\0" + row.tobytes() for row in wide)
    )


STILL = Image.fromarray(PICTURE)
MOVING = {"save_all": True, "append_images": [STILL.rotate(180)]}

# For each name the content, the pixels, and how far they may be off on average.
GOOD = {
    "plain.jpg": (encoded(PICTURE, "JPEG", quality=95), PICTURE, 3),
    "rough.jpg": (encoded(PICTURE, "JPEG", quality=50), PICTURE, 6),
    "full colour.jpg": (encoded(PICTURE, "JPEG", subsampling=0), PICTURE, 3),
    "progressive.jpg": (encoded(PICTURE, "JPEG", progressive=True), PICTURE, 3),
    "gray.jpg": (encoded(GRAY, "JPEG"), GRAY_RGB, 3),
    "cmyk.jpg": (encoded(mode("CMYK"), "JPEG", quality=95), PICTURE, 4),
    "camera.mpo": (encoded(PICTURE, "MPO", quality=95), PICTURE, 3),
    "plain.png": (encoded(PICTURE, "PNG"), PICTURE, 0),
    "gray.png": (encoded(GRAY, "PNG"), GRAY_RGB, 0),
    "gray and alpha.png": (encoded(mode("LA"), "PNG"), GRAY_RGB, 0),
    "opaque.png": (encoded(with_alpha(255), "PNG"), PICTURE, 0),
    "half transparent.png": (encoded(with_alpha(100), "PNG"), ON_WHITE, 0.5),
    "invisible.png": (encoded(with_alpha(0), "PNG"), PICTURE * 0 + 255, 0),
    "palette.png": (encoded(mode("P"), "PNG"), np.asarray(mode("P").convert("RGB")), 0),
    "one bit.png": (encoded(mode("1"), "PNG"), np.asarray(mode("1").convert("RGB")), 0),
    "16 bit gray.png": (encoded(GRAY.astype("uint16") * 257, "PNG"), GRAY_RGB, 0),
    "16 bit colour.png": (png_of_16_bit_colours(), PICTURE, 0),
    "palette.gif": (encoded(mode("P"), "GIF"), np.asarray(mode("P").convert("RGB")), 0),
    "moving.gif": (encoded(STILL, "GIF", **MOVING), PICTURE, 9),
    "plain.bmp": (encoded(PICTURE, "BMP"), PICTURE, 0),
    "palette.bmp": (encoded(mode("P"), "BMP"), np.asarray(mode("P").convert("RGB")), 0),
    "gray.bmp": (encoded(GRAY, "BMP"), GRAY_RGB, 0),
    "one bit.bmp": (encoded(mode("1"), "BMP"), np.asarray(mode("1").convert("RGB")), 0),
    "plain.tif": (encoded(PICTURE, "TIFF"), PICTURE, 0),
    "gray.tiff": (encoded(GRAY, "TIFF"), GRAY_RGB, 0),
    "16 bit.tif": (encoded(GRAY.astype("uint16") * 257, "TIFF"), GRAY_RGB, 0),
    "packed.tif": (encoded(PICTURE, "TIFF", compression="tiff_lzw"), PICTURE, 0),
    "cmyk.tif": (encoded(mode("CMYK"), "TIFF"), PICTURE, 1),
    "moving.tif": (encoded(STILL, "TIFF", **MOVING), PICTURE, 0),
    "a png.jpg": (encoded(PICTURE, "PNG"), PICTURE, 0),
    "a jpeg.png": (encoded(PICTURE, "JPEG", quality=95), PICTURE, 3),
    "a gif.bmp": (encoded(STILL, "GIF"), PICTURE, 9),
    "a bmp": (encoded(PICTURE, "BMP"), PICTURE, 0),
    "UPPER.JPG": (encoded(PICTURE, "JPEG", quality=95), PICTURE, 3),
    "größe 雏菊.png": (encoded(PICTURE, "PNG"), PICTURE, 0),
    "more behind the end.jpg": (
        encoded(PICTURE, "JPEG", quality=95) + b"and more" * 99,
        PICTURE,
        3,
    ),
    **{
        f"turned {number}.jpg": (
            encoded(PICTURE, "JPEG", quality=95, exif=exif(number)),
            turn(PICTURE),
            3,
        )
        for number, turn in UPRIGHT.items()
    },
}
if features.check("webp"):
    GOOD |= {
        "plain.webp": (encoded(PICTURE, "WEBP", quality=95), PICTURE, 3),
        "lossless.webp": (encoded(PICTURE, "WEBP", lossless=True), PICTURE, 0),
        "alpha.webp": (encoded(with_alpha(100), "WEBP", lossless=True), ON_WHITE, 0.5),
        "moving.webp": (encoded(STILL, "WEBP", lossless=True, **MOVING), PICTURE, 0),
    }
if features.check("avif"):
    GOOD["plain.avif"] = (encoded(PICTURE, "AVIF", quality=95), PICTURE, 4)

# For each name the content and what is wrong with it.
BAD = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"This is no photo.", "not an image"),
    "page.jpg": (b"<!doctype html><title>404</title>", "not an image"),
    "zeros.jpg": (bytes(5000), "not an image"),
    "head alone.jpg": (b"\xff\xd8\xff\xe0", "not an image"),
    "head alone.png": (b"\x89PNG\r\n\x1a\n", "not an image"),
    "drawing.jpg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
    "postscript.jpg": (encoded(STILL, "EPS"), "not an image"),
    "document.jpg": (encoded(STILL, "PDF"), "not an image"),
    "bomb.png": (png(20_000, 20_000, rows=bytes(9)), "too large"),
    "long bomb.png": (png(2**31 - 1, 1, rows=bytes(9)), "too large"),
    "floating point.tif": (encoded(GRAY.astype("float32"), "TIFF"), "damaged"),
}
for _kind in ("JPEG", "PNG", "BMP", "TIFF"):
    _whole = encoded(
        np.random.default_rng(0).integers(0, 256, PICTURE.shape, "uint8"), _kind
    )
    for _share in (0.3, 0.5, 0.7, 0.9):
        _cut = _whole[: int(len(_whole) * _share)]
        BAD[f"cut at {_share:.0%}.{_kind.lower()}"] = (_cut, None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The corpus in one class folder, and as many good photos in another."""
    root = tmp_path_factory.mktemp("corpus")
    for folder in ("odd", "usual"):
        (root / folder).mkdir()
    for name, (content, *_) in (GOOD | BAD).items():
        (root / "odd" / name).write_bytes(content)
    (root / "odd" / "broken link.png").symlink_to(root / "nowhere.png")
    (root / "odd" / "folder.jpg").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "odd" / "pipe.jpg")
    for number in range(4):
        Image.fromarray(np.roll(PICTURE, 5 * number, 1)).save(
            root / "usual" / f"{number}.png"
        )
    return root


@pytest.fixture(scope="module")
def data(corpus):
    return kr.ImageData.from_folder(corpus)


@pytest.fixture(scope="module")
def unreadable(data):
    """Names of the files that `check` calls unreadable."""
    return {os.path.basename(source) for source, _ in data.check().unreadable}  # noqa: PTH119


def test_the_corpus_is_large_and_all_of_it_is_listed(data):
    listed = {path.name for path in data.paths}
    assert listed >= {*GOOD, *BAD, "broken link.png"}
    assert "folder.jpg" not in listed
    assert len(listed) >= 70


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_gives_its_pixels(corpus, unreadable, name):
    _, expected, tolerance = GOOD[name]
    read = read_image(corpus / "odd" / name)
    assert read.shape == expected.shape
    assert np.abs(read - expected.astype(float)).mean() <= tolerance
    assert name not in unreadable


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_the_right_error(corpus, unreadable, name):
    with pytest.raises(UnreadableError) as caught:
        read_image(corpus / "odd" / name)
    assert caught.value.problem == (BAD[name][1] or caught.value.problem)
    assert caught.value.problem in {"truncated", "damaged", BAD[name][1]}
    assert str(caught.value).startswith(str(corpus / "odd" / name))
    assert name in unreadable


def test_check_calls_nothing_else_unreadable(unreadable):
    pipe = {"pipe.jpg"} if hasattr(os, "mkfifo") else set()
    assert unreadable == {*BAD, "broken link.png"} | pipe


def test_batches_are_of_the_same_pixels_and_labels_and_of_nothing_else(
    data, unreadable
):
    size = (16, 16)
    batches = kr.make_dataset(data, image_size=size, batch_size=7, on_error="skip")
    images, labels = (np.concatenate(c) for c in zip(*batches.as_numpy_iterator()))  # noqa: B905
    kept = [i for i, path in enumerate(data.paths) if path.name not in unreadable]
    np.testing.assert_array_equal(labels, data.labels[kept])
    oracle = np.stack([read_image(data.paths[i], size) for i in kept])
    np.testing.assert_array_equal(images, oracle)


def test_predictions_are_of_the_same_files(data, unreadable, small, corpus, caplog):
    model = small(input_shape=(32, 32, 3), class_names=data.class_names)
    found = kr.predict(model, corpus / "odd", on_error="skip", batch_size=5)
    sources = [os.path.basename(one.source) for one in found]  # noqa: PTH119
    assert set(sources) == set(GOOD)
    assert f"{len(unreadable)} of {len(unreadable) + len(GOOD)} images" in caplog.text
    alone = kr.predict(model, corpus / "odd" / sources[3])
    assert alone[0].probability == pytest.approx(found[3].probability, abs=1e-5)
    with pytest.raises(kr.DataError, match="cannot be read"):
        kr.predict(model, corpus / "odd")


def test_labels_and_rows_line_up_with_bad_files_between(data, unreadable, small):
    model = small(input_shape=(32, 32, 3), class_names=data.class_names)
    report = kr.evaluate(model, data, on_error="skip")
    kept = [i for i, path in enumerate(data.paths) if path.name not in unreadable]
    assert report.sources == tuple(str(data.paths[i]) for i in kept)
    np.testing.assert_array_equal(report.labels, data.labels[kept])
    history = kr.fit(model, data, epochs=1, batch_size=8, on_error="skip", verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    with pytest.raises(kr.DataError, match=r"on_error='skip' \(--on-error skip"):
        kr.fit(model, data, epochs=1, verbose=0)


@pytest.fixture
def telling(tmp_path):
    """Photos whose colour tells their class, with a bad file between every four."""
    for number in range(60):
        label = number % 3
        path = tmp_path / f"class{label}" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        if number % 5 == 4:
            path.write_bytes(b"no image")
        else:
            colours = (label * 100, number, 255 - number)
            Image.new("RGB", (9, 9), colours).save(path)
    return kr.ImageData.from_folder(tmp_path)


def test_pixels_and_labels_line_up_shuffled_sharded_and_in_parallel(telling):
    seen = []
    for shard in (telling.shard(index, 3) for index in range(3)):
        batches = kr.make_dataset(
            shard, training=True, image_size=(4, 4), batch_size=7, on_error="skip"
        )
        for _ in range(2):
            for images, labels in batches.as_numpy_iterator():
                np.testing.assert_array_equal(images[:, 0, 0, 0], labels * 100)
                seen += images[:, 0, 0, 1].tolist()
    assert sorted(seen) == sorted([n for n in range(60) if n % 5 != 4] * 2)


@pytest.mark.parametrize("workers", [1, 7])
def test_batches_do_not_depend_on_parallelism(telling, workers, monkeypatch):
    settings = {"training": True, "image_size": (4, 4), "batch_size": 7}

    def batches():
        dataset = kr.make_dataset(telling, on_error="skip", **settings)
        return [labels.tolist() for _, labels in dataset.as_numpy_iterator()]

    usual = batches()
    with ThreadPoolExecutor(workers) as pool:
        monkeypatch.setattr(pixels, "_pool", pool)
        assert batches() == usual


@pytest.mark.slow
def test_no_damage_crashes_hangs_or_gives_what_check_calls_unreadable(tmp_path):
    rng = random.Random(0)
    contents = [content for content, *_ in GOOD.values()]
    for number in range(5000):
        content = mutated(rng, rng.choice(contents))
        try:
            whole = read_image(content)
        except UnreadableError:
            whole = None
        (seen,) = kr.ImageData.from_images([content])._seen()
        assert (seen.look.problem is None) == (whole is not None), number
        try:
            small = read_image(content, (9, 7))
        except UnreadableError:
            small = None
        assert (small is None) == (whole is None), number


def mutated(rng, content):
    """A file with some bytes changed, cut out, doubled, or its end missing."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place = rng.randrange(len(damaged))
        kind = rng.randrange(4)
        if kind == 0:
            damaged[place] = rng.randrange(256)
        elif kind == 1:
            del damaged[place : place + rng.randrange(1, 9)]
        elif kind == 2:
            damaged[place:place] = damaged[place : place + rng.randrange(1, 9)]
        elif len(damaged) > 50:
            del damaged[-rng.randrange(1, 40) :]
    return bytes(damaged)
