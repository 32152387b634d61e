import logging

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import neighbours


@pytest.fixture(params=[2**25, 40])
def chunks(request, monkeypatch):
    """All rows at once, and few at a time."""
    monkeypatch.setattr(neighbours, "_AT_A_TIME", request.param)


@pytest.fixture
def model(small, flowers):
    return small(class_names=flowers.class_names)


def similarities(model, data):
    """Cosines of all pairs of images, the plain way."""
    rows = kr.extract_features(model, data, verbose=0).astype("float64")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def name_of(data, index):
    return data.class_names[data.labels[index]]


def test_look_alikes_are_the_nearest_by_the_angle_of_their_features(model, flowers):
    cosines = similarities(model, flowers)
    found = kr.look_alikes(model, flowers.paths[7], flowers, n=5, verbose=0)
    order = [i for i in np.argsort(-cosines[7]) if i != 7][:5]
    assert [one.source for one in found] == [flowers.sources[i] for i in order]
    assert [one.label for one in found] == [name_of(flowers, i) for i in order]
    np.testing.assert_allclose(
        [one.similarity for one in found], cosines[7][order], atol=1e-5
    )


def test_an_image_that_is_not_in_the_data_is_computed(model, flowers):
    rest = flowers.without(flowers.paths[:1])
    inside = kr.look_alikes(model, flowers.paths[0], flowers, verbose=0)
    outside = kr.look_alikes(model, flowers.paths[0], rest, verbose=0)
    assert [one.source for one in inside] == [one.source for one in outside]
    np.testing.assert_allclose(
        [one.similarity for one in inside],
        [one.similarity for one in outside],
        atol=1e-5,
    )


def test_the_file_itself_is_left_out_and_a_copy_is_marked(model, flowers, tmp_path):
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(flowers.paths[3].read_bytes())
    found = kr.look_alikes(model, flowers.paths[3], flowers, n=50, verbose=0)
    assert len(found) == len(flowers) - 1
    assert flowers.sources[3] not in [one.source for one in found]
    assert not any(one.identical for one in found)
    for image in (copy, copy.read_bytes()):
        first, *rest = kr.look_alikes(model, image, flowers, n=50, verbose=0)
        assert (first.source, first.identical) == (flowers.sources[3], True)
        assert first.similarity == pytest.approx(1, abs=1e-5)
        assert len(rest) == len(flowers) - 1
        assert not any(one.identical for one in rest)


@pytest.mark.parametrize("labelled", [True, False])
def test_arrays_have_look_alikes_too(model, pixels, labelled):
    images, labels = pixels
    data = pixels if labelled else images
    for image in (images[4], Image.fromarray(images[4])):
        first, second, *_ = kr.look_alikes(model, image, data, verbose=0)
        assert (first.source, first.identical) == ("image 4", True)
        assert second.similarity < 1
        assert first.label == (str(labels[4]) if labelled else None)
        assert (first.photo == images[4]).all()


def test_images_without_features_are_like_nothing(small, pixels):
    model = small()
    for layer in model.layers:
        if layer.name.startswith("conv5") and layer.name.endswith("_bn"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    found = kr.look_alikes(model, pixels[0][0], pixels, verbose=0)
    assert [one.similarity for one in found] == [0] * 9


def test_outliers_are_farthest_from_their_nearest_neighbours(model, flowers, chunks):
    cosines = similarities(model, flowers)
    np.fill_diagonal(cosines, -1)
    expected = 1 - np.sort(cosines)[:, -3:].mean(axis=1)
    found = kr.find_outliers(model, flowers, n=50, neighbours=3, verbose=0)
    order = [flowers.sources.index(one.source) for one in found]
    assert sorted(order) == list(range(len(flowers)))
    distances = [one.distance for one in found]
    assert distances == sorted(distances, reverse=True)
    np.testing.assert_allclose(distances, expected[order], atol=1e-5)
    assert [one.label for one in found] == [name_of(flowers, i) for i in order]
    assert len(kr.find_outliers(model, flowers, n=2, verbose=0)) == 2


def test_what_is_unlike_all_others_is_the_first_outlier(small, coloured):
    images, labels = coloured
    odd = np.flatnonzero(labels == 1)[0]
    kept = images[np.sort([odd, *np.flatnonzero(labels == 0)])]
    found = kr.find_outliers(small(), kept, n=1, verbose=0)
    assert [(one.source, one.label) for one in found] == [(f"image {odd}", None)]


def test_more_neighbours_than_images_are_all_others(small, pixels):
    model = small()
    nine = kr.find_outliers(model, pixels, neighbours=9, verbose=0)
    assert kr.find_outliers(model, pixels, neighbours=99, verbose=0) == nine


def test_near_duplicates_are_all_pairs_above_the_threshold(model, flowers, chunks):
    cosines = similarities(model, flowers)
    one, other = np.triu_indices(len(flowers), 1)
    threshold = np.sort(cosines[one, other])[-12:-10].mean()
    found = kr.find_near_duplicates(model, flowers, threshold=threshold, verbose=0)
    near = cosines[one, other] >= threshold
    expected = {
        (flowers.sources[i], flowers.sources[j]): cosines[i, j]
        for i, j in zip(one[near], other[near], strict=True)
    }
    assert len(found) == 11
    assert {pair.sources for pair in found} == set(expected)
    values = [pair.similarity for pair in found]
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose(values, [expected[p.sources] for p in found], atol=1e-5)
    for pair in found:
        places = map(flowers.sources.index, pair.sources)
        assert pair.labels == tuple(name_of(flowers, i) for i in places)


def test_more_pairs_than_are_wanted_are_said(model, flowers, chunks, caplog):
    every = kr.find_near_duplicates(model, flowers, threshold=-0.9, verbose=0)
    assert len(every) == 30 * 29 / 2
    with caplog.at_level(logging.WARNING):
        few = kr.find_near_duplicates(model, flowers, threshold=-0.9, n=7, verbose=0)
    assert few == every[:7]
    assert "435 pairs are at least -0.9 similar; the 7 most" in caplog.text


def test_copies_in_fewer_colours_are_near_duplicates(small, flowers):
    images = [np.asarray(Image.open(path)) for path in flowers.paths[::6]]
    copies = [image // 16 * 16 for image in images]
    data = kr.ImageData.from_images([*images, *copies])
    found = kr.find_near_duplicates(small(), data, threshold=0, n=5, verbose=0)
    expected = {(f"image {i}", f"image {i + 5}") for i in range(5)}
    assert {pair.sources for pair in found} == expected


def test_what_cannot_be_compared_is_refused(model, flowers, pixels):
    folder = flowers.paths[0].parent
    with pytest.raises(kr.DataError, match=r"one image, but .* has 6 images"):
        kr.look_alikes(model, folder, flowers)
    with pytest.raises(kr.DataError, match=r"Expected ImageData, .* received dict"):
        kr.look_alikes(model, folder, {})
    for find in (kr.find_outliers, kr.find_near_duplicates):
        with pytest.raises(kr.DataError, match=r"at least 2 images .* received 1"):
            find(model, pixels[0][:1])
        with pytest.raises(ValueError, match="n must be at least 1, received 0"):
            find(model, pixels, n=0)
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        kr.find_outliers(model, pixels, neighbours=0)
    with pytest.raises(ValueError, match=r"threshold must be in \(-1, 1\]"):
        kr.find_near_duplicates(model, pixels, threshold=1.2)
