"""What `kerasresnet train` accepts, and which of it goes together."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kerasresnet.errors import listing
from kerasresnet.ranges import (
    backbone,
    cache_place,
    duration,
    factor,
    path,
    positive,
    share,
    whole,
)

_STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")
_PRESETS = ("none", "light", "standard", "strong")
_SCHEDULES = ("constant", "cosine", "one_cycle")
_TRACKERS = ("wandb", "tensorboard", "mlflow")
# What a run does not have to be given to go on, nor may be.
_NOT_OF_THE_RUN = ("command", "refuse", "out", "resume")


def add_train(commands: Any) -> None:
    """Adds the command `train`."""
    train = commands.add_parser(
        "train",
        help="train a classifier on a folder of photos",
        usage="kerasresnet train DIR_OR_CSV [--out DIR] [options]\n"
        "       kerasresnet train --out DIR --resume",
        description="Trains a classifier on a folder of photos. How it is trained is chosen "
        "by published rules, printed with the reasons; options replace single choices.",
        argument_default=argparse.SUPPRESS,  # what was given is told from what was not
    )
    add_photos(train, nargs="?", default=None)
    train.add_argument(
        "--out",
        type=path,
        default=None,
        metavar="DIR",
        help="an empty folder for the results (default: runs/NAME-1, …)",
    )
    train.add_argument(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the run in --out, which was stopped; nothing else is given",
    )
    train.add_argument(
        "--backbone",
        type=backbone,
        metavar="NAME",
        help="the network, as `kerasresnet backbones` lists them (default: resnet50)",
    )
    train.add_argument(
        "--weights",
        metavar="W",
        help="'imagenet', 'none' for random weights, or a file (default: imagenet)",
    )
    _add_setting(train, "--image-size", "PX", whole(32), "height and width", "224")
    text = "held out to choose the best epoch, and for the report"
    _add_setting(train, "--validation", "SHARE", positive(below=1), text, "0.2")
    _add_head(train)
    _add_recipe(train.add_argument_group("choices that the recipe makes by itself"))
    _add_computing(train)
    add_on_error(train, argparse.SUPPRESS)
    _add_setting(train, "--seed", "N", whole(0), "", "0")
    train.set_defaults(command="train", refuse=train.error)


def check_together(options: argparse.Namespace) -> None:
    """Ends the process, as wrong usage, if arguments do not go together."""
    if options.command != "train":
        return
    given = {
        name: value
        for name, value in vars(options).items()
        if name not in _NOT_OF_THE_RUN and value is not None
    }
    clashes = _resume_clashes if options.resume else _clashes
    for clash in clashes(options, given):
        options.refuse(clash)


def _resume_clashes(
    options: argparse.Namespace, given: Mapping[str, Any]
) -> Iterator[str]:
    if options.out is None:
        yield "argument --resume: expected with --out RUN, the folder of the run."
    if given:
        names = [f"--{name.replace('_', '-')}" for name in given if name != "directory"]
        names += ["DIR_OR_CSV"] if "directory" in given else []
        yield (
            "argument --resume: a run goes on with the photos and settings that it was begun "
            f"with. Expected --out RUN alone, received {listing(names, 20)}, too."
        )


def _clashes(options: argparse.Namespace, given: Mapping[str, Any]) -> Iterator[str]:
    if "directory" not in given:
        yield "the following arguments are required: DIR_OR_CSV"
    if given.get("views", 1) > 1 and given.get("augmentation") == "none":
        yield (
            f"argument --views: expected with another --augmentation, received --views "
            f"{options.views} for photos that are not varied."
        )
    stages = given.get("from_stage")
    if stages is None:
        return
    if "none" in stages and len(stages) > 1:
        yield "argument --from-stage: expected stages or none, received both."
    # One value is for all stages.
    fitting = () if "none" in stages else (1, len(stages))
    for name in ("epochs", "learning_rate"):
        if name in given and len(given[name]) not in fitting:
            if not fitting:
                yield (
                    f"argument --{name.replace('_', '-')}: expected without --from-stage "
                    "none, which trains no stage."
                )
                continue
            yield (
                f"argument --{name.replace('_', '-')}: expected one value for all stages or "
                f"one for each of --from-stage {' '.join(stages)}, received "
                f"{len(given[name])}."
            )


def _add_head(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--hidden-units",
        type=whole(1),
        nargs="*",
        metavar="N",
        help="Dense layers before the last one (default: none)",
    )
    text = "before each Dense layer"
    _add_setting(train, "--dropout", "SHARE", share, text, "0")


def _add_recipe(group: Any) -> None:
    group.add_argument(
        "--from-stage",
        nargs="+",
        choices=(*_STAGES, "none"),
        metavar="STAGE",
        help="first stages to train, one after another, such as conv5 conv4; 'none' for "
        "the head alone",
    )
    _add_each(group, "--epochs", "N", whole(1), "passes over the photos")
    _add_each(group, "--learning-rate", "LR", positive(), "highest rate of the head")
    text = "factor of the rate from each stage to the one before it"
    _add_setting(group, "--layer-decay", "F", factor, text)
    _add_setting(group, "--batch-size", "N", whole(1), "photos in a batch")
    group.add_argument(
        "--schedule", choices=_SCHEDULES, help="how the rate changes in a stage"
    )
    text = "share of a stage's steps in which the rate rises at first"
    _add_setting(group, "--warmup", "SHARE", share, text)
    group.add_argument(
        "--augmentation",
        choices=_PRESETS,
        help="how much the training photos are varied",
    )
    group.add_argument(
        "--augment",
        action="store_const",
        const="light",
        dest="augmentation",
        help="the same as --augmentation light",
    )
    text = "views of each photo, whose features are computed once"
    _add_setting(group, "--views", "N", whole(1), text)
    text = "share of the label that is spread over all classes"
    _add_setting(group, "--label-smoothing", "SHARE", share, text)
    text = "such as 90s, 10min or 1h30m: the recipe shrinks until it fits (default: no limit)"
    _add_setting(group, "--time-budget", "TIME", duration, text)


def _add_computing(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        help="what the network computes in (default: auto, bfloat16 where the device is "
        "good at it)",
    )
    train.add_argument(
        "--cache",
        type=cache_place,
        metavar="WHERE",
        help="features of the frozen part: 'auto' keeps them in the user's cache folder, "
        "'memory' for this run, 'off' not at all, a path there (default: auto)",
    )
    train.add_argument(
        "--track",
        choices=_TRACKERS,
        help="also write the run to W&B, TensorBoard or MLflow; without a login or "
        "server, into --out (default: none)",
    )


def _add_each(
    group: Any, name: str, metavar: str, check: Callable[[str], Any], text: str
) -> None:
    shown = f"{text}: one value for all stages, or one for each"
    group.add_argument(name, nargs="+", type=check, metavar=metavar, help=shown)


def _add_setting(
    group: Any,
    name: str,
    metavar: str,
    check: Callable[[str], Any],
    text: str,
    default: str = "",
) -> None:
    """Adds an option that is absent from the answer unless it is given."""
    shown = f"{text} (default: {default})".strip() if default else text
    group.add_argument(name, type=check, metavar=metavar, help=shown)


def add_photos(parser: argparse.ArgumentParser, **settings: Any) -> None:
    """Adds where the photos are."""
    parser.add_argument(
        "directory",
        type=path,
        **settings,
        metavar="DIR_OR_CSV",
        help="one sub-folder of photos for each class, or train, val and test with such "
        "sub-folders, or a table with the columns image_path and label",
    )


def add_on_error(parser: argparse.ArgumentParser, default: str = "raise") -> None:
    """Adds what becomes of photos that cannot be read."""
    parser.add_argument(
        "--on-error",
        default=default,
        choices=("raise", "skip"),
        help="photos that cannot be read: 'raise' stops, 'skip' leaves them out and says "
        "so (default: raise)",
    )
