"""What a pretrained trunk is worth: frozen and fine-tuned, against random weights.

Run it:  python tests/benchmarks/transfer.py
Quick:   python tests/benchmarks/transfer.py --sets flowers --folds 1 --image-size 64

CIFAR-10 has its own test set and is enlarged inside the model, 32 to 64 px. The flower
photos are divided into folds, each of which is the test once, so that every photo counts
once. A tenth of what is left is held out to choose penalty and epoch.

frozen:      kr.probe
fine-tuned:  kr.train, which chooses stages, rates, epochs and random views by itself
"""

import sys
import time

import sides

NAMES = {
    "frozen": "frozen, exact head",
    "fine_tuned": "fine-tuned by the recipe",
}
SETS = ("cifar10", "flowers")


def main():
    """Trains on each set in each way, and prints a table."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    sides.add_material(made)
    made.add_argument("--sets", default=",".join(SETS))
    made.add_argument("--folds", type=int, default=5, help="of the flower photos")
    made.add_argument("--image-size", type=int, default=96, help="of flower photos")
    options = made.parse_args()
    weights = sides.weights_file(options)
    if weights is None:
        sys.exit("There is no trained trunk. Pass --weights FILE.")
    print(f"{sides.machine()}\n{sides.describe_weights(weights)}\n", flush=True)
    rows = []
    for name in options.sets.split(","):
        for side in sides.chosen(options, NAMES):
            for file in (weights, None):
                rows.append(row(name, side, file, options))
                print(" | ".join(rows[-1]), flush=True)
    header = ["data", "weights", "trained", "test accuracy", "95 % interval", "seconds"]
    print(f"\n{sides.markdown(header, rows)}")


def row(name, side, weights, options):
    """One line of the table: every test image of a set, scored once."""
    from kerasresnet.intervals import wilson_interval

    start = time.perf_counter()
    correct = total = 0
    for train, test, size in divisions(name, options):
        report = trained(side, weights, train, test, size)
        correct += round(report.accuracy * len(test))
        total += len(test)
    low, high = wilson_interval(correct, total)
    seconds = time.perf_counter() - start
    return [
        name,
        "random" if weights is None else "trained trunk",
        NAMES[side],
        f"{correct / total:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{seconds:.0f}",
    ]


def divisions(name, options):
    """Yields training and test images, and how the network is to take them."""
    kr = sides.load_library()
    if name == "cifar10":
        parts = [options.data / "cifar10" / split for split in ("train", "test")]
        train, test = (kr.ImageData.from_folder(part) for part in parts)
        yield train, test, {"input_shape": (32, 32, 3), "upsample_to": 64}
        return
    data = kr.ImageData.from_folder(options.data / "flower_photos")
    size = options.image_size
    for train, test in list(data.k_folds(5))[: options.folds]:
        yield train, test, {"input_shape": (size, size, 3)}


def trained(side, weights, train, test, size):
    """Trains a model and scores it."""
    import keras

    kr = sides.load_library()
    keras.utils.set_random_seed(0)
    model = kr.build_classifier(class_names=train.class_names, weights=weights, **size)
    train, validation = train.split(0.1)
    if side == "frozen":
        kr.probe(model, train, validation, verbose=0)
    else:
        kr.train(model, train, validation, verbose=0)
    return kr.evaluate(model, test)


if __name__ == "__main__":
    main()
