"""How well photos that a model was not made for are told from those that it was.

Run it:  python tests/benchmarks/foreign.py
Quick:   python tests/benchmarks/foreign.py --image-size 64 --held-out tulips

For each flower in turn: a probe is trained on half of the photos of the other four, and
the other half is scored against foreign photos. A score is worth its AUROC: how probable
it is that a foreign photo looks stranger than one of the four flowers. 50 % is chance.
The flower that was left out is the hardest foreign kind, as it looks like the others.
"""

import sys
from pathlib import Path

import sides

DISTANCES = {
    "distance, k by the rule": None,
    "distance, k = 1": 1,
    "distance, k = 50": 50,
}
FOREIGN = ("the flower left out", "imagenet_photos", "cifar10")


def measured(settings):
    """Returns the AUROC of each score for each kind of foreign photos, 0..1."""
    import numpy as np

    import kerasresnet as kr

    folder, data = Path(settings["folder"]), Path(settings["data"])
    names = sorted({path.parent.name for path in folder.glob("*/*")})
    names.remove(settings["held_out"])
    photos = kr.ImageData.from_folder(folder, class_names=names)
    train, rest = photos.split(0.5, seed=0)
    size = settings["image_size"]
    model = kr.build_classifier(
        class_names=train.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
    )
    kr.probe(model, train, verbose=0)
    cifar = sorted((data / "cifar10" / "test").glob("*/*"))[::10]
    foreign = dict(
        zip(
            FOREIGN,
            (folder / settings["held_out"], data / "imagenet_photos", cifar),
            strict=True,
        )
    )
    ways = {"1 - probability of the answer": _unsure(kr, model)}
    for title, k in DISTANCES.items():
        ways[title] = kr.Familiarity.fit(model, train, k=k, verbose=0).distance
    found = {"accuracy": kr.evaluate(model, rest).accuracy}
    for title, way in ways.items():
        known = way(rest)
        for kind, photos in foreign.items():
            found[f"{title} | {kind}"] = _auroc(way(photos), known, np)
    familiarity = kr.Familiarity.fit(model, train, verbose=0)
    for kind, photos in {"flowers": rest, **foreign}.items():
        found[f"score below 0.05 | {kind}"] = np.mean(familiarity.score(photos) < 0.05)
    return {key: float(value) for key, value in found.items()}


def _unsure(kr, model):
    return lambda photos: [1 - one.probability for one in kr.predict(model, photos)]


def _auroc(foreign, known, np):
    """How often a foreign photo has the larger value; ties count half."""
    foreign, known = np.asarray(foreign)[:, None], np.asarray(known)
    return np.mean((foreign > known) + (foreign == known) / 2)


def main():
    """Measures each flower left out, and prints the mean of the five as a table."""
    made = sides.parser(__doc__.splitlines()[0], names=["measured"], runs=1)
    sides.add_training(made, epochs=0)
    made.add_argument("--image-size", type=int, default=96, help="in px")
    made.add_argument(
        "--held-out",
        default="daisy,dandelion,roses,sunflowers,tulips",
        help="flowers to leave out in turn, comma-separated",
    )
    options = made.parse_args()
    folder = sides.photo_folder(options)
    print(sides.machine())
    print(sides.describe_weights(sides.weights_file(options)))
    asked = []
    for flower in options.held_out.split(","):
        settings = {
            "folder": folder,
            "data": str(options.data),
            "weights": sides.weights_file(options),
            "image_size": options.image_size,
            "held_out": flower,
        }
        asked.append(sides.Side(f"without {flower}", "measured", settings))
    results = sides.measure(__file__, asked, options)
    print(_table([found for runs in results.values() for found in runs]))


def _table(found):
    """Means over the flowers left out, and the lowest and highest of them."""
    keys = [key for key in found[0] if " | " in key]
    titles = list(dict.fromkeys(key.split(" | ")[0] for key in keys))
    rows = []
    for title in titles:
        cells = [title]
        for kind in ("flowers", *FOREIGN):
            values = [
                100 * one[f"{title} | {kind}"]
                for one in found
                if f"{title} | {kind}" in one
            ]
            mean = f"{sum(values) / len(values):.1f} %" if values else "-"
            cells.append(
                f"{mean} ({min(values):.0f} to {max(values):.0f})" if values else "-"
            )
        rows.append(cells)
    return sides.markdown(["", "the four flowers", *FOREIGN], rows)


if __name__ == "__main__" and not sides.serve((measured,)):
    sys.exit(main())
