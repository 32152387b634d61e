"""Is what `kr.train` chooses as good as the tutorials' recipes, and what does it take?

Run it:  python tests/benchmarks/recipes.py
Quick:   python tests/benchmarks/recipes.py --seeds 2 --photos 150 --image-size 64

For each seed the photos are divided anew: 60 % to train on, 20 % for validation and 20 %
for the test, which nothing but the score sees. Everything else is the same on all sides:
trunk, image size, preprocessing, division. Times go from photo files to trained model.
The seeds share their photos, so the intervals are a little narrower than new photos
would make them.

Where there are no photos or no trained trunk, photos are drawn, and a trunk is first
trained to tell by how many quarter turns other drawn photos are turned.
"""

import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sides

NAMES = {
    "auto": "kr.train, empty cache",
    "warm": "kr.train, warm cache",
    "flowers": "flowers tutorial",
    "frozen": "frozen CIFAR-10 tutorial",
    "swap": "head swap tutorial",
    "probed": "probe, then fine-tuned",
    "fresh": "fine-tuned from a random head",
}
TOLD = {
    "flowers": "frozen, Dense 512, Adam 1e-3, 10 epochs of batches of 32",
    "frozen": "frozen, Dense 1024, Adam 1e-4, 10 epochs of batches of 64",
    "swap": "all layers, SGD 1e-3, momentum 0.9, 5 epochs (not 25) of batches of 8",
    "probed": "kr.probe, then kr.fine_tune from conv5, 1e-4, 5 epochs",
    "fresh": "the same kr.fine_tune, without the probe",
}
TUTORIALS = {
    "flowers": {"hidden_units": [512], "rate": 1e-3, "epochs": 10, "batch_size": 32},
    "frozen": {"hidden_units": [1024], "rate": 1e-4, "epochs": 10, "batch_size": 64},
    "swap": {
        "hidden_units": [],
        "rate": 1e-3,
        "epochs": 5,
        "batch_size": 8,
        "all_layers": True,
    },
}
# The warm cache is the cold run's. Those that share nothing have a cache each.
GROUPS = (
    ("auto", "warm"),
    ("flowers",),
    ("frozen",),
    ("swap",),
    ("probed",),
    ("fresh",),
)
PAIRS = [("auto", name) for name in (*TUTORIALS, "probed")] + [("probed", "fresh")]
TRUNK_SIZE, TRUNK_EPOCHS = 64, 5  # in px; where it is trained here


# Sides ----------------------------------------------------------------------------


def auto(settings):
    """Trains as the rules of kerasresnet choose."""
    kr, start, parts = _begin(settings)
    model = _classifier(kr, settings, parts[0])
    overrides = settings["overrides"]
    outcome = kr.train(model, *parts[:2], seed=settings["seed"], verbose=0, **overrides)
    found = _scored(kr, start, model, parts)
    accuracies = outcome.history.history.get("val_accuracy", [])
    if outcome.probe is not None:
        found["probe_validation"] = outcome.probe.accuracy
    return found | {"predicted": outcome.recipe.seconds, "validation": accuracies}


def tutorial(settings):
    """Trains in plain Keras, by a tutorial's recipe."""
    import keras
    import plain as written

    _, start, parts = _begin(settings)
    size, batch_size = settings["image_size"], settings["batch_size"]
    base, model = written.network(
        len(parts[0].class_names),
        image_size=size,
        weights=settings["weights"],
        hidden_units=settings["hidden_units"],
    )
    optimizer = keras.optimizers.Adam(settings["rate"])
    if settings.get("all_layers"):
        base.trainable = True
        optimizer = keras.optimizers.SGD(settings["rate"], momentum=0.9)
    model.compile(
        optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    train, validation, test = (
        written.batches(
            part, image_size=size, training=part is parts[0], batch_size=batch_size
        )
        for part in parts
    )
    history = model.fit(
        train, validation_data=validation, epochs=settings["epochs"], verbose=0
    )
    seconds = time.perf_counter() - start
    return {
        "accuracy": model.evaluate(test, verbose=0)[1],
        "seconds": seconds,
        "validation": history.history["val_accuracy"],
    }


def fine_tuned(settings):
    """Trains conv5 and the head, which the probe has solved or not."""
    kr, start, parts = _begin(settings)
    model = _classifier(kr, settings, parts[0])
    found = {}
    if settings["probe"]:
        kr.probe(model, *parts[:2], seed=settings["seed"], verbose=0)
        pause = time.perf_counter()
        found["probe_accuracy"] = kr.evaluate(model, parts[2]).accuracy
        start += time.perf_counter() - pause
    kr.fine_tune(
        model,
        *parts[:2],
        epochs=5,
        learning_rate=1e-4,
        seed=settings["seed"],
        verbose=0,
    )
    return _scored(kr, start, model, parts) | found


def trunk(settings):
    """Trains a trunk to tell by how many quarter turns drawn photos are turned.

    After Gidaris et al. 2018 (https://arxiv.org/abs/1803.07728): of the classes, which
    the recipes are to learn, it is told nothing.
    """
    import keras
    import plain as written

    kr = sides.load_library()
    keras.utils.set_random_seed(0)
    base, model = written.network(
        4, image_size=TRUNK_SIZE, weights=None, hidden_units=[]
    )
    base.trainable = True
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # 0.99 takes hundreds of steps to follow
    written.compile_model(model, 1e-3)
    drawn = kr.ImageData.from_folder(settings["folder"])
    train, held_out = (
        written.batches(part, image_size=TRUNK_SIZE, training=True, batch_size=16)
        .map(_turned)
        .prefetch(2)
        for part in drawn.split(0.2)
    )
    history = model.fit(train, validation_data=held_out, epochs=TRUNK_EPOCHS, verbose=0)
    base.save_weights(settings["weights"])
    return {"turns_told": history.history["val_accuracy"][-1]}


def _turned(images, labels):
    """All four turns of each image; the number of quarter turns is the label."""
    import tensorflow as tf

    del labels
    turned = [tf.image.rot90(images, turns) for turns in range(4)]
    return tf.concat(turned, 0), tf.repeat(tf.range(4), tf.shape(images)[0])


def _begin(settings):
    """Returns the library, the time, and the three parts; nothing was computed yet."""
    import keras

    kr = sides.load_library()
    keras.utils.set_random_seed(settings["seed"])
    parts = kr.ImageData.from_csv(settings["division"]).split()
    return kr, time.perf_counter(), parts


def _classifier(kr, settings, train):
    size = settings["image_size"]
    return kr.build_classifier(
        class_names=train.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
    )


def _scored(kr, start, model, parts):
    seconds = time.perf_counter() - start
    accuracy = kr.evaluate(model, parts[2]).accuracy
    return {"accuracy": accuracy, "seconds": seconds}


# Running them ---------------------------------------------------------------------


def main():
    """Divides the photos for each seed, runs all sides on each, and prints the tables."""
    options = _options()
    names = sides.chosen(options, NAMES)
    if "warm" in names and "auto" not in names:
        sys.exit("The side 'warm' takes its cache from 'auto': name both.")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["KERASRESNET_CACHE"] = str(Path(scratch) / "cache")
        settings = _material(options, Path(scratch))
        settings["image_size"] = options.image_size
        settings["overrides"] = json.loads(options.overrides)
        print(_headline(options, settings), flush=True)
        results = {name: {} for name in names}
        for number, seed in enumerate(_seeds(options)):
            division = Path(scratch) / f"division_{seed}.csv"
            _divide(settings["folder"], options.photos, seed, division)
            shared = settings | {"seed": seed, "division": str(division)}
            # A machine that others use, too, changes slowly: nobody is always first.
            for group in GROUPS if number % 2 == 0 else reversed(GROUPS):
                asked = [name for name in group if name in names]
                for name, found in _measured(asked, seed, shared, options).items():
                    results[name][seed] = found
    _report(results)


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    sides.add_images(made, photos=500)
    sides.add_material(made)
    made.set_defaults(image_size=96)
    made.add_argument("--seeds", type=int, default=5, help="number of divisions")
    made.add_argument("--first-seed", type=int, default=0)
    made.add_argument(
        "--overrides", default="{}", help="JSON, for kr.train, such as its epochs"
    )
    return made.parse_args()


def _seeds(options):
    return range(options.first_seed, options.first_seed + options.seeds)


def _material(options, scratch):
    """Returns the folder of photos and the trunk's weights."""
    weights = sides.weights_file(options)
    if weights is not None and (options.data / "flower_photos").is_dir():
        return {"folder": sides.photo_folder(options), "weights": weights}
    from kerasresnet.demo import draw_flowers

    per_class = math.ceil(options.photos / 5)
    photos = draw_flowers(scratch / "photos", per_class=per_class)
    others = draw_flowers(scratch / "others", size=TRUNK_SIZE, seed=1)
    weights = str(scratch / "trunk.weights.h5")
    side = sides.Side("trunk", "trunk", {"folder": str(others), "weights": weights})
    print("There are no photos, or no trained trunk: photos are drawn, and a trunk is")
    print("trained on other drawn photos, to tell how they are turned.", flush=True)
    found = sides.measure(__file__, [side], options)["trunk"][0]
    if "failed" in found:
        sys.exit(1)
    return {"folder": str(photos), "weights": weights}


def _headline(options, settings):
    seeds = _seeds(options)
    overrides = settings["overrides"]
    return (
        f"{sides.machine()}\n{options.photos} photos at {options.image_size} px, "
        f"seeds {seeds[0]} to {seeds[-1]}, {sides.describe_weights(settings['weights'])}"
        + (f", kr.train with {overrides}" if overrides else "")
        + "\n"
    )


def _divide(folder, photos, seed, file):
    import kerasresnet as kr

    data = kr.ImageData.from_folder(folder).take(photos, seed=0)
    train, validation, test = data.split(0.2, 0.2, seed=seed)
    divided = kr.ImageData.combine(train=train, validation=validation, test=test)
    divided.to_csv(file)


def _measured(names, seed, shared, options):
    """Results by name of the sides of a group, of which only the first has no cache."""
    functions = {
        "auto": "auto",
        "warm": "auto",
        "probed": "fine_tuned",
        "fresh": "fine_tuned",
    }
    made = {
        name: sides.Side(
            f"{NAMES[name]}, seed {seed}",
            functions.get(name, "tutorial"),
            shared | TUTORIALS.get(name, {}) | {"probe": name == "probed"},
        )
        for name in names
    }
    found = sides.measure(__file__, list(made.values()), options) if made else {}
    return {name: found[made[name].title][0] for name in names}


# Saying it ------------------------------------------------------------------------


def _report(results):
    good = {
        name: {seed: one for seed, one in found.items() if "accuracy" in one}
        for name, found in results.items()
    }
    rows = [[NAMES[name], *_cells(found)] for name, found in good.items()]
    header = ["side", "each seed", "test accuracy", "95 % interval", "seconds"]
    print(f"\n{sides.markdown(header, rows)}\n")
    for name in results:
        if name in TOLD:
            print(f"{NAMES[name]}: {TOLD[name]}")
    pairs = [pair for pair in PAIRS if all(name in good for name in pair)]
    rows = [
        [f"{NAMES[one]} against {NAMES[other]}", *_compared(good[one], good[other])]
        for one, other in pairs
    ]
    header = ["pair", "difference, points", "95 % interval", "verdict", "times as fast"]
    print(f"\n{sides.markdown(header, rows)}")


def _cells(found):
    accuracies = [one["accuracy"] for one in found.values()]
    if not accuracies:
        return ["failed", "-", "-", "-"]
    low, high = (f"{bound:.1%}" for bound in _interval(accuracies))
    return [
        " ".join(f"{100 * each:.0f}" for each in accuracies),
        f"{statistics.mean(accuracies):.1%}",
        f"{low} to {high}" if len(accuracies) > 1 else "-",
        f"{_seconds(found, found):.0f}",
    ]


def _compared(found, others):
    seeds = [seed for seed in found if seed in others]
    if not seeds:
        return ["-"] * 4
    differences = [
        100 * (found[seed]["accuracy"] - others[seed]["accuracy"]) for seed in seeds
    ]
    low, high = _interval(differences)
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference to see"
    return [
        f"{statistics.mean(differences):+.1f}",
        f"{low:+.1f} to {high:+.1f}" if len(seeds) > 1 else "-",
        verdict,
        f"{_seconds(others, seeds) / _seconds(found, seeds):.1f}",
    ]


def _seconds(found, seeds):
    return statistics.mean(found[seed]["seconds"] for seed in seeds)


def _interval(values):
    """The 95 % interval of the mean, by Student's t; unlimited for a single value."""
    from scipy import stats

    mean = statistics.mean(values)
    if len(values) < 2:
        return -math.inf, math.inf
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean + reach


if __name__ == "__main__" and not sides.serve((auto, tutorial, fine_tuned, trunk)):
    main()
