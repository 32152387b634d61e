"""The command line. Each command is a public call and a printed answer.

Keras and TensorFlow are imported inside the commands: `--help` and wrong arguments
answer at once.
"""

import argparse
import csv
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kerasresnet.arguments import build_parser
from kerasresnet.errors import ArtifactError, DataError, KerasResNetError, listing

if TYPE_CHECKING:
    from kerasresnet.images import ImageData
    from kerasresnet.prediction import Prediction

_STARTUP_NOTE = re.compile(
    r"I0000 |WARNING: All log messages before absl|To enable the "
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows `kerasresnet`. Defaults to the process's own.

    Returns:
        0 if the job was done, 1 if it failed. Wrong usage exits with 2.
    """
    # TensorFlow's C++ notes would stand between the lines of the answer.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return _COMMANDS[options.command](options) or 0
    except BrokenPipeError:
        # The reader, such as `head`, has enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except _failures() as error:
        # One line, so that the last line of a log tells the reason.
        print(f"kerasresnet: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kerasresnet: stopped", file=sys.stderr)
        return 1


def _failures() -> tuple[type[Exception], ...]:
    """What ends a job with one line; anything else is a bug and shows where it is."""
    known = (KerasResNetError, ValueError, OSError, MemoryError, RuntimeError)
    engine = sys.modules.get("tensorflow")
    return known if engine is None else (*known, engine.errors.OpError)


@contextmanager
def _run_folder(folder: Path) -> Iterator[Path]:
    """Takes an empty folder away again if the job fails before it wrote anything."""
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _without_startup_notes() -> Iterator[None]:
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
                if not _STARTUP_NOTE.match(line):
                    print(line, file=sys.stderr)


def _load_engine() -> None:
    with _without_startup_notes():
        import keras
        import tensorflow

        del keras, tensorflow


# The imports below stand inside the commands because they load Keras and TensorFlow.


def _demo(options: argparse.Namespace) -> None:
    _load_engine()
    from kerasresnet.demo import run_demo
    from kerasresnet.runs import empty_folder, new_folder

    name = "kerasresnet-demo"
    folder = empty_folder(options.out) if options.out else new_folder(Path(), name)
    _seed_everything(options.seed)
    with _run_folder(folder.resolve()) as results:
        run_demo(
            results,
            weights=options.weights,
            seed=options.seed,
            say=_say,
            verbose=_verbosity(),
        )


def _labelled(given: Path) -> "ImageData":
    from kerasresnet.images import ImageData

    if given.suffix.lower() == ".csv":
        return ImageData.from_csv(given)
    return ImageData.from_folder(given)


def _check(options: argparse.Namespace) -> int:
    # No Keras is loaded: one look at each photo is all that is needed.
    audit = _labelled(options.directory).check()
    _say(str(audit))
    if options.csv is not None:
        audit.to_csv(options.csv)
        _say(f"\nall findings: {options.csv}")
    return 0 if audit.ok else 1


def _train(options: argparse.Namespace) -> None:
    data = _labelled(options.directory)
    _say(f"index: {data}")
    _load_engine()
    from kerasresnet.runs import RunSettings, empty_folder, new_folder, train_run

    settings = RunSettings(
        weights=_weights(options.weights),
        image_size=options.image_size,
        validation=options.validation,
        epochs=options.epochs,
        fine_tune_epochs=options.fine_tune_epochs,
        from_stage=options.from_stage,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        fine_tune_rate=options.fine_tune_rate,
        hidden_units=tuple(options.hidden_units),
        dropout=options.dropout,
        augmentation=options.augmentation,
        views=options.views,
        precision=options.precision,
        cache=options.cache,
        on_error=options.on_error,
        seed=options.seed,
    )
    name = options.directory.resolve().stem
    folder = (
        empty_folder(options.out) if options.out else new_folder(Path("runs"), name)
    )
    _seed_everything(options.seed)
    # What is computed, where it is kept and in which precision.
    logging.getLogger("kerasresnet.extraction").setLevel(logging.INFO)
    logging.getLogger("kerasresnet.precision").setLevel(logging.INFO)
    with _run_folder(folder):
        _, report = train_run(data, folder, settings, say=_say, verbose=_verbosity())
    _say(f"\n{report}\n\nresults: {folder.resolve()}")
    _say(f"next: kerasresnet predict {folder / 'model.keras'} PHOTO")


def _check_model(model: str) -> None:
    if model != "imagenet" and not Path(model).exists():
        raise ArtifactError(f"There is no file {model}. Expected a model.keras file.")


def _evaluate(options: argparse.Namespace) -> None:
    _check_model(options.model)
    data = _labelled(options.directory)
    _load_engine()
    from kerasresnet.classifier import load
    from kerasresnet.evaluation import evaluate
    from kerasresnet.runs import empty_folder, write_report

    model = load(options.model)
    folder = empty_folder(options.out) if options.out else None
    report = evaluate(
        model, data, batch_size=options.batch_size, on_error=options.on_error
    )
    _say(str(report))
    if folder is not None:
        write_report(folder, report)
        _say(f"\nresults: {folder.resolve()}")


def _predict(options: argparse.Namespace) -> None:
    from kerasresnet.images import ImageData

    _check_model(options.model)
    paths = [
        path
        for given in options.photos
        for path in ImageData.from_paths(given).paths or ()
    ]
    absent = [path for path in paths if not path.exists()]
    if absent and options.on_error == "raise":
        raise DataError(f"There is no file {listing(absent)}.")
    _load_engine()
    from kerasresnet.classifier import imagenet_classifier, load
    from kerasresnet.prediction import predict

    model = (
        imagenet_classifier() if options.model == "imagenet" else load(options.model)
    )
    predictions = predict(
        model,
        paths,
        top=options.top,
        batch_size=options.batch_size,
        on_error=options.on_error,
    )
    {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}[options.output](
        predictions
    )


def _cache(options: argparse.Namespace) -> None:
    from kerasresnet.caching import cache_limit
    from kerasresnet.disk import cache_root
    from kerasresnet.shards import clear, entries

    root = options.dir or cache_root()
    if options.action == "clear":
        _say(f"{root}: {_size(clear(root))} of features removed")
        return
    kept = entries(root)
    total = sum(entry.bytes for entry in kept)
    _say(f"{root}: {_size(total)} of {cache_limit() / 1e9:g} GB, {len(kept)} entries")
    if kept:
        _say("\nlast used            rows      size  stage     image size  precision")
    for entry in kept:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        kind = {"stage": "?", "image_size": "?", "precision": "?", **entry.kind}
        pixels = " x ".join(str(side) for side in kind["image_size"])
        _say(
            f"{used}  {entry.rows:>7,}  {_size(entry.bytes):>8}  {kind['stage']:<8}  "
            f"{pixels:<10}  {kind['precision']}"
        )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _doctor(options: argparse.Namespace) -> None:
    _load_engine()
    from kerasresnet.doctor import examine

    del options
    found = examine()
    width = max(len(subject) for subject in found)
    for subject, finding in found.items():
        print(f"{subject:<{width}}  {finding}")


def _print_table(predictions: Sequence["Prediction"]) -> None:
    source_width = max(len(p.source) for p in predictions)
    label_width = max(len(p.label) for p in predictions)
    for p in predictions:
        rest = ", ".join(f"{name} {share:.1%}" for name, share in p.top[1:])
        line = f"{p.source:<{source_width}}  {p.label:<{label_width}}  {p.probability:>6.1%}  {rest}"
        print(line.rstrip())


def _print_csv(predictions: Sequence["Prediction"]) -> None:
    ranks = range(1, len(predictions[0].top) + 1)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        ["source", *(c for k in ranks for c in (f"label_{k}", f"probability_{k}"))]
    )
    for p in predictions:
        writer.writerow(
            [p.source, *(c for name, share in p.top for c in (name, f"{share:.6f}"))]
        )


def _print_jsonl(predictions: Sequence["Prediction"]) -> None:
    for p in predictions:
        record = {
            "source": p.source,
            "label": p.label,
            "probability": p.probability,
            "top": [{"label": name, "probability": share} for name, share in p.top],
        }
        print(json.dumps(record, ensure_ascii=False))


def _say(line: str) -> None:
    print(line, flush=True)


def _weights(text: str) -> str | None:
    return None if text == "none" else text


def _verbosity() -> Literal[1, 2]:
    # A progress bar in a log file is thousands of control characters.
    return 1 if sys.stdout.isatty() else 2


def _seed_everything(seed: int) -> None:
    # The command is the application: it may set the global seed, which decides the
    # first weights of the head.
    import keras

    keras.utils.set_random_seed(seed)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "demo": _demo,
    "check": _check,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "cache": _cache,
    "doctor": _doctor,
}
