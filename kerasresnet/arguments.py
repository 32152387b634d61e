"""What the command line accepts: every command, its arguments and their defaults."""

import argparse
from pathlib import Path
from typing import Any

from kerasresnet._version import __version__

_WEIGHTS_HELP = (
    "'imagenet', 'none' for random weights, or a file (default: %(default)s)"
)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
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
    doctor.set_defaults(command="doctor")
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
    demo.set_defaults(command="demo")


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
    train.set_defaults(command="train")


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
    evaluate.set_defaults(command="evaluate")


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
    predict.set_defaults(command="predict")
