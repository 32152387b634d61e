"""What the command line accepts: every command, its arguments, ranges and defaults.

Checked here, before Keras is loaded, so that a wrong argument is answered at once.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerasresnet._version import __version__

_STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
_PRESETS = ("none", "light", "standard", "strong")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="kerasresnet",
        description="Transfer learning with ResNet in Keras: from a folder of photos to "
        "a classifier.",
    )
    parser.set_defaults(command=None)
    parser.add_argument(
        "--version", action="version", version=f"kerasresnet {__version__}"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_demo(commands)
    _add_check(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_cache(commands)
    doctor = commands.add_parser(
        "doctor",
        help="show versions, devices and cached weights, and why a GPU is not seen",
    )
    doctor.set_defaults(command="doctor")
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="do the main job on a set of drawn flowers")
    _add_folder(
        demo, "an empty folder for the results (default: kerasresnet-demo-1, …)"
    )
    demo.add_argument(
        "--weights",
        metavar="W",
        help="a weights file, or 'none' (default: ImageNet weights if they are cached, "
        "else random)",
    )
    _add(demo, "--seed", 0, "N", _whole(0), "")
    demo.set_defaults(command="demo")


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="say what is wrong with photos; exit code 1 if training would stop",
    )
    _add_photos(check)
    check.add_argument(
        "--csv", type=_path, metavar="FILE", help="also write a table of all findings"
    )
    check.set_defaults(command="check")


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train", help="train a classifier on a folder of photos"
    )
    _add_photos(train)
    _add_folder(train, "an empty folder for the results (default: runs/NAME-1, …)")
    train.add_argument(
        "--weights",
        default="imagenet",
        metavar="W",
        help="'imagenet', 'none' for random weights, or a file (default: imagenet)",
    )
    _add(train, "--image-size", 224, "PX", _whole(32), "height and width")
    _add(
        train,
        "--validation",
        0.2,
        "SHARE",
        _positive(below=1),
        "held out for the report",
    )
    _add(train, "--epochs", 10, "N", _whole(1), "for the head")
    _add(train, "--fine-tune-epochs", 5, "N", _whole(0), "0: no fine-tuning")
    train.add_argument(
        "--from-stage",
        default="conv5",
        choices=_STAGES,
        help="first stage to fine-tune (default: conv5)",
    )
    _add(train, "--batch-size", 32, "N", _whole(1), "")
    _add(train, "--learning-rate", 1e-3, "LR", _positive(), "for the head")
    _add(train, "--fine-tune-rate", 1e-4, "LR", _positive(), "for fine-tuning")
    train.add_argument(
        "--hidden-units",
        type=_whole(1),
        nargs="*",
        default=(),
        metavar="N",
        help="Dense layers before the last one (default: none)",
    )
    _add(train, "--dropout", 0.0, "SHARE", _share, "before each Dense layer")
    train.add_argument(
        "--augmentation",
        default="none",
        choices=_PRESETS,
        help="how much the training photos are varied (default: none)",
    )
    train.add_argument(
        "--augment",
        action="store_const",
        const="light",
        dest="augmentation",
        help="the same as --augmentation light: flip, crop, brightness, contrast",
    )
    train.add_argument(
        "--views",
        type=_whole(1),
        metavar="N",
        help="with --augmentation: views of each photo, computed once (default: new ones in each "
        "epoch, which is slower)",
    )
    train.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="what the network computes in (default: auto, bfloat16 where the device is "
        "good at it)",
    )
    train.add_argument(
        "--cache",
        type=_cache,
        default="auto",
        metavar="WHERE",
        help="features of the frozen part: 'auto' keeps them in the user's cache folder, "
        "'memory' for this run, 'off' not at all, a path there (default: auto)",
    )
    _add_on_error(train)
    _add(train, "--seed", 0, "N", _whole(0), "")
    train.set_defaults(command="train")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="score a model on a folder of labelled photos"
    )
    evaluate.add_argument("model", metavar="MODEL", help="a model.keras file")
    _add_photos(evaluate)
    _add_folder(evaluate, "also write report and figures into this empty folder")
    _add(evaluate, "--batch-size", 32, "N", _whole(1), "")
    _add_on_error(evaluate)
    evaluate.set_defaults(command="evaluate")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="name what is on photos")
    predict.add_argument(
        "model", metavar="MODEL", help="a model.keras file, or 'imagenet'"
    )
    predict.add_argument("photos", nargs="+", type=_path, metavar="FILE_OR_DIR")
    _add(predict, "--top", 3, "K", _whole(1), "classes to name")
    predict.add_argument(
        "--output",
        choices=("table", "csv", "jsonl"),
        default="table",
        help="form of the answer (default: table)",
    )
    _add(predict, "--batch-size", 32, "N", _whole(1), "")
    _add_on_error(predict)
    predict.set_defaults(command="predict")


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser(
        "cache", help="show or clear the features that were computed before"
    )
    cache.add_argument(
        "action",
        nargs="?",
        choices=("show", "clear"),
        default="show",
        help="show what is kept, or remove it (default: show)",
    )
    cache.add_argument(
        "--dir",
        type=_path,
        metavar="DIR",
        help="the cache folder (default: KERASRESNET_CACHE, or kerasresnet in the user's "
        "cache folder)",
    )
    cache.set_defaults(command="cache")


def _add_photos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory",
        type=_path,
        metavar="DIR_OR_CSV",
        help="one sub-folder of photos for each class, or train, val and test with such "
        "sub-folders, or a table with the columns image_path and label",
    )


def _add_on_error(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=("raise", "skip"),
        help="photos that cannot be read: 'raise' stops, 'skip' leaves them out and says "
        "so (default: raise)",
    )


def _add_folder(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)


def _add(
    parser: argparse.ArgumentParser,
    name: str,
    default: float,
    metavar: str,
    check: Callable[[str], float],
    text: str,
) -> None:
    shown = f"{text} (default: {default:g})".strip()
    parser.add_argument(name, type=check, default=default, metavar=metavar, help=shown)


def _path(text: str) -> Path:
    if not text:
        raise _expected("a path", text)
    return Path(text)


def _cache(text: str) -> str | Path | bool:
    if text == "off":
        return False
    return text if text in ("auto", "memory") else _path(text)


def _whole(least: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        value = _parsed(int, text)
        if not value >= least:
            raise _expected(f"a whole number of at least {least}", text)
        return int(value)

    return check


def _positive(below: float = math.inf) -> Callable[[str], float]:
    def check(text: str) -> float:
        value = _parsed(float, text)
        if not 0 < value < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise _expected(f"a number above 0{limit}", text)
        return value

    return check


def _share(text: str) -> float:
    value = _parsed(float, text)
    if not 0 <= value < 1:
        raise _expected("a number of at least 0 and below 1", text)
    return value


def _parsed(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        return math.nan


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}, received {text!r}")
