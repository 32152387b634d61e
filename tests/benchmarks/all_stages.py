"""Images per second of an epoch that trains all stages of a ResNet50.

Run it:  python tests/benchmarks/all_stages.py --runs 3 --peers PYTHON
Quick:   python tests/benchmarks/all_stages.py --runs 1 --photos 32 --epochs 2

Random pixels, in memory before the clock starts; on the sides of Keras and PyTorch they
are preprocessed, too. Batch normalisation stands still. Epochs are timed from end to
end inside `fit`, so the first one, in which everything is traced, does not count.
"""

import statistics
import sys
import time

import sides

NAMES = {
    "plain": "Keras, float32",
    "mixed": "Keras, mixed_bfloat16",
    "ours": "kerasresnet",
    "torch": "PyTorch, bfloat16, channels last",
}
STAGES = ("conv", "pool1_")
CLASSES = 5
RATE = 1e-4


def plain(settings):
    """Trains in plain Keras."""
    import keras
    import plain as written

    keras.config.set_dtype_policy(settings["policy"])
    keras.utils.set_random_seed(0)
    images, labels = _arrays(settings)
    images = written.resnet50.preprocess_input(images.astype("float32"))
    base, model = written.network(
        CLASSES,
        image_size=settings["image_size"],
        weights=settings["weights"],
        hidden_units=[512],
    )
    written.unfreeze(base, *STAGES)
    written.compile_model(model, RATE)
    clock, ends = sides.epoch_clock()
    model.fit(
        images,
        labels,
        batch_size=32,
        epochs=settings["epochs"],
        callbacks=[clock],
        verbose=0,
    )
    return _result(settings, ends)


def ours(settings):
    """Trains with kerasresnet."""
    import keras

    kr = sides.load_library()
    keras.utils.set_random_seed(0)
    size = settings["image_size"]
    model = kr.build_classifier(
        CLASSES,
        weights=settings["weights"],
        input_shape=(size, size, 3),
        hidden_units=[512],
    )
    clock, ends = sides.epoch_clock()
    kr.fine_tune(
        model,
        _arrays(settings),
        from_stage="conv1",
        epochs=settings["epochs"],
        learning_rate=RATE,
        callbacks=[clock],
        verbose=0,
    )
    return _result(settings, ends)


def torch(settings):
    """Trains in PyTorch."""
    import torch
    import torch_resnet

    images, labels = _arrays(settings)
    mean = torch.tensor([103.939, 116.779, 123.68]).reshape(1, 3, 1, 1)
    images = torch.from_numpy(images).permute(0, 3, 1, 2).flip(1) - mean
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(labels)
    model = torch_resnet.classifier(sides.cores(), classes=CLASSES, hidden_units=512)
    trained = [values for values in model.parameters() if values.requires_grad]
    optimizer = torch.optim.Adam(trained, RATE)
    ends = []
    for _ in range(settings["epochs"]):
        for rows in torch.randperm(len(images)).split(32):
            with torch.autocast("cpu", torch.bfloat16):
                scores = model(images[rows])
            loss = torch.nn.functional.cross_entropy(scores.float(), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append(time.perf_counter())
    return _result(settings, ends)


def _arrays(settings):
    import numpy as np

    size = settings["image_size"]
    shape = (settings["photos"], size, size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    return images, np.arange(settings["photos"]) % CLASSES


def _result(settings, ends):
    found = sides.rates(settings["photos"], ends)
    return {"images_per_second": statistics.median(found), "epochs": found}


def main():
    """Runs the sides in turn and prints the table."""
    options = _options()
    shared = {
        "weights": sides.weights_file(options),
        "photos": options.photos,
        "image_size": options.image_size,
        "epochs": options.epochs,
    }
    made = {
        "plain": ("plain", {"policy": "float32"}, sys.executable),
        "mixed": ("plain", {"policy": "mixed_bfloat16"}, sys.executable),
        "ours": ("ours", {}, sys.executable),
        "torch": ("torch", {}, options.peers),
    }
    print(
        f"{sides.machine()}\n{options.photos} images at {options.image_size} px, all "
        f"stages trained, {options.epochs - 1} measured epochs in a run, batch 32, "
        f"{sides.describe_weights(shared['weights'])} (PyTorch: random)\n"
    )
    chosen = [
        sides.Side(NAMES[name], made[name][0], shared | made[name][1], made[name][2])
        for name in sides.chosen(options, NAMES)
    ]
    results = sides.measure(__file__, chosen, options)
    print("\nImages per second, median of the epochs after the first:\n")
    references = [NAMES["plain"], NAMES["mixed"], NAMES["torch"]]
    print(sides.table(results, "images_per_second", references=references))


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=NAMES)
    sides.add_images(made, photos=320)
    sides.add_training(made, epochs=3)
    sides.add_peers(made)
    options = made.parse_args()
    if options.epochs < 2:
        made.error("--epochs must be at least 2: the first one is not measured.")
    return options


if __name__ == "__main__" and not sides.serve((plain, ours, torch)):
    main()
