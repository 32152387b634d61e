"""The state of a run on disk: written whole or not at all, and checked when it is read.

What the state consists of is the matter of `rounds`.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.disk import remove, write_aside
from kerasresnet.errors import ArtifactError

_NAMES = ("checkpoint.npz", "checkpoint-before.npz")
_DIGEST_BYTES = 32
_log = logging.getLogger(__name__)


class Checkpoints:
    """The last two states of a run, in its folder.

    A file is written aside and renamed, so that a kill or a full disk leaves the one
    before. Its last bytes are a SHA-256 of the rest: a file that was damaged later is
    not used, and the one before it is.

    Args:
        folder: Folder of the run. It must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._last, self._before = (folder / name for name in _NAMES)

    def write(self, arrays: Mapping[str, Pixels], notes: Mapping[str, Any]) -> None:
        """Writes a state.

        Args:
            arrays: Numbers by name.
            notes: Anything that JSON holds.

        Raises:
            ArtifactError: If it cannot be written. The state before is still there.
        """
        aside = self._last.with_name("checkpoint-next.npz")
        try:
            write_aside(aside, lambda file: _write(file, arrays, notes))
            # Between the two there is no last one: the one before is read then.
            if self._last.exists():
                self._last.replace(self._before)
            aside.replace(self._last)
        except OSError as error:
            remove(aside)
            raise ArtifactError(
                f"The state of the run cannot be written: {error}. Make room, and go on from "
                "the state before with resume=True (--resume)."
            ) from error

    def read(self) -> tuple[dict[str, Pixels], dict[str, Any]] | None:
        """Returns the last whole state, or None if there is none."""
        for file in (self._last, self._before):
            try:
                return _read(file.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                _log.warning(
                    "%s is damaged (%s): the state before it is used.", file, error
                )
        return None

    def clear(self) -> None:
        """Removes them, when the run is done."""
        for file in (self._last, self._before):
            remove(file)


def _write(
    file: IO[bytes], arrays: Mapping[str, Pixels], notes: Mapping[str, Any]
) -> None:
    hashing = _Hashing(file)
    held = {f"a/{name}": np.asarray(array) for name, array in arrays.items()}
    np.savez(hashing, notes=np.array(json.dumps(notes)), **held)  # type: ignore[arg-type]
    file.write(hashing.digest.digest())


def _read(content: bytes) -> tuple[dict[str, Pixels], dict[str, Any]]:
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum is wrong")
    with np.load(io.BytesIO(body), allow_pickle=False) as held:
        notes = json.loads(str(held["notes"]))
        arrays = {name[2:]: held[name] for name in held.files if name != "notes"}
    return arrays, notes


class _Hashing(io.RawIOBase):
    """Passes on what is written, and hashes it."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self._file.write(content)
