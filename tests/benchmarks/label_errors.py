"""Planted label errors: how many of them `label_issues` ranks first.

Run it:  python tests/benchmarks/label_errors.py
Quick:   python tests/benchmarks/label_errors.py --seeds 2 --per-class 30 --sides drawn

A share of the labels is changed, to any other class alike. With n of them, precision is
the share of planted ones among the first n that are found; a list that is shorter counts
as if the rest were wrong. `found` is the length of the list over n, `recall` the share
of the planted ones that are anywhere in it. The seed decides which labels are changed,
and the folds. Real photos may be labelled wrong already, which counts against the result.
"""

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import sides

NAMES = {"drawn": "drawn photos", "real": "flower photos"}


def drawn(settings):
    """Draws flowers and looks for the wrong labels."""
    kr = sides.load_library()
    from kerasresnet.demo import draw_flowers

    with tempfile.TemporaryDirectory() as folder:
        draw_flowers(Path(folder), per_class=settings["per_class"])
        return _searched(kr, kr.ImageData.from_folder(folder), settings)


def real(settings):
    """Looks for the wrong labels among real photos."""
    kr = sides.load_library()
    return _searched(kr, kr.ImageData.from_folder(settings["folder"]), settings)


def _searched(kr, data, settings):
    size = settings["image_size"]
    model = kr.build_classifier(
        class_names=data.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
    )
    each = [
        _one(kr, model, data, settings["share"], s) for s in range(settings["seeds"])
    ]
    found = {"images": len(data), "planted": each[0].pop("planted")}
    for key in ("precision", "found", "recall"):
        found[key] = statistics.mean(one[key] for one in each)
    found["least precision"] = min(one["precision"] for one in each)
    found["standard deviation"] = statistics.pstdev(one["precision"] for one in each)
    return found


def _one(kr, model, data, share, seed):
    import numpy as np

    rng = np.random.default_rng(seed)
    count = round(share * len(data))
    wrong = rng.choice(len(data), count, replace=False)
    labels = np.array(data.labels)
    classes = len(data.class_names)
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, count)) % classes
    noisy = replace(data, labels=labels)
    issues = kr.label_issues(model, noisy, seed=seed, verbose=0).issues
    sources = [issue.source for issue in issues]
    planted = {data.sources[i] for i in wrong}
    return {
        "planted": count,
        "precision": len(planted & set(sources[:count])) / count,
        "found": len(sources) / count,
        "recall": len(planted & set(sources)) / count,
    }


def main():
    """Runs both sides and prints what was found."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    made.add_argument(
        "--data", type=Path, default=Path(sides._DATA), help="%(default)s"
    )
    made.add_argument(
        "--weights", help="a .weights.h5 file or 'none'; default: the data folder's"
    )
    made.add_argument("--image-size", type=int, default=96, help="in px")
    made.add_argument(
        "--per-class", default="80,200", help="drawn photos, of five classes"
    )
    made.add_argument("--share", type=float, default=0.05, help="of labels to change")
    made.add_argument("--seeds", type=int, default=10)
    options = made.parse_args()
    settings = {
        "weights": sides.weights_file(options),
        "image_size": options.image_size,
        "share": options.share,
        "seeds": options.seeds,
    }
    print(f"{sides.machine()}\n{sides.describe_weights(settings['weights'])}\n")
    names, chosen = sides.chosen(options, NAMES), []
    if "drawn" in names:
        chosen += [
            sides.Side(
                f"{5 * count} {NAMES['drawn']}",
                "drawn",
                settings | {"per_class": count},
            )
            for count in map(int, options.per_class.split(","))
        ]
    if "real" in names:
        folder = {"folder": sides.photo_folder(options)}
        chosen.append(sides.Side(NAMES["real"], "real", settings | folder))
    results = sides.measure(__file__, chosen, options)
    print()
    print(sides.table(results, "precision", references=[], extra="recall"))


if __name__ == "__main__" and not sides.serve((drawn, real)):
    main()
