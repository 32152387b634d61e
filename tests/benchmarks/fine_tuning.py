"""From photo files to a ResNet50 whose last stage was trained, in seconds.

Run it:  python tests/benchmarks/fine_tuning.py --runs 3 --log fine_tuning.jsonl
Quick:   python tests/benchmarks/fine_tuning.py --runs 1 --photos 40 --epochs 1

The convolutions of conv5 and the head are trained, batch normalisation stands still.
The split of the photos is the same on every side. `plain` and `mixed` are plain Keras,
which runs the frozen stages in every epoch; `cold` is kerasresnet with an empty cache.
"""

import time

import sides

NAMES = {
    "plain": "Keras, float32",
    "mixed": "Keras, mixed_bfloat16",
    "cold": "kerasresnet, empty cache",
}


def plain(settings):
    """Trains in plain Keras."""
    import keras
    import plain as written

    kr = sides.load_library()
    start = time.perf_counter()
    keras.config.set_dtype_policy(settings["policy"])
    keras.utils.set_random_seed(0)
    train, validation = sides.photos(kr, settings)
    size = settings["image_size"]
    base, model = written.network(
        len(train.class_names),
        image_size=size,
        weights=settings["weights"],
        hidden_units=[512],
    )
    written.unfreeze(base, "conv5_")
    written.compile_model(model, 1e-4)
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
    keras.utils.set_random_seed(0)
    train, validation = sides.photos(kr, settings)
    size = settings["image_size"]
    model = kr.build_classifier(
        class_names=train.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
        hidden_units=[512],
    )
    history = kr.fine_tune(
        model,
        train,
        validation,
        from_stage="conv5",
        epochs=settings["epochs"],
        learning_rate=1e-4,
        verbose=0,
    )
    return sides.trained(start, history)


def main():
    """Runs the sides in turn and prints the table."""
    options = _options()
    shared = {
        "folder": sides.photo_folder(options),
        "weights": sides.weights_file(options),
        "photos": options.photos,
        "image_size": options.image_size,
        "epochs": options.epochs,
    }
    made = {
        "plain": ("plain", {"policy": "float32"}),
        "mixed": ("plain", {"policy": "mixed_bfloat16"}),
        "cold": ("ours", {}),
    }
    print(
        f"{sides.machine()}\n{options.photos} photos at {options.image_size} px, conv5 "
        f"trained, {options.epochs} epochs, batch 32, "
        f"{sides.describe_weights(shared['weights'])}\n"
    )
    chosen = [
        sides.Side(NAMES[name], made[name][0], shared | made[name][1])
        for name in sides.chosen(options, NAMES)
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
    sides.add_training(made, epochs=5)
    return made.parse_args()


if __name__ == "__main__" and not sides.serve((plain, ours)):
    main()
