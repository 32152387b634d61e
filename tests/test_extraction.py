"""A feature is computed once, found again by content, and never taken for another."""

import dataclasses
import logging
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import extraction
from kerasresnet.extraction import Extraction
from kerasresnet.twins import Trunk


def unsettled(model, seed=0):
    """Gives a model biases and batch norm statistics that an error would show in."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape[0]))
    return model


@pytest.fixture(scope="module")
def built(small):
    model = unsettled(small())
    return model, model.get_weights()


@pytest.fixture
def model(built):
    """The small model, unsettled: built once, with its first weights in each test."""
    model, weights = built
    model.set_weights(weights)
    return model


@pytest.fixture
def computed(monkeypatch):
    """What the trunk was given, batch by batch; batches of ten and of one are full."""
    given = []
    original = Trunk.features

    def features(self, images):
        given.append(images)
        return original(self, images)

    monkeypatch.setattr(Trunk, "features", features)
    return given


def features(model, data, folder, **settings):
    settings = {"stage": "conv4", "batch_size": 10, "verbose": 0, **settings}
    settings = {"precision": "float32", **settings}
    return kr.extract_features(model, data, cache=folder, **settings)


def views(model, data, folder, count, stage="conv4"):
    trunk = Trunk(model, stage, "float32")
    settings = {"batch_size": 10, "cache": folder, "verbose": 0}
    rows = Extraction(model, trunk, **settings).of_images(
        data, kr.Augmentation(views=count)
    )
    every = np.arange(len(data))
    return np.stack([rows.batch(every, np.full(len(data), v)) for v in range(count)], 1)


def count(computed):
    found = sum(map(len, computed))
    computed.clear()
    return found


# What hits -----------------------------------------------------------------------------


def test_the_same_photos_elsewhere_and_in_another_order_are_found(
    model, flowers, flower_folder, tmp_path, computed
):
    first = features(model, flowers, tmp_path)
    assert count(computed) == 30
    shutil.copytree(flower_folder, tmp_path / "copy")
    names = flowers.class_names[::-1]
    copy = kr.ImageData.from_folder(tmp_path / "copy", class_names=names)
    again = features(model, copy, tmp_path)
    assert count(computed) == 0
    stems = [path.name for path in copy.paths]
    order = [stems.index(path.name) for path in flowers.paths]
    np.testing.assert_array_equal(again[order], first)


def test_one_changed_photo_is_computed_again_and_no_other(
    model, flower_folder, tmp_path, computed
):
    shutil.copytree(flower_folder, tmp_path / "photos")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    before = features(model, data, tmp_path)
    Image.new("RGB", (40, 40), "red").save(data.paths[7])
    computed.clear()
    after = features(model, data, tmp_path)
    assert count(computed) == 1
    changed = [i for i in range(30) if not np.array_equal(before[i], after[i])]
    assert changed == [7]


def test_another_head_hits_and_another_trunk_misses(model, pixels, tmp_path, computed):
    before = features(model, pixels, tmp_path)
    for name in ("predictions", "conv5_block1_1_conv"):
        weight = model.get_layer(name).weights[0]
        weight.assign(weight + 1)
    assert count(computed) == 10
    features(model, pixels, tmp_path)
    assert count(computed) == 0
    bias = model.get_layer("conv1_bn").beta
    bias.assign(bias + 1)
    assert not np.allclose(features(model, pixels, tmp_path), before)
    assert count(computed) == 10


@pytest.mark.parametrize(
    "other", [{"precision": "bfloat16"}, {"stage": "conv3"}, {"stage": "avg_pool"}]
)
def test_features_of_another_kind_are_not_taken(model, pixels, tmp_path, other):
    expected = features(model, pixels, "memory", **other)
    features(model, pixels, tmp_path)
    found = features(model, pixels, tmp_path, **other)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    again = features(model, pixels, tmp_path)
    np.testing.assert_array_equal(again, features(model, pixels, "memory"))


def test_models_of_two_sizes_keep_their_features_apart(small, pixels, tmp_path):
    large = unsettled(small(input_shape=(33, 33, 3)))  # 8 px after pooling, as of 32
    features(unsettled(small()), pixels, tmp_path)
    expected = features(large, pixels, "memory")
    np.testing.assert_array_equal(features(large, pixels, tmp_path), expected)


def test_an_image_that_comes_twice_is_computed_once(model, pixels, tmp_path, computed):
    twice = np.concatenate([pixels[0][:5], pixels[0][:5], pixels[0][:5]])
    for cache in (tmp_path, "memory"):
        found = features(model, twice, cache)
        assert count(computed) == 5
        np.testing.assert_array_equal(found[5:10], found[:5])


def test_cached_features_of_an_earlier_stage_are_the_start_of_a_later(
    model, pixels, tmp_path, computed
):
    expected = features(model, pixels, "memory", stage="avg_pool")
    for stage in ("conv2", "conv3"):
        features(model, pixels, tmp_path, stage=stage)
    computed.clear()
    found = features(model, pixels, tmp_path, stage="avg_pool")
    assert [batch.shape for batch in computed] == [(10, 8, 8, 16)]  # conv3, not images
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_an_earlier_stage_lacks_is_computed_from_images(
    model, pixels, tmp_path, computed
):
    features(model, pixels[0][:9], tmp_path, stage="conv3")
    computed.clear()
    features(model, pixels, tmp_path)
    assert [batch.shape for batch in computed] == [(9, 8, 8, 16), (1, 32, 32, 3)]


# Views ---------------------------------------------------------------------------------


def test_views_follow_the_photo_wherever_it_lies(model, flowers, tmp_path, computed):
    found = views(model, flowers, "memory", 2)
    order = np.random.default_rng(0).permutation(30)
    paths = []
    for i in order:
        paths.append(tmp_path / f"{i}.jpg")
        shutil.copy(flowers.paths[i], paths[-1])
    moved = views(model, kr.ImageData.from_paths(paths), "memory", 2)
    np.testing.assert_allclose(moved, found[order], rtol=1e-5, atol=1e-5)
    assert count(computed) == 120
    different = {row.tobytes() for row in found.reshape(60, -1)}
    assert len(different) == 60


def test_views_are_those_of_the_photos_content(model, pixels):
    data = kr.ImageData.from_arrays(*pixels)
    found = views(model, data, "memory", 2)
    plain = features(model, data, "memory")
    assert all(not np.allclose(found[:, view], plain, rtol=1e-3) for view in (0, 1))
    still = kr.Augmentation(
        horizontal_flip=False, smallest_crop=1, brightness=0, contrast=0, views=1
    )
    trunk = Trunk(model, "conv4", "float32")
    settings = {"batch_size": 10, "cache": "memory", "verbose": 0}
    rows = Extraction(model, trunk, **settings).of_images(data, still)
    np.testing.assert_allclose(rows.table(), plain, rtol=1e-5, atol=1e-5)


def test_views_of_a_preset_are_the_same_in_batches_of_any_size(model, pixels):
    data = kr.ImageData.from_arrays(*pixels)
    strong = kr.Augmentation.preset("strong", views=3)
    trunk = Trunk(model, "conv4", "float32")
    tables = [
        Extraction(model, trunk, batch_size=size, cache="memory", verbose=0)
        .of_images(data, strong)
        .table()
        for size in (30, 7)
    ]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-5, atol=1e-5)
    assert len(np.unique(tables[0].reshape(30, -1).round(3), axis=0)) == 30


def test_more_views_compute_only_the_new_ones(model, pixels, tmp_path, computed):
    data = kr.ImageData.from_arrays(*pixels)
    one = views(model, data, tmp_path, 1)
    assert count(computed) == 10
    two = views(model, data, tmp_path, 2)
    assert count(computed) == 10
    np.testing.assert_array_equal(two[:, :1], one)


# What goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "written"), [(0, 5), (1e9, 1)])
def test_what_is_finished_is_written_every_few_seconds(
    model, pixels, tmp_path, monkeypatch, seconds, written
):
    monkeypatch.setattr(extraction, "_SHARD_SECONDS", seconds)
    trunk = Trunk(model, "conv4", "float32")
    kept = Extraction(model, trunk, batch_size=2, cache=tmp_path, verbose=0)
    rows = kept.of_images(kr.ImageData.from_arrays(*pixels))
    assert len(rows.table()) == 10
    assert len(list(tmp_path.rglob("*.npy"))) == written


def test_what_was_computed_before_an_interruption_is_kept(
    model, flowers, tmp_path, monkeypatch, computed
):
    monkeypatch.setattr(extraction, "_SHARD_ROWS", 10)
    counted = Trunk.features

    def interrupted(self, images):
        if len(computed) == 2:
            raise KeyboardInterrupt
        return counted(self, images)

    with monkeypatch.context() as patched:
        patched.setattr(Trunk, "features", interrupted)
        with pytest.raises(KeyboardInterrupt):
            features(model, flowers, tmp_path)
    assert count(computed) == 20
    found = features(model, flowers, tmp_path)
    assert count(computed) == 10
    expected = features(model, flowers, "memory")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_incomplete_shard_is_kept_when_a_photo_is_unreadable(
    model, flower_folder, tmp_path, computed
):
    shutil.copytree(flower_folder, tmp_path / "photos")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    data.paths[25].write_bytes(b"no photo")
    with pytest.raises(kr.DataError, match="1 of 30 images cannot be read"):
        features(model, data, tmp_path)
    assert count(computed) == 20
    shutil.copy(data.paths[24], data.paths[25])
    features(model, data, tmp_path, batch_size=1)
    assert count(computed) == 9


def test_a_damaged_shard_is_reported_and_computed_again(
    model, pixels, tmp_path, caplog, computed
):
    before = features(model, pixels, tmp_path)
    (shard,) = tmp_path.rglob("*.npy")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    computed.clear()
    np.testing.assert_array_equal(features(model, pixels, tmp_path), before)
    assert count(computed) == 10
    assert "checksum is wrong): they are computed again" in caplog.text


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A cache folder that cannot be made, because a file is in its way."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "file" / "cache"))
    return tmp_path / "file" / "cache"


def test_features_stay_in_memory_where_the_usual_folder_is_out_of_reach(
    model, pixels, nowhere, caplog
):
    expected = features(model, pixels, "memory")
    np.testing.assert_array_equal(features(model, pixels, "auto"), expected)
    assert "cannot be written" in caplog.text
    assert "Features are kept in memory." in caplog.text


def test_a_folder_of_the_users_own_must_be_writable(model, pixels, nowhere):
    with pytest.raises(kr.CacheError, match=r"cannot be written into .*cache=folder"):
        features(model, pixels, nowhere)
    with pytest.raises(kr.CacheError, match="Not a directory"):
        kr.fit(model, pixels, epochs=1, cache=nowhere)


def test_more_than_the_cache_may_hold_is_not_kept(
    model, pixels, tmp_path, monkeypatch, caplog
):
    expected = features(model, pixels, "memory")
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path))
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "1e-7")
    np.testing.assert_array_equal(features(model, pixels, "auto"), expected)
    assert (
        "KERASRESNET_CACHE_LIMIT, in GB, raises that. They are not kept." in caplog.text
    )
    assert "loss" in kr.fit(model, pixels, pixels, epochs=1).history
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(
        kr.CacheError, match=r"more than the 1e-\d+ GB that the cache may hold"
    ):
        features(model, pixels, tmp_path)


def test_a_limit_that_is_no_number_is_refused(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "20 GB")
    with pytest.raises(ValueError, match=r"a number of GB above 0, received '20 GB'"):
        features(model, pixels, tmp_path)


def test_rows_that_vanish_meanwhile_are_said_to(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasresnet.extraction.Shards.write", lambda *_: None)
    with pytest.raises(kr.CacheError, match=r"vanished .* cache='memory'"):
        features(model, pixels, tmp_path)


def test_data_without_an_image_is_refused(model, flowers):
    nothing = dataclasses.replace(flowers, paths=(), labels=np.empty(0, "int64"))
    with pytest.raises(kr.DataError, match="The data has no image"):
        features(model, nothing, "memory")


# What is said --------------------------------------------------------------------------


def test_the_size_is_announced_before_the_work(
    model, pixels, tmp_path, caplog, monkeypatch
):
    def refuse(self, images):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trunk, "features", refuse)
    caplog.set_level(logging.INFO, "kerasresnet")
    with pytest.raises(KeyboardInterrupt):
        features(model, pixels, tmp_path)
    size = 10 * 4 * 4 * 16 * 4 / 1e6
    said = f"conv4: 10 to compute, 0 known, {size:.3g} MB in {tmp_path}."
    assert said in caplog.text


def test_a_bar_shows_images_for_each_second_and_nothing_when_all_is_known(
    model, pixels, tmp_path, capsys
):
    keras.utils.enable_interactive_logging()
    try:
        features(model, pixels, tmp_path, verbose=1)
        assert "features to conv4, images/s:" in capsys.readouterr().out
        features(model, pixels, tmp_path, verbose=1)
        assert capsys.readouterr().out == ""
    finally:
        keras.utils.disable_interactive_logging()
