"""The command line. Each command is a public call and a printed answer.

Keras and TensorFlow are imported inside the commands: `--help` and wrong arguments
answer at once.
"""

import argparse
import csv
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kerasresnet._version import __version__
from kerasresnet.errors import KerasResNetError

if TYPE_CHECKING:
    from kerasresnet.prediction import Prediction

_WEIGHTS_HELP = (
    "'imagenet', 'none' for random weights, or a file (default: %(default)s)"
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
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (KerasResNetError, ValueError, OSError) as error:
        print(f"kerasresnet: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kerasresnet: stopped", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kerasresnet",
        description="Transfer learning with ResNet in Keras: from a folder of photos to a classifier.",
    )
    parser.set_defaults(command=None)
    parser.add_argument(
        "--version", action="version", version=f"kerasresnet {__version__}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    doctor = commands.add_parser(
        "doctor",
        help="show versions, devices and cached weights, and why a GPU is not seen",
    )
    doctor.set_defaults(command=_doctor)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="do the main job on a set of drawn flowers")
    demo.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="an empty folder for the results (default: kerasresnet-demo-1, -2, …)",
    )
    demo.add_argument(
        "--weights",
        metavar="W",
        help="a weights file, or 'none' (default: ImageNet weights if they are cached, else random)",
    )
    demo.add_argument(
        "--seed", type=int, default=0, metavar="N", help="default: %(default)s"
    )
    demo.set_defaults(command=_demo)


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="train a classifier on a folder of photos"
    )
    train.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="one sub-folder of photos for each class",
    )
    train.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="an empty folder for the results (default: runs/NAME-1, -2, …)",
    )
    train.add_argument("--weights", default="imagenet", metavar="W", help=_WEIGHTS_HELP)
    train.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="PX",
        help="height and width (default: %(default)s)",
    )
    train.add_argument(
        "--validation",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="held out for the report (default: %(default)s)",
    )
    train.add_argument(
        "--epochs",
        type=int,
        default=10,
        metavar="N",
        help="for the head (default: %(default)s)",
    )
    train.add_argument(
        "--fine-tune-epochs",
        type=int,
        default=5,
        metavar="N",
        help="from --from-stage onwards; 0: none (default: %(default)s)",
    )
    train.add_argument(
        "--from-stage",
        default="conv5",
        metavar="STAGE",
        help="first stage to fine-tune, conv1 to conv5 (default: %(default)s)",
    )
    train.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="default: %(default)s"
    )
    train.add_argument(
        "--learning-rate",
        type=float,
        default=1e-3,
        metavar="LR",
        help="for the head (default: %(default)s)",
    )
    train.add_argument(
        "--fine-tune-rate",
        type=float,
        default=1e-4,
        metavar="LR",
        help="for fine-tuning (default: %(default)s)",
    )
    train.add_argument(
        "--hidden-units",
        type=int,
        nargs="*",
        default=(),
        metavar="N",
        help="Dense layers before the last one (default: none)",
    )
    train.add_argument(
        "--dropout",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="before each Dense layer (default: %(default)s)",
    )
    train.add_argument(
        "--augment",
        action="store_true",
        help="vary the training photos: flip, crop, brightness, contrast",
    )
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="default: %(default)s"
    )
    train.set_defaults(command=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="score a model on a folder of labelled photos"
    )
    evaluate.add_argument("model", metavar="MODEL", help="a model.keras file")
    evaluate.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="one sub-folder of photos for each class",
    )
    evaluate.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="also write report and figures into this folder",
    )
    evaluate.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="default: %(default)s"
    )
    evaluate.set_defaults(command=_evaluate)


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="name what is on photos")
    predict.add_argument(
        "model", metavar="MODEL", help="a model.keras file, or 'imagenet'"
    )
    predict.add_argument("photos", nargs="+", type=Path, metavar="FILE_OR_DIR")
    predict.add_argument(
        "--top",
        type=int,
        default=3,
        metavar="K",
        help="classes to name (default: %(default)s)",
    )
    predict.add_argument(
        "--output",
        choices=("table", "csv", "jsonl"),
        default="table",
        help="default: %(default)s",
    )
    predict.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="default: %(default)s"
    )
    predict.set_defaults(command=_predict)


# The imports below stand inside the commands because they load Keras and TensorFlow.


def _demo(options: argparse.Namespace) -> None:
    from kerasresnet.demo import run_demo
    from kerasresnet.runs import empty_folder, new_folder

    name = "kerasresnet-demo"
    folder = empty_folder(options.out) if options.out else new_folder(Path(), name)
    _seed_everything(options.seed)
    run_demo(
        folder.resolve(),
        weights=options.weights,
        seed=options.seed,
        say=_say,
        verbose=_verbosity(),
    )


def _train(options: argparse.Namespace) -> None:
    from kerasresnet.images import ImageData

    data = ImageData.from_folder(options.directory)
    _say(f"index: {data}")
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
        augment=options.augment,
        seed=options.seed,
    )
    name = options.directory.resolve().name
    folder = (
        empty_folder(options.out) if options.out else new_folder(Path("runs"), name)
    )
    _seed_everything(options.seed)
    _, report = train_run(data, folder, settings, say=_say, verbose=_verbosity())
    _say(f"\n{report}\n\nresults: {folder.resolve()}")
    _say(f"next: kerasresnet predict {folder / 'model.keras'} PHOTO")


def _evaluate(options: argparse.Namespace) -> None:
    from kerasresnet.images import ImageData

    data = ImageData.from_folder(options.directory)
    from kerasresnet.classifier import load
    from kerasresnet.evaluation import evaluate
    from kerasresnet.runs import empty_folder, write_report

    folder = empty_folder(options.out) if options.out else None
    report = evaluate(load(options.model), data, batch_size=options.batch_size)
    _say(str(report))
    if folder is not None:
        write_report(folder, report)
        _say(f"\nresults: {folder.resolve()}")


def _predict(options: argparse.Namespace) -> None:
    from kerasresnet.prediction import photos_below

    paths = [
        path
        for given in options.photos
        for path in (photos_below(given) if given.is_dir() else [given])
    ]
    from kerasresnet.classifier import imagenet_classifier, load
    from kerasresnet.prediction import predict

    model = (
        imagenet_classifier() if options.model == "imagenet" else load(options.model)
    )
    predictions = predict(model, paths, top=options.top, batch_size=options.batch_size)
    {"table": _print_table, "csv": _print_csv, "jsonl": _print_jsonl}[options.output](
        predictions
    )


def _doctor(options: argparse.Namespace) -> None:
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
    writer = csv.writer(sys.stdout)
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
