"""Loading Keras and TensorFlow without what they write while they start."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_NOTE = re.compile(r"I0000 |WARNING: All log messages before absl|To enable the ")


def load_engine() -> None:
    """Imports Keras and TensorFlow, without their notes on the screen."""
    with _without_notes():
        try:
            import keras
        except ImportError as error:
            chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
            raise ImportError(
                f"Keras cannot be loaded with the backend {chosen!r} ({error}). Install it "
                "(pip install jax, or torch), or unset KERAS_BACKEND and set tensorflow in "
                "~/.keras/keras.json."
            ) from error
        import tensorflow

        del keras, tensorflow


@contextmanager
def _without_notes() -> Iterator[None]:
    """Keeps TensorFlow's notes at import off the screen, and nothing else.

    They are written before its log level is read, straight to the file descriptor.
    """
    if sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        screen = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not _NOTE.match(line):
                    sys.stderr.write(f"{line}\n")
