"""The same picture is found again however it was saved; other pictures are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import kerasresnet as kr
from kerasresnet.decoding import digest
from kerasresnet.demo import draw_flowers
from kerasresnet.duplicates import Groups, _near_pairs, same_pictures
from kerasresnet.looks import look_at, look_at_rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photos of drawn flowers, all different."""
    folder = draw_flowers(tmp_path_factory.mktemp("drawn"), per_class=8, seed=3)
    return [Image.open(path).convert("RGB") for path in sorted(folder.glob("*/*"))]


def encoded(image, kind="PNG", **settings):
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def groups_of(contents, **settings):
    digests = [digest(content) for content in contents]
    return same_pictures(digests, [look_at(c) for c in contents], **settings).members()


def test_pictures_that_differ_are_not_taken_for_the_same(pictures):
    assert groups_of([encoded(picture) for picture in pictures]) == []


CHANGES = {
    "jpeg": lambda image: encoded(image, "JPEG", quality=60),
    "smaller": lambda image: encoded(image.resize((40, 40), Image.Resampling.LANCZOS)),
    "larger": lambda image: encoded(image.resize((300, 210))),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.015)),
    "upside down by EXIF": lambda image: encoded(
        image.transpose(Image.Transpose.ROTATE_180), exif=turned()
    ),
}


def turned():
    exif = Image.Exif()
    exif[0x0112] = 3
    return exif


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_known_again(pictures, change):
    contents = [encoded(picture) for picture in pictures]
    changed = [CHANGES[change](picture) for picture in pictures]
    pairs = [[i, i + len(pictures)] for i in range(len(pictures))]
    assert groups_of(contents + changed) == pairs
    assert groups_of(contents + changed, near=False) == []


def test_the_same_content_is_known_without_a_look(pictures):
    contents = [encoded(picture) for picture in pictures[:3]]
    assert groups_of([*contents, contents[1], contents[1]], near=False) == [[1, 3, 4]]


def test_plain_pictures_are_the_same_only_if_their_colour_is():
    levels = [0, 0, 1, 90, 91, 255, 255]
    contents = [encoded(Image.new("RGB", (40, 40), (level,) * 3)) for level in levels]
    assert groups_of(contents) == [[0, 1], [5, 6]]


def test_texture_alone_joins_nothing():
    rng = np.random.default_rng(0)
    noise = rng.integers(60, 160, (300, 40, 40, 3)).astype("uint8")
    assert groups_of(list(noise)) == []


def test_images_that_cannot_be_read_are_the_same_only_by_content():
    assert groups_of([b"broken", b"broken too", b"broken"]) == [[0, 2]]
    looks = [look_at(b"broken"), look_at(b"broken")]
    assert same_pictures([None, None], looks).members() == []


def drawn_sketches(kind, count=600):
    """Sketches of which many differ by about as much as is allowed."""
    rng = np.random.default_rng(0)
    if kind == "one scene":
        rooms = np.full((count, 8, 9, 3), 120.0)
        rooms[:, 4:] += 90
        return (rooms + rng.normal(0, 6, (count, 1, 1, 1))).astype("uint8")
    scenes = rng.integers(0, 256, (count // 5, 8, 9, 3))
    jitter = rng.integers(-9, 10, (count, 8, 9, 3)) + rng.integers(
        -6, 7, (count, 1, 1, 1)
    )
    found = scenes[rng.integers(0, len(scenes), count)] + jitter
    faint = rng.uniform(0.05, 1, (count // 5, 1, 1, 1))[rng.integers(0, 4, count)]
    return (found * (faint if kind == "faint" else 1)).clip(0, 255).astype("uint8")


def naive_pairs(sketches):
    flat = sketches.reshape(len(sketches), -1).astype("int16")
    limits = np.minimum(0.15 * sketches.std(axis=(1, 2)).mean(axis=-1), 6)
    for i in range(len(flat)):
        levels = np.abs(flat[:i] - flat[i]).mean(axis=1)
        near = levels <= np.minimum(limits[:i], limits[i])
        yield from ((int(j), i) for j in np.nonzero(near)[0])


@pytest.mark.parametrize("kind", ["vivid", "faint", "one scene"])
def test_the_pairs_are_those_of_a_naive_search(monkeypatch, kind):
    monkeypatch.setattr("kerasresnet.duplicates._FEW", 16)
    monkeypatch.setattr("kerasresnet.duplicates._PAIRS", 2000)
    monkeypatch.setattr("kerasresnet.duplicates._CHUNK", 100)
    sketches = drawn_sketches(kind)
    wanted = set(naive_pairs(sketches))
    found = {(min(pair), max(pair)) for pair in _near_pairs(sketches)}
    assert found == wanted
    assert len(wanted) > 100


def test_groups_are_those_of_a_naive_search():
    blocks = drawn_sketches("vivid", 60)
    naive = Groups(60)
    for i, j in naive_pairs(blocks):
        naive.join(i, j)
    looks = look_at_rows(blocks.repeat(4, 1).repeat(4, 2), np.arange(60))
    found = same_pictures([str(i) for i in range(60)], looks).members()
    assert found == naive.members()
    assert len(found) > 5


def test_many_images_that_are_alike_are_no_trouble():
    ramp = np.linspace(0, 200, 64)[None, :, None] * np.ones((1, 1, 3))
    images = [np.repeat(ramp + i % 40, 64, 0).astype("uint8") for i in range(2000)]
    assert groups_of(images) == [list(range(2000))]


def test_groups_join_in_any_order():
    rng = np.random.default_rng(0)
    chains = [(i, i + 10) for i in range(90)]
    groups = Groups(100)
    for one, other in rng.permutation(chains):
        groups.join(int(one), int(other))
    assert groups.members() == [list(range(k, 100, 10)) for k in range(10)]
    groups.join_equal(["even" if i % 2 == 0 else None for i in range(100)])
    assert groups.members()[0] == list(range(0, 100, 2))
    assert [len(group) for group in groups.members()] == [50, 10, 10, 10, 10, 10]


def test_photos_of_a_set_are_all_different(flowers):
    assert kr.ImageData.from_paths(flowers.paths).check().near_duplicates == ()
