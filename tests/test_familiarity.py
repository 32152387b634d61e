import numpy as np
import pytest
from scipy.spatial.distance import cdist

import kerasresnet as kr
from kerasresnet import familiarity as module


@pytest.fixture
def model(small):
    return small(3)


def of_length_one(model, images):
    rows = kr.extract_features(model, images, verbose=0).astype("float64")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 4])
def test_distances_are_those_to_the_neighbour(model, coloured, k):
    known, new = coloured[0][:40], coloured[0][40:]
    familiarity = kr.Familiarity.fit(model, known, k=k, verbose=0)
    rows, others = of_length_one(model, new), of_length_one(model, known)
    expected = np.sort(cdist(rows, others), axis=1)[:, k - 1]
    np.testing.assert_allclose(familiarity.distance(new), expected, rtol=0.03)
    own = np.sort(np.sort(cdist(others, others), axis=1)[:, k])
    np.testing.assert_allclose(familiarity.distances, own, rtol=0.03)


def test_a_score_is_the_share_of_known_images_that_are_as_far(model, coloured):
    familiarity = kr.Familiarity.fit(model, coloured[0][:40], k=3, verbose=0)
    distances = familiarity.distance(coloured[0][40:])
    naive = [np.mean(familiarity.distances >= one) for one in distances]
    np.testing.assert_allclose(familiarity.score(coloured[0][40:]), naive)


def test_images_like_the_known_ones_are_familiar_and_others_are_not(model, coloured):
    familiarity = kr.Familiarity.fit(model, coloured[0][::2], verbose=0)
    assert 0.2 < np.mean(familiarity.score(coloured[0][1::2])) < 0.8
    rows = np.arange(32)[:, None] // 4 % 2 * np.ones(32)
    striped = np.repeat(rows[..., None] * 255, 3, axis=2).astype("uint8")
    assert familiarity.score(striped) == [0]


def test_in_small_blocks_the_distances_are_the_same(model, coloured, monkeypatch):
    whole = kr.Familiarity.fit(model, coloured[0], verbose=0)
    monkeypatch.setattr(module, "_CELLS", 130)
    blocks = kr.Familiarity.fit(model, coloured[0], verbose=0)
    np.testing.assert_allclose(blocks.distances, whole.distances, atol=1e-3)


def test_of_many_images_some_are_compared(model, coloured, monkeypatch):
    monkeypatch.setattr(module, "_MOST_COMPARED", 20)
    familiarity = kr.Familiarity.fit(model, coloured[0], verbose=0)
    assert (len(familiarity), len(familiarity.distances)) == (60, 20)


def test_a_known_image_is_its_own_neighbour(model, coloured):
    familiarity = kr.Familiarity.fit(model, coloured[0], k=1, verbose=0)
    assert familiarity.distance(coloured[0][:3]).max() < 0.01
    assert familiarity.distances.max() > 0.01


@pytest.mark.parametrize(("images", "k"), [(9, 1), (60, 2)])
def test_the_neighbour_is_chosen_by_the_number_of_images(model, coloured, images, k):
    familiarity = kr.Familiarity.fit(model, coloured[0][:images], verbose=0)
    assert familiarity.k == k
    assert repr(familiarity) == f"Familiarity({images} images, k={k})"


def test_a_new_head_changes_nothing_and_a_new_network_is_noticed(model, coloured):
    familiarity = kr.Familiarity.fit(model, coloured[0], verbose=0)
    before = familiarity.score(coloured[0][:5])
    kr.probe(model, coloured, verbose=0)
    np.testing.assert_array_equal(familiarity.score(coloured[0][:5]), before)
    kr.fine_tune(model, coloured, from_stage="conv5", epochs=1, verbose=0)
    with pytest.raises(ValueError, match="network has been trained since"):
        familiarity.score(coloured[0][:5])


def test_what_cannot_work_is_refused(model, coloured):
    with pytest.raises(ValueError, match="k must be at least 1, received 0"):
        kr.Familiarity.fit(model, coloured[0], k=0)
    with pytest.raises(kr.DataError, match=r"There are 5 photos; .* neighbour 5"):
        kr.Familiarity.fit(model, coloured[0][:5], k=5, verbose=0)
