"""The command line. Each command is a public call and a printed answer.

Keras and TensorFlow are imported inside the commands: `--help` and wrong arguments
answer at once.
"""

import argparse
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerasresnet.arguments import build_parser
from kerasresnet.catalogue import table_lines
from kerasresnet.errors import ArtifactError, DataError, KerasResNetError, listing
from kerasresnet.releases import GENERATIONS, published
from kerasresnet.startup import load_engine
from kerasresnet.train_arguments import check_together

if TYPE_CHECKING:
    from kerasresnet.evaluation import Report
    from kerasresnet.images import ImageData


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows `kerasresnet`. Defaults to the process's own.

    Returns:
        0 if the job was done, 1 if it failed. Wrong usage exits with 2.
    """
    # TensorFlow's C++ notes would stand between the lines of the answer.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    handler = logging.StreamHandler()
    handler.addFilter(_Once())
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=[handler])
    logging.getLogger("kerasresnet.downloads").setLevel(logging.INFO)
    parser = build_parser()
    options = parser.parse_args(arguments)
    check_together(options)
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
    except KeyboardInterrupt as stop:
        print(f"kerasresnet: stopped{stop}", file=sys.stderr)
        return 1


def _failures() -> tuple[type[Exception], ...]:
    """What ends a job with one line; anything else is a bug and shows where it is."""
    known = (
        KerasResNetError,
        ValueError,
        OSError,
        MemoryError,
        RuntimeError,
        ImportError,
    )
    engine = sys.modules.get("tensorflow")
    return known if engine is None else (*known, engine.errors.OpError)


class _Once(logging.Filter):
    """Lets each line of the log pass once: several steps may meet the same trouble."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = f"{record.levelname} {record.getMessage()}"
        is_new = line not in self._said
        self._said.add(line)
        return is_new


# The imports below stand inside the commands because they load Keras and TensorFlow.


def _demo(options: argparse.Namespace) -> None:
    load_engine()
    from kerasresnet.demo import run_demo

    folder = _results(options.out, Path(), "kerasresnet-demo").resolve()
    with _way_on(folder / "run"):
        run_demo(
            folder,
            weights=options.weights,
            seed=options.seed,
            say=_say,
            verbose=_verbosity(),
        )


def _is_table(given: Path) -> bool:
    return given.suffix.lower() == ".csv" and not given.is_dir()


def _labelled(given: Path) -> "ImageData":
    from kerasresnet.images import ImageData

    if _is_table(given):
        return ImageData.from_csv(given)
    return ImageData.from_folder(given)


def _check(options: argparse.Namespace) -> int:
    # No Keras is loaded: one look at each photo is all that is needed.
    from kerasresnet.images import with_empty_classes

    given = options.directory
    data = _labelled(given) if _is_table(given) else with_empty_classes(given)
    audit = data.check()
    _say(str(audit))
    if options.csv is not None:
        audit.to_csv(options.csv)
        _say(f"\nall findings: {options.csv}")
    return 0 if audit.ok else 1


def _train(options: argparse.Namespace) -> None:
    begin = _resumed if options.resume else _begun
    folder, report = begin(options)
    _say(f"\n{report}\n\nresults: {folder.resolve()}")
    _say(f"next: {shlex.join(['kerasresnet', 'report', str(folder)])}")
    predict = ["kerasresnet", "predict", str(folder / "model.keras")]
    _say(f"      {shlex.join(predict)} PHOTO")


def _begun(options: argparse.Namespace) -> tuple[Path, "Report"]:
    given: Path = options.directory
    data = _labelled(given)
    _say(f"index: {data}")
    load_engine()
    from kerasresnet.notes import RunSettings
    from kerasresnet.runs import train_run
    from kerasresnet.trackers import check_tracker

    names = [field.name for field in fields(RunSettings)]
    settings = RunSettings(**_chosen(options, names))
    check_tracker(settings.track)
    absolute = given.resolve()
    name = absolute.stem if _is_table(given) else absolute.name
    folder = _results(options.out, Path("runs"), name)
    _log_what_is_computed()
    with _way_on(folder):
        _, report = train_run(
            data, folder, settings, source=absolute, say=_say, verbose=_verbosity()
        )
    return folder, report


def _resumed(options: argparse.Namespace) -> tuple[Path, "Report"]:
    _check_run(options.out)
    load_engine()
    from kerasresnet.runs import resume_run

    _log_what_is_computed()
    with _way_on(options.out):
        _, report = resume_run(options.out, say=_say, verbose=_verbosity())
    return options.out, report


def _chosen(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The settings that were given, in a form that means the same from any folder."""
    found: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if name in names
    }
    if found.get("from_stage") == ("none",):
        found["from_stage"] = ()
    if isinstance(found.get("cache"), Path):
        found["cache"] = found["cache"].resolve()
    weights = found.get("weights", "imagenet")
    if weights in GENERATIONS:
        # Before the photos are looked at: it may refuse.
        published(found.get("backbone", "resnet50"), generation=weights)
    if weights == "none":
        found["weights"] = None
    elif weights not in GENERATIONS and Path(weights).is_file():
        found["weights"] = str(Path(weights).resolve())
    return found


def _results(out: Path | None, parent: Path, name: str) -> Path:
    from kerasresnet.manifests import empty_folder, new_folder

    return new_folder(parent, name) if out is None else empty_folder(out, but=())


def _log_what_is_computed() -> None:
    """Shows what is computed, what is kept where, in which precision, which epoch won."""
    for name in ("extraction", "precision", "keeping", "sinks", "weights"):
        logging.getLogger(f"kerasresnet.{name}").setLevel(logging.INFO)


@contextmanager
def _way_on(folder: Path) -> Iterator[None]:
    """Tells a user who stops a run how to go on with it."""
    try:
        yield
    except KeyboardInterrupt:
        if not (folder / "manifest.json").exists():
            raise
        words = shlex.join(["kerasresnet", "train", "--out", str(folder), "--resume"])
        raise KeyboardInterrupt(f". To go on: {words}") from None


def _check_run(folder: Path) -> None:
    """Answers before Keras is loaded if there is no run."""
    if not (folder / "settings.json").exists():
        raise ArtifactError(
            f"There is no run in {folder}: settings.json is missing. Expected the folder of "
            "a run of kerasresnet train."
        )


def _reproduce(options: argparse.Namespace) -> int:
    _check_run(options.run)
    load_engine()
    from kerasresnet.manifests import begun_in, empty_folder
    from kerasresnet.reproducing import fresh_cache, reproduce_run

    out: Path | None = options.out
    near = None if out is None else empty_folder(out, but=()).absolute().parent
    with tempfile.TemporaryDirectory(prefix="kerasresnet-", dir=near) as held:
        folder = empty_folder(Path(held) / "run") if out is None else out
        with begun_in(folder), fresh_cache(Path(held) / "cache"):
            same = reproduce_run(options.run, folder, say=_say, verbose=_verbosity())
    if out is not None and any(out.iterdir()):
        _say(f"results: {out.resolve()}")
    return 0 if same else 1


def _report(options: argparse.Namespace) -> None:
    _check_run(options.run)
    load_engine()
    from kerasresnet.run_reports import report_run

    _log_what_is_computed()
    page = report_run(options.run, options.out, say=_say, verbose=_verbosity())
    _say(f"page: {page.resolve()}")


def _check_model(model: str) -> None:
    if not Path(model).exists():
        raise ArtifactError(f"There is no file {model}. Expected a model.keras file.")


def _evaluate(options: argparse.Namespace) -> None:
    _check_model(options.model)
    data = _labelled(options.directory)
    load_engine()
    from kerasresnet.artifacts import load
    from kerasresnet.evaluation import evaluate
    from kerasresnet.manifests import empty_folder
    from kerasresnet.runs import write_report

    model = load(options.model)
    folder = empty_folder(options.out, but=()) if options.out else None
    report = evaluate(
        model, data, batch_size=options.batch_size, on_error=options.on_error
    )
    _say(str(report))
    if folder is not None:
        write_report(folder, report)
        _say(f"\nresults: {folder.resolve()}")


def _predict(options: argparse.Namespace) -> None:
    from kerasresnet.images import ImageData

    if options.model != "imagenet":
        if options.backbone is not None:
            options.refuse("argument --backbone: expected with the model imagenet.")
        _check_model(options.model)
    # What lies in a folder may still turn out to be unreadable: that is for `predict`.
    absent = [given for given in options.photos if not given.exists()]
    if absent and options.on_error == "raise":
        raise DataError(f"There is no file {listing(absent)}.")
    paths = [
        path
        for given in options.photos
        for path in ImageData.from_paths(given).paths or ()
    ]
    load_engine()
    from kerasresnet.answers import FORMS
    from kerasresnet.artifacts import load
    from kerasresnet.imagenet import imagenet_classifier
    from kerasresnet.prediction import predict

    model = (
        imagenet_classifier(backbone=options.backbone or "resnet50")
        if options.model == "imagenet"
        else load(options.model)
    )
    predictions = predict(
        model,
        paths,
        top=options.top,
        batch_size=options.batch_size,
        on_error=options.on_error,
    )
    for line in FORMS[options.output](predictions):
        print(line)


def _cache(options: argparse.Namespace) -> None:
    from kerasresnet.disk import cache_root
    from kerasresnet.upkeep import cleared, holdings

    root = options.dir or cache_root()
    for line in [cleared(root)] if options.action == "clear" else holdings(root):
        _say(line)


def _weights(options: argparse.Namespace) -> int:
    # No Keras is loaded.
    from kerasresnet.inventory import answer

    lines, good = answer(options.action, options.file)
    for line in lines:
        _say(line)
    return 0 if good else 1


def _backbones(options: argparse.Namespace) -> None:
    del options
    for line in table_lines():
        _say(line)


def _doctor(options: argparse.Namespace) -> None:
    load_engine()
    from kerasresnet.doctor import examine

    del options
    found = examine()
    width = max(len(subject) for subject in found)
    for subject, finding in found.items():
        print(f"{subject:<{width}}  {finding}")


def _say(line: str) -> None:
    print(line, flush=True)


def _verbosity() -> Literal[1, 2]:
    # A progress bar in a log file is thousands of control characters.
    return 1 if sys.stdout.isatty() else 2


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "demo": _demo,
    "check": _check,
    "train": _train,
    "reproduce": _reproduce,
    "report": _report,
    "evaluate": _evaluate,
    "predict": _predict,
    "cache": _cache,
    "weights": _weights,
    "backbones": _backbones,
    "doctor": _doctor,
}
