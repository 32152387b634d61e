"""Runs the sides of a benchmark in turn, each in a process of its own, and tabulates.

A side is a function of a benchmark script, from settings (a dict) to results (a dict).
Nothing here imports Keras, TensorFlow or PyTorch, and nothing here judges a time.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_DATA = os.environ.get("KERASRESNET_TEST_DATA", _ROOT.parent / "shared" / "data")
_WEIGHTS = "weights/resnet50_tiny_imagenet_64px_notop.weights.h5"
_PACKAGES = ("keras", "tensorflow", "kerasresnet")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Side:
    """One row of the table.

    Args:
        title: What the row is called.
        function: Name of the function in the script.
        settings: What the function is given.
        python: The interpreter it runs in.
        backend: Keras's backend in it.
    """

    title: str
    function: str
    settings: dict
    python: str = sys.executable
    backend: str = "tensorflow"


# What a benchmark is asked for ----------------------------------------------------


def parser(description, *, names, runs=3):
    """Makes the parser of the options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--runs", type=int, default=runs, help="runs of each side")
    made.add_argument(
        "--sides", default=",".join(names), help="comma-separated; default %(default)s"
    )
    made.add_argument("--log", type=Path, help="append each run as a line of JSON")
    return made


def add_images(made, *, photos):
    """Adds how many images there are, and how large."""
    made.add_argument("--photos", type=int, default=photos, help="number of images")
    made.add_argument("--image-size", type=int, default=224, help="in px")


def add_training(made, *, epochs):
    """Adds what a training run needs."""
    made.add_argument("--epochs", type=int, default=epochs)
    add_material(made)


def add_material(made):
    """Adds where photos and trunk are."""
    made.add_argument("--data", type=Path, default=Path(_DATA), help="%(default)s")
    made.add_argument(
        "--weights", help="a .weights.h5 file or 'none'; default: the data folder's"
    )


def add_peers(made):
    """Adds the interpreter that the peers run in."""
    made.add_argument(
        "--peers", default=sys.executable, help="a Python with torch; default: this one"
    )


def chosen(options, known):
    """Returns the names that `--sides` lists, in the order of `known`."""
    names = options.sides.split(",")
    strange = [name for name in names if name not in known]
    if strange:
        sys.exit(f"There is no side {strange[0]!r}. Sides: {', '.join(known)}.")
    return [name for name in known if name in names]


def photo_folder(options):
    """Returns the folder of photos, or stops."""
    folder = options.data / "flower_photos"
    if not folder.is_dir():
        sys.exit(
            f"There is no folder {folder}. Pass --data, or set KERASRESNET_TEST_DATA, to "
            "a folder with flower_photos in it."
        )
    for photo in folder.glob("*/*"):
        photo.read_bytes()  # so that no side pays for a cold disk
    return str(folder)


def weights_file(options):
    """Returns the path of the trunk's weights, or None for random ones."""
    if options.weights == "none":
        return None
    file = Path(options.weights or options.data / _WEIGHTS)
    if options.weights and not file.is_file():
        sys.exit(f"There is no file {file}.")
    return str(file.resolve()) if file.is_file() else None


def describe_weights(path):
    """Returns how a table calls the weights."""
    return "random weights" if path is None else f"weights {Path(path).name}"


# Running it -----------------------------------------------------------------------


def measure(script, sides, options):
    """Runs the sides in turn, each `--runs` times.

    The sides of a round share an empty cache folder; the next round has a new one.

    Args:
        script: `__file__` of the benchmark.
        sides: List of `Side`.
        options: The command line's.

    Returns:
        A dict from each title to its results, one for each run. Where the system tells,
        a result says how busy other processes were.
    """
    results = {side.title: [] for side in sides}
    for run in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            for side in sides:
                if any("absent" in found for found in results[side.title]):
                    continue
                busy = _busy_elsewhere()
                found = _run(script, side, Path(folder))
                if busy is not None:
                    found["cpu_seconds_of_others"] = _busy_elsewhere() - busy
                results[side.title].append(found)
                print(f"run {run}, {side.title}: {_line(found)}", flush=True)
                _append(options.log, script, run, side, found)
    return results


def serve(functions):
    """Runs one side if the process was started for it; returns whether it was."""
    if sys.argv[1:2] != ["side"]:
        return False
    _, _, name, settings, answer = sys.argv
    known = {function.__name__: function for function in functions}
    try:
        found = known[name](json.loads(settings))
    except ModuleNotFoundError as error:
        found = {"absent": error.name}
    Path(answer).write_text(json.dumps(found), "utf-8")
    return True


def load_library():
    """Imports all of kerasresnet, so that no import is timed, and returns it."""
    import kerasresnet as kr

    for name in kr.__all__:
        getattr(kr, name)
    return kr


def photos(kr, settings):
    """Returns the photos to train on and those to score, the same on every side."""
    data = kr.ImageData.from_folder(settings["folder"])
    return data.take(settings["photos"], seed=0).split(0.2, seed=0)


def trained(start, history):
    """Returns the result of a training run that began at `start`."""
    return {
        "seconds": time.perf_counter() - start,
        "validation_accuracy": history.history["val_accuracy"][-1],
    }


def epoch_clock():
    """Returns a Keras callback, and the list of times at which epochs end."""
    import keras

    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter())
    )
    return clock, ends


def rates(images, ends):
    """Returns images per second of each epoch but the first.

    From end to end, so that what happens between two epochs counts, too.
    """
    return [images / (ends[i + 1] - ends[i]) for i in range(len(ends) - 1)]


def cores():
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _run(script, side, folder):
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    settings = json.dumps(side.settings)
    environment = {
        **os.environ,
        "KERASRESNET_CACHE": str(folder / "cache"),
        "KERAS_BACKEND": side.backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    ended = subprocess.run(
        [side.python, script, "side", side.function, settings, str(answer)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if ended.returncode == 0:
        return json.loads(answer.read_text("utf-8"))
    lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
    print("\n".join(lines[-20:]), file=sys.stderr)
    return {"failed": lines[-1]}


def _busy_elsewhere():
    """CPU seconds that went to other processes since the machine started.

    A run during which this grew much was disturbed. None where it cannot be known.
    """
    file = Path("/proc/stat")
    if not file.is_file():
        return None
    user, nice, system, _, _, irq, softirq, steal = (
        int(text) for text in file.read_text("utf-8").split()[1:9]
    )
    ticks = user + nice + system + irq + softirq + steal
    own = os.times()
    own_seconds = own.user + own.system + own.children_user + own.children_system
    return ticks / os.sysconf("SC_CLK_TCK") - own_seconds


def _line(found):
    values = [f"{key} {_number(value)}" for key, value in found.items()]
    return ", ".join(values)


def _append(log, script, run, side, found):
    if log is None:
        return
    line = {
        "benchmark": Path(script).stem,
        "side": side.title,
        "run": run,
        "result": found,
        "settings": side.settings,
        "machine": machine(),
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# Saying it ------------------------------------------------------------------------


def machine():
    """Returns the CPU, the number of cores, and the versions, as a line of text."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    return ", ".join([_cpu(), f"{cores()} cores", *versions])


def table(results, measured, *, references, extra=None):
    """Tabulates each run, the median, and how it compares with the references.

    Args:
        results: What `measure` returned.
        measured: `"seconds"`, of which less is better, or a rate, of which more is.
        references: Titles of the sides to compare with; absent ones are left out.
        extra: Key of another result that is shown for each run.

    Returns:
        Markdown.
    """
    medians = {title: _median(found, measured) for title, found in results.items()}
    compared = [title for title in references if medians.get(title)]
    runs = max(len(found) for found in results.values())
    header = ["side", *(f"run {run + 1}" for run in range(runs)), "median"]
    header += [f"times as fast as {title}" for title in compared]
    header += [extra.replace("_", " ")] if extra else []
    rows = []
    for title, found in results.items():
        values = [_cell(found, run, measured) for run in range(runs)]
        row = [title, *values, _number(medians[title])]
        row += [
            _number(_speedup(medians, title, other, measured)) for other in compared
        ]
        row += [_each(found, extra)] if extra else []
        rows.append(row)
    return markdown(header, rows)


def markdown(header, rows):
    """Formats a table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median_of(results, title, measured):
    """Returns the median of a side's runs, or None."""
    return _median(results.get(title, []), measured)


def _speedup(medians, title, other, measured):
    mine, theirs = medians[title], medians[other]
    if not mine:
        return None
    return theirs / mine if measured == "seconds" else mine / theirs


def _median(found, measured):
    values = [result[measured] for result in found if measured in result]
    return statistics.median(values) if values else None


def _cell(found, run, measured):
    if run >= len(found):
        return "-"
    if measured in found[run]:
        return _number(found[run][measured])
    return "absent" if "absent" in found[run] else "failed"


def _each(found, key):
    values = [_number(result[key]) for result in found if key in result]
    return ", ".join(values) or "-"


def _number(value):
    if value is None:
        return "-"
    if isinstance(value, list):
        return "/".join(_number(each) for each in value)
    if not isinstance(value, float):
        return str(value)
    digits = 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3
    return f"{value:,.{max(digits, 0)}f}"


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _cpu():
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in file.read_text("utf-8").splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    flags = sorted(_BFLOAT16 & set(facts.get("flags", "").split()))
    name = facts.get("model name", platform.machine())
    return f"{name} ({', '.join(flags) or 'no bfloat16 instructions'})"
