"""Features are kept where the caller said, and read back in any order."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from kerasresnet import caching
from kerasresnet.caching import (
    FeatureRows,
    MemoryRows,
    cache_folder_of,
    cache_limit,
    check_cache,
)
from kerasresnet.disk import cache_root

VALUES = np.random.default_rng(0).normal(size=(12, 2, 3)).astype("float32")


# Where they are kept -------------------------------------------------------------------


@pytest.mark.parametrize(
    "cache", ["auto", "memory", False, Path("features"), "./x", "a/b", "/x", ".", ".."]
)
def test_every_way_to_say_where_features_are_kept_is_accepted(cache):
    check_cache(cache)


def test_a_bare_name_is_a_folder_only_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"a folder of that name pass '\./features'"):
        check_cache("features")
    (tmp_path / "features").mkdir()
    check_cache("features")


@pytest.mark.parametrize(
    "cache",
    [
        "memry",
        "AUTO",
        "",
        True,
        3,
        0,
        None,
        b"./x",
        ["auto"],
    ],
)
def test_anything_else_is_refused_with_what_is_expected(cache):
    with pytest.raises(
        ValueError, match=r"^cache must be 'auto', 'memory', False"
    ) as e:
        check_cache(cache)
    assert f"or a folder, received {cache!r}." in str(e.value)
    assert ("pass './" in str(e.value)) == isinstance(cache, str)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of one's own, and no word about caches in the environment."""
    for name in ("KERASRESNET_CACHE", "KERASRESNET_CACHE_LIMIT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_features_go_where_the_environment_says(home, monkeypatch):
    assert cache_root() == home / ".cache" / "kerasresnet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_root() == home / "xdg" / "kerasresnet"
    monkeypatch.setenv("KERASRESNET_CACHE", str(home / "own"))
    assert cache_root() == home / "own"


def test_an_empty_variable_is_none_and_a_tilde_is_the_home(home, monkeypatch):
    monkeypatch.setenv("KERASRESNET_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_root() == home / ".cache" / "kerasresnet"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache_root() == home / "xdg" / "kerasresnet"
    monkeypatch.setenv("KERASRESNET_CACHE", "~/own")
    assert cache_root() == home / "own"


def test_the_folder_is_the_callers_the_usual_one_or_none(home):
    assert cache_folder_of("auto") == cache_root()
    assert cache_folder_of("./x") == cache_folder_of(Path("x")) == Path("x")
    off = False
    assert cache_folder_of("memory") is cache_folder_of(off) is None
    assert not list(home.iterdir())


def test_a_tilde_of_the_caller_is_the_home_too(home):
    check_cache("~/features")
    assert cache_folder_of("~/features") == home / "features"


@pytest.mark.parametrize(
    ("text", "limit"),
    [(None, 20e9), ("", 20e9), ("5", 5e9), ("0.25", 25e7), (" 1e3 ", 1e12)],
)
def test_the_limit_is_20_gb_or_what_the_environment_says(
    home, monkeypatch, text, limit
):
    if text is not None:
        monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", text)
    assert cache_limit() == limit
    assert isinstance(cache_limit(), int)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "nan",
        "20 GB",
        "none",
        "inf",
        "1e300",
    ],
)
def test_a_limit_that_is_no_number_of_gigabytes_is_refused(home, monkeypatch, text):
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match=f"of GB above 0, received '{text}'"):
        cache_limit()


# Rows in memory ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_in_memory_are_found_as_those_on_disk_are(dtype):
    written = VALUES.astype(getattr(ml_dtypes, dtype, dtype))
    kept = MemoryRows((2, 3), dtype)
    assert kept.find(["a"]) == {}
    kept.write(["a", "b"], written[:2])
    kept.write(["c"], written[2:3])
    found = kept.find(["c", "absent", "a"])
    assert sorted(found) == ["a", "c"]
    for name, (rows, number) in found.items():
        np.testing.assert_array_equal(rows[number], written["abc".index(name)])
    assert kept.row_bytes == written[0].nbytes
    assert kept.shape == (2, 3)


def test_a_row_written_again_in_memory_is_the_last_one():
    kept = MemoryRows((2, 3), "float32")
    kept.write(["a"], VALUES[:1])
    kept.write(["a"], VALUES[1:2])
    rows, number = kept.find(["a"])["a"]
    np.testing.assert_array_equal(rows[number], VALUES[1])


# Features of a set -----------------------------------------------------------------------


@pytest.fixture(params=["in memory", "memory-mapped"])
def scattered(request, tmp_path, monkeypatch):
    """Makes features of `VALUES`, whose rows lie in another order in two files."""
    if request.param == "memory-mapped":
        monkeypatch.setattr(caching, "MEMORY_BYTES", VALUES.nbytes - 1)

    def build(views=1, dtype="float32"):
        order = np.random.default_rng(1).permutation(len(VALUES))
        for part in (0, 1):
            np.save(tmp_path / f"{part}.npy", VALUES[order[part::2]].astype(dtype))
        files = [np.load(tmp_path / f"{part}.npy", mmap_mode="r") for part in (0, 1)]
        places = np.argsort(order)
        arrays = [files[place % 2] for place in places]
        return FeatureRows(arrays, (places // 2).tolist(), views)

    return build


def test_row_i_belongs_to_image_i(scattered):
    rows = scattered()
    assert len(rows) == 12
    assert (rows.shape, rows.dtype) == ((2, 3), np.float32)
    np.testing.assert_array_equal(rows.table(), VALUES)
    indices = np.array([7, 0, 11, 7])
    for draws in (np.zeros(4, int), np.array([5, 0, 2**31, 1])):
        np.testing.assert_array_equal(rows.batch(indices, draws), VALUES[indices])


def test_each_draw_chooses_a_view_of_its_image(scattered):
    rows = scattered(views=3)
    assert len(rows) == 4
    indices = np.array([3, 0, 0, 2, 1])
    draws = np.array([0, 1, 4, 2**31 - 1, 3000])
    expected = VALUES.reshape(4, 3, 2, 3)[indices, draws % 3]
    np.testing.assert_array_equal(rows.batch(indices, draws), expected)
    np.testing.assert_array_equal(rows.table(), VALUES)


def test_every_view_of_every_image_can_be_drawn(scattered):
    images, draws = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    np.testing.assert_array_equal(scattered(views=3).batch(images, draws), VALUES)


def test_batches_keep_their_type_and_the_table_is_float32(scattered):
    rows = scattered(dtype="float16")
    some = np.arange(3)
    assert rows.batch(some, some).dtype == rows.dtype == np.float16
    assert rows.table().dtype == np.float32
    np.testing.assert_array_equal(rows.table(), VALUES.astype("float16"))


def test_bfloat16_rows_become_a_float32_table():
    halved = VALUES.astype(ml_dtypes.bfloat16)
    rows = FeatureRows([halved] * 12, range(12))
    assert rows.dtype == ml_dtypes.bfloat16
    assert rows.table().dtype == np.float32
    np.testing.assert_array_equal(rows.table(), halved.astype("float32"))


def test_the_caller_may_change_what_is_returned(scattered):
    rows = scattered()
    some = np.arange(5)
    for returned in (rows.table(), rows.batch(some, some)):
        returned[:] = 0
    np.testing.assert_array_equal(rows.table(), VALUES)


def test_one_row_may_belong_to_several_images(scattered):
    rows = FeatureRows([VALUES] * 3, [4, 4, 0])
    np.testing.assert_array_equal(rows.table(), VALUES[[4, 4, 0]])
    np.testing.assert_array_equal(rows.batch(np.array([1]), np.array([0])), VALUES[[4]])


def test_only_rows_that_fit_are_taken_into_memory(scattered, request):
    rows = scattered()
    small = request.node.callspec.params["scattered"] == "in memory"
    held = isinstance(rows._table, np.ndarray)
    assert held == small
