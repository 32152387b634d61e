"""From photo files to a trained head on a frozen ResNet50, in seconds.

Run it:  python tests/benchmarks/frozen.py --runs 3 --log frozen.jsonl
Quick:   python tests/benchmarks/frozen.py --runs 1 --photos 40 --epochs 1

Four fifths of the photos are trained on, one fifth is scored after each epoch; the split
is the same on every side. `plain` and `mixed` are plain Keras, which runs the trunk in
every epoch. `cold` is kerasresnet with an empty cache. `warm` is kerasresnet again with
another head, in a new process, with the cache that `cold` filled.
"""

import sys
import time

import sides

NAMES = {
    "plain": "Keras, float32",
    "mixed": "Keras, mixed_bfloat16",
    "cold": "kerasresnet, empty cache",
    "warm": "kerasresnet, another head",
}


def plain(settings):
    """Trains in plain Keras."""
    import keras
    import plain as written

    kr = sides.load_library()
    start = time.perf_counter()
    keras.config.set_dtype_policy(settings["policy"])
    keras.utils.set_random_seed(settings["seed"])
    train, validation = sides.photos(kr, settings)
    size = settings["image_size"]
    _, model = written.network(
        len(train.class_names),
        image_size=size,
        weights=settings["weights"],
        hidden_units=settings["hidden_units"],
    )
    written.compile_model(model, 1e-3)
    history = model.fit(
        written.batches(train, image_size=size, training=True),
        validation_data=written.batches(validation, image_size=size, training=False),
        epochs=settings["epochs"],
        verbose=0,
    )
    return sides.trained(start, history)


def ours(settings):
    """Trains with kerasresnet."""
    import keras

    kr = sides.load_library()
    start = time.perf_counter()
    keras.utils.set_random_seed(settings["seed"])
    train, validation = sides.photos(kr, settings)
    size = settings["image_size"]
    model = kr.build_classifier(
        class_names=train.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
        hidden_units=settings["hidden_units"],
    )
    history = kr.fit(
        model,
        train,
        validation,
        epochs=settings["epochs"],
        seed=settings["seed"],
        verbose=0,
    )
    return sides.trained(start, history)


def main():
    """Runs the sides in turn and prints the table."""
    options = _options()
    names = sides.chosen(options, NAMES)
    if "warm" in names and "cold" not in names:
        sys.exit("The side 'warm' uses the cache that 'cold' fills: choose both.")
    shared = {
        "folder": sides.photo_folder(options),
        "weights": sides.weights_file(options),
        "photos": options.photos,
        "image_size": options.image_size,
        "epochs": options.epochs,
        "hidden_units": [512],
        "seed": 0,
    }
    differing = {
        "plain": {"policy": "float32"},
        "mixed": {"policy": "mixed_bfloat16"},
        "cold": {},
        "warm": {"hidden_units": [256], "seed": 1},
    }
    print(
        f"{sides.machine()}\n{options.photos} photos at {options.image_size} px, frozen "
        f"trunk, {options.epochs} epochs, batch 32, "
        f"{sides.describe_weights(shared['weights'])}\n"
    )
    chosen = [
        sides.Side(
            NAMES[name],
            "plain" if name in ("plain", "mixed") else "ours",
            shared | differing[name],
        )
        for name in names
    ]
    results = sides.measure(__file__, chosen, options)
    references = [NAMES["plain"], NAMES["mixed"]]
    print("\nSeconds from files to trained model:\n")
    print(
        sides.table(
            results, "seconds", references=references, extra="validation_accuracy"
        )
    )


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=NAMES)
    sides.add_images(made, photos=500)
    sides.add_training(made, epochs=10)
    return made.parse_args()


if __name__ == "__main__" and not sides.serve((plain, ours)):
    main()
