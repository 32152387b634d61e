"""What the command line accepts: every command, its arguments, ranges and defaults.

Checked here, before Keras is loaded, so that a wrong argument is answered at once.
"""

import argparse
from collections.abc import Callable
from typing import Any

from kerasresnet._version import __version__
from kerasresnet.ranges import (
    backbone,
    path,
    whole,
)
from kerasresnet.train_arguments import add_on_error, add_photos, add_train

_WEIGHTS_ACTIONS = (
    ("list", 0, "show the published files, and which of them are here"),
    ("where", 0, "show the folders in use, and what decides them"),
    ("import", None, "copy a published file into the cache, after checking it"),
    ("verify", "?", "tell what a file is; without one, check what is cached"),
)


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
    add_train(commands)
    _add_reproduce(commands)
    _add_report(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_cache(commands)
    _add_weights(commands)
    backbones = commands.add_parser(
        "backbones", help="list the networks, with parameters and GFLOPs"
    )
    backbones.set_defaults(command="backbones")
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
    _add(demo, "--seed", 0, "N", whole(0), "")
    demo.set_defaults(command="demo")


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="say what is wrong with photos; exit code 1 if training would stop",
    )
    add_photos(check)
    check.add_argument(
        "--csv", type=path, metavar="FILE", help="also write a table of all findings"
    )
    check.set_defaults(command="check")


def _add_reproduce(commands: Any) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="do a run again and compare; exit code 1 if it comes to something else",
    )
    reproduce.add_argument(
        "run", type=path, metavar="RUN", help="the folder of a finished run"
    )
    _add_folder(reproduce, "keep the second run in this empty folder")
    reproduce.set_defaults(command="reproduce")


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="write all that is known of a run on one page",
        description="Writes one HTML page that holds everything and fetches nothing: how "
        "good the model is and on which photos, where it is wrong and why, which labels "
        "look wrong, and how it was trained.",
    )
    report.add_argument(
        "run", type=path, metavar="RUN", help="the folder of a finished run"
    )
    report.add_argument(
        "--out",
        type=path,
        metavar="FILE",
        help="the page, replaced if there is one (default: report.html in RUN)",
    )
    report.set_defaults(command="report")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="score a model on a folder of labelled photos"
    )
    evaluate.add_argument("model", metavar="MODEL", help="a model.keras file")
    add_photos(evaluate)
    _add_folder(evaluate, "also write report and figures into this empty folder")
    _add(evaluate, "--batch-size", 32, "N", whole(1), "")
    add_on_error(evaluate)
    evaluate.set_defaults(command="evaluate")


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser("predict", help="name what is on photos")
    predict.add_argument(
        "model", metavar="MODEL", help="a model.keras file, or 'imagenet'"
    )
    predict.add_argument("photos", nargs="+", type=path, metavar="FILE_OR_DIR")
    predict.add_argument(
        "--backbone",
        type=backbone,
        metavar="NAME",
        help="which network imagenet is, as `kerasresnet backbones` lists them "
        "(default: resnet50)",
    )
    _add(predict, "--top", 3, "K", whole(1), "classes to name")
    predict.add_argument(
        "--output",
        choices=("table", "csv", "jsonl"),
        default="table",
        help="form of the answer (default: table)",
    )
    _add(predict, "--batch-size", 32, "N", whole(1), "")
    add_on_error(predict)
    predict.set_defaults(command="predict", refuse=predict.error)


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser(
        "cache", help="show or clear what was computed of photos before"
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
        type=path,
        metavar="DIR",
        help="the cache folder (default: KERASRESNET_CACHE, or kerasresnet in the user's "
        "cache folder)",
    )
    cache.set_defaults(command="cache")


def _add_weights(commands: Any) -> None:
    weights = commands.add_parser(
        "weights", help="list, import and verify files of pretrained weights"
    )
    actions = weights.add_subparsers(
        title="actions", metavar="ACTION", dest="action", required=True
    )
    for name, count, text in _WEIGHTS_ACTIONS:
        action = actions.add_parser(name, help=text, description=text)
        if count != 0:
            action.add_argument("file", nargs=count, type=path, metavar="FILE")
    weights.set_defaults(command="weights", file=None)


def _add_folder(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=path, metavar="DIR", help=text)


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
