"""Accuracy of a head on a frozen ResNet50, over several seeds: is speed paid for with it?

Run it:  python tests/benchmarks/accuracy.py
Quick:   python tests/benchmarks/accuracy.py --seeds 2 --photos 100 --image-size 64

The split is the same for all; the seed decides the head's first weights and the order of
the photos. Plain Keras reads the photos itself and computes in float32.
"""

import statistics

import sides

NAMES = {"plain": "Keras, float32", "ours": "kerasresnet"}
HIDDEN_UNITS = [512]


def plain(settings):
    """Trains heads in plain Keras, on features that Keras computes once."""
    import keras
    import numpy as np
    import plain as written

    kr = sides.load_library()
    parts = sides.photos(kr, settings)
    size = settings["image_size"]
    base, _ = written.network(
        len(parts[0].class_names),
        image_size=size,
        weights=settings["weights"],
        hidden_units=HIDDEN_UNITS,
    )
    features, scored = (
        base.predict(
            written.batches(part, image_size=size, training=False).map(_images),
            verbose=0,
        )
        for part in parts
    )
    labels, true = (np.array(part.labels) for part in parts)
    found = []
    for seed in range(settings["seeds"]):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(units, "relu") for units in HIDDEN_UNITS]
        layers.append(keras.layers.Dense(len(parts[0].class_names), "softmax"))
        head = keras.Sequential(layers)
        written.compile_model(head, 1e-3)
        head.fit(features, labels, epochs=settings["epochs"], verbose=0)
        found.append(head.evaluate(scored, true, verbose=0)[1])
    return _result(found, len(true))


def ours(settings):
    """Trains heads with kerasresnet."""
    import keras

    kr = sides.load_library()
    train, validation = sides.photos(kr, settings)
    size = settings["image_size"]
    found = []
    for seed in range(settings["seeds"]):
        keras.utils.set_random_seed(seed)
        model = kr.build_classifier(
            class_names=train.class_names,
            weights=settings["weights"],
            input_shape=(size, size, 3),
            hidden_units=HIDDEN_UNITS,
        )
        kr.fit(model, train, epochs=settings["epochs"], seed=seed, verbose=0)
        found.append(kr.evaluate(model, validation).accuracy)
    return _result(found, len(validation))


def _images(images, labels):
    del labels
    return images


def _result(found, photos):
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return {
        "accuracy": statistics.mean(found),
        "standard_deviation": spread,
        "each": found,
        "scored_photos": photos,
    }


def main():
    """Runs both sides and prints what they reach."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    sides.add_images(made, photos=500)
    sides.add_training(made, epochs=10)
    made.add_argument("--seeds", type=int, default=8)
    options = made.parse_args()
    settings = {
        "folder": sides.photo_folder(options),
        "weights": sides.weights_file(options),
        "photos": options.photos,
        "image_size": options.image_size,
        "epochs": options.epochs,
        "seeds": options.seeds,
    }
    print(f"{sides.machine()}\n{sides.describe_weights(settings['weights'])}\n")
    chosen = [
        sides.Side(NAMES[name], name, settings) for name in sides.chosen(options, NAMES)
    ]
    results = sides.measure(__file__, chosen, options)
    print()
    print(sides.table(results, "accuracy", references=[], extra="standard_deviation"))


if __name__ == "__main__" and not sides.serve((plain, ours)):
    main()
