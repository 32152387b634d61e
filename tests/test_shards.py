"""Rows on disk are found again with their right values, or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import shards
from kerasresnet.shards import (
    Shards,
    check_writable,
    clear,
    entries,
    kinds,
    make_room,
    remove_abandoned,
)

KIND = {"trunk": "5f3a", "stage": "conv4", "image_size": [64, 64], "every": 1}
NAMES = ["p-0", "p-1", "q-0", "q-1"]
VALUES = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
LONG_AGO = time.time() - 2 * 3600


def store(root, **changes):
    return Shards(root, KIND | changes, (3,), "float32")


def filled(root, **changes):
    """A store with one shard, its array and its index."""
    kept = store(root, **changes)
    kept.write(NAMES, VALUES)
    index = newest(kept.folder)
    return kept, index.with_suffix(".npy"), index


def newest(folder):
    return max(indices(folder), key=lambda file: file.stat().st_mtime_ns)


def indices(folder):
    return [f for f in folder.glob("*.json") if f.name != "manifest.json"]


def values(found):
    return {name: np.array(rows[number]) for name, (rows, number) in found.items()}


def tree(root):
    return {str(file.relative_to(root)) for file in root.rglob("*")}


def assert_right(found, names=NAMES):
    assert set(found) == set(names)
    for name, value in values(found).items():
        np.testing.assert_array_equal(value, VALUES[NAMES.index(name)])


# What is written is found ------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (2048,), (7, 7, 16), (2, 0)])
def test_rows_come_back_in_every_type_and_shape(tmp_path, dtype, shape):
    number_type = np.dtype(getattr(ml_dtypes, dtype, dtype))
    written = np.random.default_rng(1).normal(size=(5, *shape)).astype(number_type)
    names = list("abcde")
    Shards(tmp_path, KIND, shape, dtype).write(names, written)
    again = Shards(tmp_path, KIND, shape, dtype)
    found = again.find(names)
    assert sorted(found) == names
    for name, (rows, number) in found.items():
        assert rows.dtype == number_type
        np.testing.assert_array_equal(rows[number], written[names.index(name)])
    assert again.row_bytes == written[0].nbytes


def test_rows_that_lie_strided_or_in_another_type_are_written_as_their_values(tmp_path):
    wide = np.repeat(VALUES.astype("float64"), 2, axis=1)[:, ::2]
    store(tmp_path).write(NAMES, wide)
    assert_right(store(tmp_path).find(NAMES))


def test_rows_are_memory_mapped_and_cannot_be_changed(tmp_path):
    rows, number = filled(tmp_path)[0].find(["p-0"])["p-0"]
    assert isinstance(rows, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[number] = 0


def test_only_names_that_are_there_are_found(tmp_path):
    kept = store(tmp_path)
    assert kept.find(NAMES) == {}
    kept.write(NAMES[:2], VALUES[:2])
    kept.write(NAMES[2:], VALUES[2:])
    assert_right(kept.find(NAMES))
    assert_right(kept.find(["q-1", "absent", "p-0"]), ["q-1", "p-0"])
    assert kept.find(["absent"]) == {}
    assert kept.find([]) == {}


def test_a_name_written_twice_is_found_once(tmp_path):
    kept = filled(tmp_path)[0]
    kept.write(NAMES[1:3], VALUES[1:3])
    assert_right(kept.find([*NAMES, "p-1", "p-1"]))
    assert_right(store(tmp_path).find(NAMES))


@pytest.mark.parametrize("key", KIND)
def test_rows_of_another_kind_are_not_found(tmp_path, key):
    filled(tmp_path)
    assert store(tmp_path, **{key: "another"}).find(NAMES) == {}
    assert store(tmp_path, more=None).find(NAMES) == {}


def test_the_order_of_a_kinds_keys_makes_no_difference(tmp_path):
    filled(tmp_path)
    turned = dict(reversed(KIND.items()))
    assert_right(Shards(tmp_path, turned, (3,), "float32").find(NAMES))


# Damage is noticed -------------------------------------------------------------------


def flipped(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def sealed(array, index):
    """Makes the index vouch for whatever the array file holds now."""
    checksum = hashlib.sha256(array.read_bytes()).hexdigest()
    index.write_text(json.dumps(json.loads(index.read_text()) | {"sha256": checksum}))


def replaced(array, index, rows):
    np.save(array, rows)
    sealed(array, index)


def cut(file, length):
    file.write_bytes(file.read_bytes()[:length])


def renamed(index, names):
    index.write_text(json.dumps(json.loads(index.read_text()) | {"names": names}))


DAMAGE = {
    "array cut": lambda array, _: cut(array, -1),
    "array empty": lambda array, _: cut(array, 0),
    "bit of a row": lambda array, _: flipped(array, -3),
    "bit of the header": lambda array, _: flipped(array, 20),
    "another array": lambda array, _: np.save(array, VALUES + 1),
    "another type": lambda *pair: replaced(*pair, VALUES.astype("float64")),
    "another shape": lambda *pair: replaced(*pair, VALUES[:, :2]),
    "fewer rows": lambda *pair: replaced(*pair, VALUES[:2]),
    "more rows": lambda *pair: replaced(*pair, np.repeat(VALUES, 2, axis=0)),
    "objects": lambda *pair: replaced(*pair, VALUES.astype(object)),
    "index cut": lambda _, index: cut(index, -1),
    "index empty": lambda _, index: cut(index, 0),
    "index is a list": lambda _, index: index.write_text("[1, 2]"),
    "index is null": lambda _, index: index.write_text("null"),
    "index without checksum": lambda _, index: index.write_text('{"names": ["p-0"]}'),
    "index without names": lambda _, index: index.write_text('{"sha256": "00"}'),
    "index is no text": lambda _, index: index.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_reported_removed_and_computed_again(
    tmp_path, damage, caplog
):
    kept, array, index = filled(tmp_path)
    kept.write(["whole"], VALUES[:1])
    DAMAGE[damage](array, index)
    found = store(tmp_path).find([*NAMES, "whole"])
    assert set(found) == {"whole"}
    assert re.search(f"{index.stem}.* damaged", caplog.text)
    assert "computed again" in caplog.text
    assert not array.exists()
    assert not index.exists()
    kept.write(NAMES, VALUES)
    assert_right(store(tmp_path).find(NAMES))


@pytest.mark.parametrize("names", [5, None, [["p-0"], ["p-1"], ["q-0"], ["q-1"]]])
def test_an_index_whose_names_are_no_texts_is_damaged(tmp_path, names, caplog):
    _, _, index = filled(tmp_path)
    renamed(index, names)
    assert store(tmp_path).find(NAMES) == {}
    assert "damaged" in caplog.text


def test_a_row_is_not_found_under_a_name_that_a_flipped_bit_made(tmp_path):
    kept = store(tmp_path)
    kept.write(["p-0"], VALUES[:1])
    index = newest(kept.folder)
    flipped(index, index.read_text().index("p-0") + 2)
    assert "p-1" in index.read_text()
    assert store(tmp_path).find(["p-1"]) == {}


@pytest.mark.parametrize("lost", ["array", "index"])
def test_half_a_shard_is_no_shard(tmp_path, lost):
    kept, array, index = filled(tmp_path)
    {"array": array, "index": index}[lost].unlink()
    assert kept.find(NAMES) == {}
    assert store(tmp_path).find(NAMES) == {}
    kept.write(NAMES, VALUES)
    assert_right(store(tmp_path).find(NAMES))


def test_leftovers_and_foreign_files_in_the_folder_of_a_key_are_passed_over(
    tmp_path, caplog
):
    kept, array, _ = filled(tmp_path)
    (kept.folder / f"{'a' * 32}.partial").write_bytes(array.read_bytes()[:50])
    (kept.folder / "notes.json").write_text("no JSON")
    (kept.folder / "mine.npy").write_bytes(b"no array")
    assert_right(store(tmp_path).find(NAMES))
    assert not caplog.records


def test_only_old_leftovers_of_our_own_are_removed(tmp_path):
    kept, *_ = filled(tmp_path)
    old = [f"{'a' * 32}.partial", f"{'b' * 32}.npy"]
    foreign = ["mine.partial", "mine.npy", f"{'A' * 32}.npy", "notes.txt"]
    new = [f"{'c' * 32}.partial", f"{'d' * 32}.npy"]
    for name in old + foreign + new:
        (kept.folder / name).write_bytes(b"x")
    for file in kept.folder.iterdir():
        if file.name not in new:
            os.utime(file, (LONG_AGO, LONG_AGO))
    before = tree(kept.folder)
    remove_abandoned(tmp_path)
    assert tree(kept.folder) == before - set(old)
    assert_right(store(tmp_path).find(NAMES))


# Processes that die, and others that do not know of each other -------------------------

WRITER = """
import sys
from pathlib import Path
import numpy as np
from kerasresnet.shards import Shards
assert not {"tensorflow", "keras"} & set(sys.modules)
kept = Shards(Path(sys.argv[1]), {"stage": "conv4"}, (30_000,), "float32")
for number in range(10_000):
    kept.write([str(number)], np.full((1, 30_000), number))
"""

DIES_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
import numpy as np
from kerasresnet import shards
def dying(step):
    def call(*args, **kwargs):
        global steps
        steps -= 1
        if not steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args, **kwargs)
    return call
os.fsync = dying(os.fsync)
Path.replace = dying(Path.replace)
Path.mkdir = dying(Path.mkdir)
kept = shards.Shards(Path(sys.argv[1]), {"stage": "conv4"}, (9,), "float32")
for number in range(30):
    child = os.fork()
    if not child:
        steps = number % 10 + 1
        kept.write([str(number)], np.full((1, 9), number))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

BUSY = """
import sys
from pathlib import Path
import numpy as np
from kerasresnet import shards
root = Path(sys.argv[1])
names = [str(number) for number in range(8)]
hits = 0
for turn in range(200):
    kept = shards.Shards(root, {"turn": turn % 2}, (99,), "float32")
    name = names[turn % 8]
    kept.write([name], np.full((1, 99), int(name)))
    found = kept.find(names)
    for name, (rows, number) in found.items():
        assert (rows[number] == int(name)).all()
    hits += len(found)
    if turn % 50 == 49:
        shards.clear(root)
    elif turn % 3 == 0:
        shards.make_room(root, 3000)
    shards.remove_abandoned(root)
    shards.entries(root)
print(hits)
"""


def started(code, root):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_whole_shards_that_are_found(tmp_path, caplog):
    process = started(WRITER, tmp_path)
    kept = Shards(tmp_path, {"stage": "conv4"}, (30_000,), "float32")
    while len(indices(kept.folder)) < 5 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[1] == ""
    written = len(indices(kept.folder))
    found = kept.find([str(number) for number in range(written + 1)])
    assert set(found) == {str(number) for number in range(written)}
    for name, value in values(found).items():
        np.testing.assert_array_equal(value, np.full(30_000, int(name)))
    assert not caplog.records


def test_wherever_a_process_is_killed_rows_are_whole_or_absent(tmp_path):
    output, errors = started(DIES_AT_EVERY_STEP, tmp_path).communicate()
    assert errors == ""
    codes = list(map(int, output.split()))
    assert set(codes) == {0, -signal.SIGKILL}
    kept = Shards(tmp_path, {"stage": "conv4"}, (9,), "float32")
    found = values(kept.find([str(number) for number in range(30)]))
    assert {name for name, code in enumerate(codes) if not code} <= set(map(int, found))
    for name, value in found.items():
        np.testing.assert_array_equal(value, np.full(9, int(name)))
    assert kinds(tmp_path).count({"stage": "conv4"}) == 1


def test_processes_that_write_and_clear_at_once_find_right_rows_or_none(tmp_path):
    processes = [started(BUSY, tmp_path) for _ in range(2)]
    for process in processes:
        output, errors = process.communicate()
        assert errors == ""
        assert int(output) > 200


@pytest.mark.parametrize(
    "function",
    [entries, clear, remove_abandoned, lambda root: make_room(root, 0)],
    ids=["entries", "clear", "remove_abandoned", "make_room"],
)
def test_a_cache_that_another_process_clears_meanwhile_is_no_error(
    tmp_path, monkeypatch, function
):
    def overtaken(_):
        monkeypatch.undo()
        clear(tmp_path)
        return 0

    for stage in ("conv4", "conv5"):
        filled(tmp_path, stage=stage)
    shutil.copytree(tmp_path / "features-v1", tmp_path / "features-v0")
    for name in ("size_of", "modified"):
        monkeypatch.setattr(shards, name, overtaken)
    function(tmp_path)
    assert not list(tmp_path.iterdir())


def test_room_can_be_made_while_another_process_clears(tmp_path, monkeypatch):
    remove = shards.remove

    def remove_and_be_overtaken(file):
        remove(file)
        monkeypatch.setattr(shards, "remove", remove)
        clear(tmp_path)

    filled(tmp_path)
    monkeypatch.setattr(shards, "remove", remove_and_be_overtaken)
    make_room(tmp_path, 0)


def test_a_folder_that_another_process_clears_meanwhile_is_made_again(
    tmp_path, monkeypatch
):
    prepared = Shards._prepared

    def prepared_and_cleared(self):
        folder = prepared(self)
        monkeypatch.setattr(Shards, "_prepared", prepared)
        clear(tmp_path)
        return folder

    monkeypatch.setattr(Shards, "_prepared", prepared_and_cleared)
    assert_right(filled(tmp_path)[0].find(NAMES))


# Disks that are full or closed ---------------------------------------------------------


def failing(number, code, call):
    """The call, but from its `number`-th time on it is an error of the disk."""
    times = iter(range(number - 1))

    def failed(*args, **kwargs):
        if next(times, None) is None:
            raise OSError(code, os.strerror(code))
        return call(*args, **kwargs)

    return failed


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("call", "number"), [("save", 1), ("fsync", 1), ("fsync", 2)])
def test_a_full_disk_is_an_error_that_leaves_what_was_there(
    tmp_path, monkeypatch, call, number, code
):
    kept = filled(tmp_path)[0]
    before = tree(tmp_path)
    module = np if call == "save" else os
    monkeypatch.setattr(module, call, failing(number, code, getattr(module, call)))
    full = "The disk is full. What was computed before is kept. .*cache clear. empties"
    with pytest.raises(kr.CacheError, match=full) as caught:
        kept.write(["new"], VALUES[:1])
    assert str(tmp_path) in str(caught.value)
    monkeypatch.undo()
    assert_right(store(tmp_path).find([*NAMES, "new"]))
    assert tree(tmp_path) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("size", [3, 100_000])
def test_a_device_that_is_truly_full_is_called_full(tmp_path, monkeypatch, size):
    kept = Shards(tmp_path, KIND, (size,), "float32")
    kept.write(["old"], np.ones((1, size)))
    before = tree(tmp_path)
    (kept.folder / f"{'a' * 32}.partial").symlink_to("/dev/full")
    aside = SimpleNamespace(hex="a" * 32)
    monkeypatch.setattr(uuid, "uuid4", lambda: aside)
    with pytest.raises(kr.CacheError, match="The disk is full"):
        kept.write(["new"], np.ones((1, size)))
    assert set(kept.find(["old", "new"])) == {"old"}
    assert tree(tmp_path) == before


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_an_error_with_the_remedy(
    tmp_path, monkeypatch, code
):
    root = tmp_path / "cache"
    monkeypatch.setattr(Path, "mkdir", failing(1, code, Path.mkdir))
    message = (
        rf"cannot be written into {root}: {os.strerror(code)}\. `kerasresnet cache "
        "clear` .* KERASRESNET_CACHE or cache=folder .* cache=False does without"
    )
    with pytest.raises(kr.CacheError, match=message):
        check_writable(root, 0)
    with pytest.raises(kr.CacheError, match=message):
        store(root).write(NAMES, VALUES)


def test_a_folder_closed_to_writing_is_still_read(tmp_path):
    kept = filled(tmp_path)[0]
    kept.folder.chmod(0o500)
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        for write in (lambda: kept.write(["new"], VALUES[:1]), lambda: check_writable(tmp_path, 0)):  # fmt: skip
            with pytest.raises(kr.CacheError, match="Permission denied"):
                write()
        assert_right(store(tmp_path).find([*NAMES, "new"]))
    finally:
        tmp_path.chmod(0o700)
        kept.folder.chmod(0o700)


@pytest.mark.parametrize("below", ["", "cache"])
def test_a_file_in_place_of_the_folder_is_an_error(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    root = tmp_path / "file" / below
    with pytest.raises(kr.CacheError, match=f"cannot be written into {root}: "):
        check_writable(root, 0)
    with pytest.raises(kr.CacheError, match=f"cannot be written into {root}: "):
        store(root).write(NAMES, VALUES)
    assert store(root).find(NAMES) == {}
    assert entries(root) == []
    assert clear(root) == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_more_than_the_disk_has_left_is_refused_before_the_work(tmp_path):
    root = tmp_path / "new" / "cache"
    check_writable(root, 1)
    assert root.is_dir()
    assert not list(root.iterdir())
    with pytest.raises(
        kr.CacheError,
        match=r"take 1000000000\.0 GB, but the disk of .* GB left\. `kera",
    ):
        check_writable(root, 10**18)


# Room ----------------------------------------------------------------------------------


def three_shards(root):
    """Three shards of one size, the first used longest ago, and that size."""
    kept = store(root)
    for number, name in enumerate("abc"):
        kept.write([name], VALUES[:1])
        index = newest(kept.folder)
        os.utime(index, (100 + number, 100 + number))
    size = sum(f.stat().st_size for f in (index, index.with_suffix(".npy")))
    return kept, size


@pytest.mark.parametrize(("limit", "left"), [(3, "abc"), (2, "bc"), (1, "c"), (0, "")])
def test_shards_used_longest_ago_make_room_until_the_rest_fits(tmp_path, limit, left):
    kept, size = three_shards(tmp_path)
    make_room(tmp_path, limit * size)
    assert set(kept.find("abc")) == set(left)
    assert kept.folder.exists() == bool(left)


def test_a_byte_over_the_limit_is_over_the_limit(tmp_path):
    kept, size = three_shards(tmp_path)
    make_room(tmp_path, 3 * size - 1)
    assert set(kept.find("abc")) == {"b", "c"}


def test_finding_a_row_counts_as_use(tmp_path):
    kept, size = three_shards(tmp_path)
    assert set(kept.find(["a"])) == {"a"}
    make_room(tmp_path, size)
    assert set(kept.find("abc")) == {"a"}


def test_shards_that_are_to_be_kept_stay_although_they_are_the_oldest(tmp_path):
    kept, size = three_shards(tmp_path)
    other = filled(tmp_path, stage="conv5")[0]
    make_room(tmp_path, 3 * size, keep=kept.used)
    assert set(kept.find("abc")) == set("abc")
    assert other.find(NAMES) == {}
    make_room(tmp_path, 0, keep=kept.used)
    assert set(kept.find("abc")) == set("abc")


def test_what_is_removed_to_make_room_is_logged(tmp_path, caplog):
    caplog.set_level("INFO", "kerasresnet")
    _, _, index = filled(tmp_path)
    make_room(tmp_path, 0)
    assert f"over its limit: {index} is removed" in caplog.text


# Looking at it, and clearing it ----------------------------------------------------------


def test_entries_tell_what_there_is_the_one_used_last_at_the_end(tmp_path):
    first, *_ = filled(tmp_path, stage="conv5")
    second, *_ = filled(tmp_path)
    second.write(["more"], VALUES[:1])
    for file in first.folder.iterdir():
        os.utime(file, (LONG_AGO, LONG_AGO))
    one, other = entries(tmp_path)
    assert (one.folder, one.rows, one.kind) == (first.folder, 4, KIND | {"stage": "conv5"})  # fmt: skip
    assert (other.folder, other.rows, other.kind) == (second.folder, 5, KIND)
    assert one.used == pytest.approx(LONG_AGO)
    assert other.bytes == sum(f.stat().st_size for f in second.folder.iterdir())
    first.find(NAMES[:1])
    assert [entry.folder for entry in entries(tmp_path)] == [second.folder, first.folder]  # fmt: skip


def test_a_folder_that_is_absent_or_empty_has_no_entries(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        assert entries(root) == kinds(root) == []
        assert clear(root) == 0
        make_room(root, 0)
        remove_abandoned(root)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "null", '{"kind": 5}', '{"kind": "ab"}', "{}"]
)
def test_a_damaged_manifest_costs_the_description_not_the_rows(tmp_path, text):
    kept = filled(tmp_path)[0]
    manifest = kept.folder / "manifest.json"
    manifest.unlink() if text is None else manifest.write_text(text)
    (entry,) = entries(tmp_path)
    assert (entry.kind, entry.rows) == ({}, 4)
    assert KIND not in kinds(tmp_path)
    assert_right(store(tmp_path).find(NAMES))
    assert clear(tmp_path) == entry.bytes


def test_a_damaged_manifest_is_written_again_with_the_next_shard(tmp_path):
    kept = filled(tmp_path)[0]
    (kept.folder / "manifest.json").write_text("{")
    filled(tmp_path)
    assert KIND in kinds(tmp_path)


def test_a_damaged_index_counts_no_rows(tmp_path):
    kept, _, index = filled(tmp_path)
    kept.write(["whole"], VALUES[:1])
    index.write_text('{"names": 5}')
    assert [entry.rows for entry in entries(tmp_path)] == [1]


def test_kinds_are_those_that_were_written(tmp_path):
    filled(tmp_path)
    filled(tmp_path, stage="conv5")
    stages = [kind["stage"] for kind in kinds(tmp_path) if kind]
    assert sorted(stages) == ["conv4", "conv5"]


def test_backup_programs_are_told_to_pass_the_cache_over(tmp_path):
    filled(tmp_path)
    tag = tmp_path / "features-v1" / "CACHEDIR.TAG"
    assert tag.read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_clearing_frees_what_the_entries_take_and_leaves_nothing(tmp_path):
    kept = filled(tmp_path)[0]
    filled(tmp_path, stage="conv5")
    (kept.folder / f"{'a' * 32}.partial").write_bytes(b"half")
    size = sum(entry.bytes for entry in entries(tmp_path))
    assert clear(tmp_path) == size > 500
    assert not list(tmp_path.iterdir())
    assert_right(filled(tmp_path)[0].find(NAMES))


def test_features_of_another_format_are_listed_and_cleared_but_not_read(tmp_path):
    kept = filled(tmp_path)[0]
    (tmp_path / "features-v1").rename(tmp_path / "features-v0")
    assert kept.find(NAMES) == {}
    assert kinds(tmp_path) == []
    assert [(entry.kind, entry.rows) for entry in entries(tmp_path)] == [(KIND, 4)]
    assert clear(tmp_path) > 0
    assert not list(tmp_path.iterdir())


FOREIGN = [
    "photo.jpg",
    "notes.txt",
    "mine/manifest.json",
    f"mine/{'a' * 32}.npy",
    "features/notes.json",
    "features-v1/notes.txt",
    "features-v1/mine/notes.txt",
    "features-v1/KEY/mine.npy",
    "features-v1/KEY/mine.json",
    "features-v1/KEY/deeper/photo.jpg",
]


def with_foreign_files(root, names):
    """A store between files of somebody else, and those files."""
    kept = filled(root)[0]
    files = [root / name.replace("KEY", kept.folder.name) for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
        os.utime(file, (LONG_AGO, LONG_AGO))
    return kept, files


def test_files_of_somebody_else_survive_everything(tmp_path):
    kept, files = with_foreign_files(tmp_path, FOREIGN)
    remove_abandoned(tmp_path)
    make_room(tmp_path, 10**9)
    assert_right(kept.find(NAMES))
    make_room(tmp_path, 0)
    assert kept.find(NAMES) == {}
    kept.write(NAMES, VALUES)
    assert clear(tmp_path) > 0
    assert kept.find(NAMES) == {}
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == set(files)


@pytest.mark.parametrize(
    "name", ["features-v1.zip", "features-vacation/photos/manifest.json"]
)
def test_files_with_almost_our_name_survive_clearing(tmp_path, name):
    kept, (file,) = with_foreign_files(tmp_path, [name])
    assert [entry.folder for entry in entries(tmp_path)] == [kept.folder]
    assert clear(tmp_path) > 0
    assert kept.find(NAMES) == {}
    assert file.read_text() == "mine"


def test_a_process_killed_at_the_first_file_of_all_leaves_nothing_for_good(tmp_path):
    filled(tmp_path)
    leftover = tmp_path / "features-v1" / f"{'a' * 32}.partial"
    leftover.write_bytes(b"half")
    clear(tmp_path)
    assert not list(tmp_path.iterdir())
