"""What the owner of a cache folder is told about it; `test_cli` shows and clears a real one."""

import pytest

import kerasresnet as kr
from kerasresnet import upkeep
from kerasresnet.index import NAME


def test_a_size_has_three_digits_and_its_unit():
    sizes = (0, 999, 1234, 56_789_000, 20e9)
    expected = ["0 B", "999 B", "1.23 kB", "56.8 MB", "20 GB"]
    assert [upkeep.size_text(size) for size in sizes] == expected


def test_a_folder_that_is_not_there_holds_nothing_and_is_not_made(tmp_path):
    lines = list(upkeep.holdings(tmp_path / "new"))
    assert lines == [
        f"{tmp_path / 'new'}: 0 B of 20 GB, 0 entries",
        "what was seen of photos: 0 B",
    ]
    assert "0 B of features and 0 B" in upkeep.cleared(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_cache_is_shown_beside_what_it_holds(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "-1")
    (tmp_path / "file").touch()
    first, seen, limit, folder = upkeep.holdings(tmp_path / "file")
    assert first == f"{tmp_path / 'file'}: 0 B, 0 entries"
    assert seen == "what was seen of photos: 0 B"
    assert limit.startswith("KERASRESNET_CACHE_LIMIT must be a number of GB above 0")
    assert folder == f"it cannot be used, because {tmp_path / 'file'} is a file"


def test_clearing_removes_what_is_known_of_photos_and_leaves_the_rest(tmp_path):
    (tmp_path / NAME).write_bytes(b"12345")
    (tmp_path / "thesis.txt").write_text("dear")
    assert "and 5 B of what was seen of photos" in upkeep.cleared(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_removed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(b"12345")
    monkeypatch.setattr(upkeep, "clear_index", lambda root: 0)
    with pytest.raises(kr.CacheError, match=r"5 B in .* could not be removed"):
        upkeep.cleared(tmp_path)
