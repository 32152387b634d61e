"""What was seen of photos before is known again, and never when they have changed."""

import os
import sqlite3
import time

import pytest
from PIL import Image

from kerasresnet import index
from kerasresnet.decoding import UnreadableError, content_of, digest
from kerasresnet.index import NAME, digests, forget, seen_contents, seen_files


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / NAME


@pytest.fixture
def photos(tmp_path):
    found = []
    for number in range(5):
        found.append(tmp_path / f"{number}.png")
        Image.new("RGB", (40 + number, 50), (number * 50, 9, 9)).save(found[-1])
        os.utime(found[-1], (1e9, 1e9 + number))
    return found


@pytest.fixture
def reads(monkeypatch):
    """Which files are read."""
    found = []

    def counted(photo):
        found.append(photo)
        return content_of(photo)

    monkeypatch.setattr(index, "content_of", counted)
    return found


def test_digests_are_those_of_the_contents_and_files_are_read_once(photos, reads):
    expected = [digest(path.read_bytes()) for path in photos]
    assert digests(photos) == expected
    assert sorted(reads) == photos
    assert digests(photos[::-1]) == expected[::-1]
    assert len(reads) == 5


def test_a_file_that_changed_is_read_again(photos, reads):
    digests(photos)
    reads.clear()
    photos[1].write_bytes(b"longer than before" * 99)
    os.utime(photos[2], (1e9, 5))
    photos[4].replace(photos[3])
    found = digests(photos[:4])
    assert found == [digest(path.read_bytes()) for path in photos[:4]]
    assert reads == photos[1:4]


def test_a_file_that_was_just_written_is_not_trusted_to_stay(photos, reads):
    now = time.time()
    os.utime(photos[0], (now, now))
    digests(photos[:1])
    digests(photos[:1])
    assert len(reads) == 2


def test_what_turned_out_to_be_wrong_is_forgotten(photos, reads):
    digests(photos)
    forget(photos[3])
    reads.clear()
    digests(photos)
    assert reads == [photos[3]]


def test_files_that_cannot_be_read_are_told_and_not_kept(photos, tmp_path):
    absent = tmp_path / "absent.png"
    found = digests([photos[0], absent])
    assert isinstance(found[1], UnreadableError)
    assert "there is no such file" in str(found[1])
    Image.new("RGB", (40, 40)).save(absent)
    assert digests([absent]) == [digest(absent.read_bytes())]


def test_photos_are_looked_at_once_wherever_they_lie(photos, reads, monkeypatch):
    first = seen_files(photos)
    assert [one.look.width for one in first] == [40, 41, 42, 43, 44]
    assert [one.source for one in first] == [str(path) for path in photos]
    monkeypatch.setattr(index, "look_at", None)
    assert seen_files(photos) == first
    moved = photos[0].with_name("moved.png")
    moved.write_bytes(photos[0].read_bytes())
    assert seen_files([moved])[0].look == first[0].look


def test_without_a_look_only_digests_are_known(photos, monkeypatch):
    monkeypatch.setattr(index, "look_at", None)
    seen = seen_files(photos, look=False)
    assert [one.digest for one in seen] == digests(photos)


def test_a_look_of_another_version_is_not_used(photos, monkeypatch):
    seen_files(photos)
    looked = []
    monkeypatch.setattr(index, "_VERSION", "other")
    real = index.look_at
    monkeypatch.setattr(index, "look_at", lambda c: looked.append(c) or real(c))
    seen_files(photos)
    assert len(looked) == 5


def test_an_unreadable_photo_is_known_by_content_with_its_reason(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    os.utime(tmp_path / "a.jpg", (1e9, 1e9))
    for _ in range(2):
        (seen,) = seen_files([tmp_path / "a.jpg"])
        assert seen.look.problem == "not an image"
        assert "known format" in seen.look.reason
        assert seen.digest


def test_images_in_memory_are_seen_too(photos):
    contents = [path.read_bytes() for path in photos]
    seen = seen_contents(contents, ["a", "b", "c", "d", "e"])
    assert [one.look for one in seen] == [one.look for one in seen_files(photos)]
    assert [one.source for one in seen] == ["a", "b", "c", "d", "e"]


def test_a_damaged_database_is_told_and_made_anew(photos, own_index, caplog):
    first = seen_files(photos)
    own_index.write_bytes(b"no database" * 999)
    assert seen_files(photos) == first
    assert "is damaged" in caplog.text
    assert seen_files(photos) == first
    with sqlite3.connect(own_index) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (5,)
    database.close()


def test_a_cache_folder_that_cannot_be_written_costs_nothing_else(
    photos, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "file" / "cache"))
    assert [one.look.width for one in seen_files(photos)] == [40, 41, 42, 43, 44]


def test_a_locked_database_is_done_without(photos, own_index, monkeypatch, caplog):
    caplog.set_level("INFO", "kerasresnet")
    seen_files(photos[:1])
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda f, timeout: connect(f, timeout=0))
    other = connect(own_index)
    other.execute("BEGIN EXCLUSIVE")
    assert len(seen_files(photos)) == 5
    other.close()
    assert "cannot be used" in caplog.text


def test_clearing_removes_the_database(photos, own_index):
    seen_files(photos)
    size = own_index.stat().st_size
    assert index.clear(own_index.parent) == size
    assert not own_index.exists()
    assert index.clear(own_index.parent) == 0
