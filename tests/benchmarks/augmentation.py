"""How fast batches of random views are made, by Keras's layers and by kerasresnet.

Run it:  python tests/benchmarks/augmentation.py --runs 3 --log augmentation.jsonl
Quick:   python tests/benchmarks/augmentation.py --runs 1 --photos 64 --batches 4

The images are in memory, so nothing is decoded. Both sides use all cores: Keras's layers
in `Dataset.map` on whole batches, kerasresnet in `make_dataset`. Of RandAugment both make
two operations; Keras draws them once for a batch, kerasresnet for each image.
"""

import itertools
import sys
import time

import sides

NAMES = {
    "keras": "Keras RandAugment",
    "rand_augment": "kerasresnet RandAugment",
    "mixed": "kerasresnet RandAugment, MixUp, CutMix",
    "keras_basics": "Keras flip, brightness, contrast",
    "light": 'kerasresnet "light"',
    "standard": 'kerasresnet "standard"',
    "strong": 'kerasresnet "strong"',
}
RAND_AUGMENT = {"rand_augment": 2, "magnitude": 9}


def keras_layers(settings):
    """Times Keras's layers."""
    import keras
    import tensorflow as tf

    if settings["basics"]:
        varied = keras.Sequential(
            [
                keras.layers.RandomFlip("horizontal", seed=0),
                keras.layers.RandomBrightness(0.1, seed=0),
                keras.layers.RandomContrast(0.1, seed=0),
            ]
        )
    else:
        varied = keras.layers.RandAugment(num_ops=2, factor=0.3, seed=0)
    dataset = tf.data.Dataset.from_tensor_slices(_images(settings)).repeat()
    dataset = dataset.batch(settings["batch_size"])
    return _timed(
        dataset.map(
            lambda images: varied(images, training=True),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(tf.data.AUTOTUNE),
        settings,
    )


def ours(settings):
    """Times kerasresnet."""
    kr = sides.load_library()
    images = _images(settings)
    labels = [number % 10 for number in range(len(images))]
    dataset = kr.make_dataset(
        kr.ImageData.from_arrays(images, labels),
        training=True,
        image_size=images.shape[1:3],
        batch_size=settings["batch_size"],
        augmentation=kr.Augmentation.preset(settings["preset"], **settings["changes"]),
    )
    return _timed(dataset.repeat(), settings)


def _images(settings):
    import numpy as np

    size = settings["image_size"]
    shape = (settings["photos"], size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, "uint8")


def _timed(dataset, settings):
    batches = iter(dataset)
    # The first ones trace the graph, and a few lie ready when the clock starts.
    for _ in itertools.islice(batches, 5):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(batches, settings["batches"]):
        pass
    seconds = time.perf_counter() - start
    return {"images_per_second": settings["batches"] * settings["batch_size"] / seconds}


def main():
    """Runs the sides in turn and prints the table."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES)
    sides.add_images(made, photos=320)
    made.add_argument("--batches", type=int, default=40, help="batches that are timed")
    made.add_argument("--batch-size", type=int, default=32)
    options = made.parse_args()
    if options.photos % options.batch_size:
        sys.exit("Pass --photos that fill whole batches.")
    shared = {
        key: getattr(options, key)
        for key in ("photos", "image_size", "batches", "batch_size")
    }
    mixed = RAND_AUGMENT | {"mixup": 0.2, "cutmix": 1.0}
    differing = {
        "keras": ("keras_layers", {"basics": False}),
        "keras_basics": ("keras_layers", {"basics": True}),
        "rand_augment": ("ours", {"preset": "none", "changes": RAND_AUGMENT}),
        "mixed": ("ours", {"preset": "none", "changes": mixed}),
    }
    chosen = [
        sides.Side(NAMES[name], function, shared | settings)
        for name in sides.chosen(options, NAMES)
        for function, settings in [
            differing.get(name, ("ours", {"preset": name, "changes": {}}))
        ]
    ]
    print(
        f"{sides.machine()}\nbatches of {options.batch_size} at {options.image_size} px\n"
    )
    results = sides.measure(__file__, chosen, options)
    print("\nImages per second:\n")
    print(sides.table(results, "images_per_second", references=[NAMES["keras"]]))


if __name__ == "__main__" and not sides.serve((keras_layers, ours)):
    main()
