"""Images are known by their content, and come in the order asked for."""

import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import pixels
from kerasresnet.decoding import content_of, digest, read_image
from kerasresnet.pixels import PixelStore, check_batch_size, content_digests
from kerasresnet.pixels import image_batches as batches_of

SIZE = (8, 8)


@pytest.fixture
def photos(tmp_path):
    """Seven photos of other colours."""
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        Image.new("RGB", (9, 10), (30 * i, 255 - 30 * i, 7)).save(path)
    return kr.ImageData.from_paths(paths)


@pytest.fixture
def numbered():
    """Seven arrays; the pixels of image `i` are all `i + 1`."""
    images = np.arange(1, 8, dtype="uint8").repeat(8 * 8 * 3).reshape(-1, 8, 8, 3)
    return kr.ImageData.from_arrays(images)


def image_batches(data, **settings):
    return batches_of(data, **{"image_size": SIZE, "batch_size": 3, **settings})


def in_memory_only(call):
    """The call, for streams of bytes alone: no file is opened again."""

    def checked(stream, **settings):
        assert isinstance(stream, io.BytesIO)
        return call(stream, **settings)

    return checked


# Content -------------------------------------------------------------------------------


def test_a_photo_is_known_by_its_content_wherever_it_lies(photos, tmp_path):
    (tmp_path / "moved").mkdir()
    copies = [
        shutil.copy(p, tmp_path / "moved" / f"x{p.name}.jpg") for p in photos.paths
    ]
    known = content_digests(photos)
    assert content_digests(kr.ImageData.from_paths(copies)) == known
    assert len(set(known)) == 7
    assert all(len(name) == 32 and int(name, 16) for name in known)


def test_a_changed_byte_changes_the_digest_of_that_photo_alone(photos):
    before = content_digests(photos)
    content = bytearray(photos.paths[3].read_bytes())
    content[-1] ^= 1
    photos.paths[3].write_bytes(content)
    changed = [a != b for a, b in zip(before, content_digests(photos), strict=True)]
    assert changed == [False, False, False, True, False, False, False]


def test_the_digest_of_a_file_is_that_of_its_bytes(photos):
    content = content_of(photos.paths[0])
    assert content == photos.paths[0].read_bytes()
    assert content_digests(photos)[0] == digest(content)


def test_an_array_is_known_by_its_values_its_type_and_its_shape():
    array = np.arange(48, dtype="uint8").reshape(4, 4, 3)
    changed = array.copy()
    changed[3, 3, 2] += 1
    others = [
        changed,
        array.astype("int8"),
        array.astype("float32"),
        array.view("bool"),
        array.reshape(2, 8, 3),
        array.reshape(8, 2, 3),
        array[:3],
    ]
    assert len({digest(other) for other in [array, *others]}) == len(others) + 1
    assert digest(array.copy()) == digest(array)
    assert content_of(array) is array


def test_how_an_array_lies_in_memory_makes_no_difference():
    array = np.random.default_rng(0).integers(0, 256, (8, 6, 3), "uint8")
    strided = np.repeat(array, 2, axis=1)[:, ::2]
    for other in (np.asfortranarray(array), strided, array[::-1].copy()[::-1]):
        assert digest(other) == digest(array)


def test_rows_of_an_array_have_the_digest_of_the_images_they_are(numbered):
    known = content_digests(numbered)
    assert known == [digest(image.copy()) for image in numbered.images]
    assert len(set(known)) == 7
    subset = numbered.take(3)
    assert content_digests(subset) == [known[row] for row in subset.rows]


def test_no_image_has_no_digest():
    assert content_digests(kr.ImageData.from_paths([])) == []


def test_all_files_that_cannot_be_read_are_named_at_once(photos, tmp_path):
    photos.paths[1].unlink()
    photos.paths[4].unlink()
    photos.paths[4].mkdir()
    with pytest.raises(kr.DataError, match=r"^2 of 7 images cannot be read") as caught:
        content_digests(photos)
    assert f"{photos.paths[1]} cannot be read: there is no such file." in str(caught.value)  # fmt: skip
    assert f"{photos.paths[4]} cannot be read: it is a folder." in str(caught.value)
    assert str(photos.paths[0]) not in str(caught.value)


def test_of_many_files_that_cannot_be_read_ten_are_named(tmp_path):
    absent = kr.ImageData.from_paths([tmp_path / f"{i:02d}.png" for i in range(13)])
    with pytest.raises(kr.DataError, match=r"13 of 13 (.|\n)*and 3 more") as caught:
        content_digests(absent)
    named = [path.name for path in absent.paths if path.name in str(caught.value)]
    assert named == [f"{i:02d}.png" for i in range(10)]
    ways_on = r"data\.without\(data\.check\(\)\.unreadable\), or with on_error='skip'"
    assert re.search(ways_on, str(caught.value))


# Batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_images_come_once_in_order_and_as_they_are_decoded(photos, batch_size):
    batches = list(image_batches(photos, batch_size=batch_size))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    expected = [read_image(path, SIZE) for path in photos.paths]
    np.testing.assert_array_equal(np.concatenate(batches), expected)


@pytest.mark.parametrize("rows", [[5, 0, 3, 3], [6], range(7), np.array([2, 1]), []])
@pytest.mark.parametrize("known", [False, True])
def test_the_rows_asked_for_come_in_their_order(numbered, rows, known):
    digests = content_digests(numbered) if known else None
    batches = list(image_batches(numbered, rows=rows, digests=digests))
    assert [image[0, 0, 0] - 1 for batch in batches for image in batch] == list(rows)
    assert len(batches) == -(-len(rows) // 3)


def test_digests_belong_to_the_images_of_the_data_not_to_the_rows(photos):
    digests = content_digests(photos)
    (batch,) = image_batches(photos, rows=[6, 2], digests=digests)
    expected = [read_image(photos.paths[i], SIZE) for i in (6, 2)]
    np.testing.assert_array_equal(batch, expected)


def test_a_photo_is_read_once_for_its_digest_and_its_pixels(photos, monkeypatch):
    digests = content_digests(photos)
    read = []
    monkeypatch.setattr(
        pixels, "content_of", lambda photo: read.append(photo) or content_of(photo)
    )
    monkeypatch.setattr(Image, "open", in_memory_only(Image.open))
    assert len(np.concatenate(list(image_batches(photos, digests=digests)))) == 7
    assert sorted(read) == sorted(photos.paths)


@pytest.mark.parametrize("count", [1, 7])
def test_a_photo_that_changed_since_its_digest_was_taken_is_named(photos, count):
    data = kr.ImageData.from_paths(photos.paths[:count])
    digests = content_digests(data)
    changed = data.paths[-1]
    Image.new("RGB", (9, 10), "white").save(changed)
    with pytest.raises(kr.DataError, match="changed while it was read") as caught:
        list(image_batches(data, digests=digests))
    assert f"{changed} changed while it was read. Run again" in str(caught.value)
    assert str(data.paths[0]) not in str(caught.value) or count == 1


def test_an_array_that_changed_since_its_digest_was_taken_is_refused(numbered):
    digests = content_digests(numbered)
    numbered.images[4] = 99
    with pytest.raises(kr.DataError, match=r"An array of shape \(8, 8, 3\) changed"):
        list(image_batches(numbered, digests=digests))


def test_a_photo_that_vanished_since_its_digest_was_taken_is_named(photos):
    digests = content_digests(photos)
    photos.paths[2].unlink()
    with pytest.raises(kr.DataError, match=r"2\.png cannot be read: there is no such"):
        list(image_batches(photos, digests=digests))


@pytest.mark.parametrize("content", [b"no photo", b""])
@pytest.mark.parametrize("known", [False, True])
def test_a_broken_photo_is_named_by_its_path(photos, known, content):
    photos.paths[4].write_bytes(content)
    digests = content_digests(photos) if known else None
    with pytest.raises(kr.DataError, match=r"1 of 7 images") as caught:
        list(image_batches(photos, digests=digests))
    assert f"{photos.paths[4]} cannot be read: " in str(caught.value)
    assert "An image of" not in str(caught.value)


def test_a_broken_photo_that_stands_alone_is_named_by_its_path(photos):
    photos.paths[0].write_bytes(b"no photo")
    data = kr.ImageData.from_paths(photos.paths[0])
    with pytest.raises(kr.DataError) as caught:
        list(image_batches(data, digests=content_digests(data)))
    reason = "it is not an image in a known format."
    assert str(caught.value) == f"{photos.paths[0]} cannot be read: {reason}"


def test_all_broken_photos_are_named_although_the_first_one_stops_the_reading(photos):
    for number in (1, 6):
        photos.paths[number].write_bytes(b"no photo")
    with pytest.raises(kr.DataError, match=r"2 of 7 (.|\n)*1\.png(.|\n)*6\.png"):
        next(image_batches(photos))


def test_batches_before_a_broken_photo_arrive(photos):
    photos.paths[6].write_bytes(b"no photo")
    batches = image_batches(photos)
    assert len(next(batches)) == len(next(batches)) == 3
    with pytest.raises(kr.DataError, match=r"6\.png cannot be read"):
        next(batches)


def test_a_broken_photo_that_is_not_asked_for_is_not_read(photos):
    photos.paths[6].write_bytes(b"no photo")
    (batch,) = image_batches(photos, rows=[0, 5])
    assert len(batch) == 2


def test_a_reader_may_stop_before_the_end(photos):
    batches = image_batches(photos, batch_size=1)
    next(batches)
    batches.close()
    assert len(list(image_batches(photos))) == 3


# Arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "3", None])
def test_a_batch_size_that_counts_nothing_is_refused(numbered, batch_size):
    message = f"batch_size must be at least 1, received {batch_size}"
    with pytest.raises(ValueError, match=message):
        next(image_batches(numbered, batch_size=batch_size))
    with pytest.raises(ValueError, match=message):
        check_batch_size(batch_size)


@pytest.mark.parametrize("size", [8, (8,), (0, 8), (8, 8, 3), (8.5, 8), "ab"])
def test_an_image_size_that_is_no_pair_is_refused(numbered, size):
    with pytest.raises(ValueError, match=r"image_size must be \(height, width\) in px"):
        next(image_batches(numbered, image_size=size))


def test_no_image_is_refused():
    with pytest.raises(kr.DataError, match="The data has no image"):
        next(image_batches(kr.ImageData.from_paths([])))


@pytest.mark.parametrize("cache", ["disk", True, None, 0])
def test_an_unknown_place_to_keep_pixels_is_refused(numbered, cache):
    with pytest.raises(ValueError, match="'auto', 'memory' or False, received"):
        PixelStore(numbered, SIZE, cache)


@pytest.mark.parametrize("cache", ["auto", "memory", False])
def test_pixels_are_the_same_however_they_are_kept(photos, cache):
    kept = PixelStore(photos, SIZE, cache)
    kept.fill()
    assert (len(kept), kept.shape) == (7, (8, 8, 3))
    rows = np.array([6, 0, 6])
    expected = [read_image(photos.paths[row], SIZE) for row in rows]
    for _ in range(2):
        np.testing.assert_array_equal(kept.batch(rows), expected)


@pytest.mark.parametrize("cache", ["memory", False])
def test_rows_that_are_partly_kept_come_in_their_order(photos, cache):
    kept = PixelStore(photos, SIZE, cache)
    for rows in ([2, 5], [5, 1, 2, 1], [], [6, 5, 4, 3, 2, 1, 0]):
        expected = [read_image(photos.paths[row], SIZE) for row in rows]
        batch = kept.batch(np.array(rows, "int64"))
        np.testing.assert_array_equal(batch, np.reshape(expected, (-1, *SIZE, 3)))


def test_a_kept_photo_is_read_once_and_a_batch_is_a_copy_of_it(photos, monkeypatch):
    kept = PixelStore(photos, SIZE, "memory")
    kept.batch(np.arange(7))[:] = 0
    monkeypatch.setattr(pixels, "read_image", None)
    assert all(image.any() for image in kept.batch(np.arange(7)))
