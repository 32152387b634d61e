"""A new head on a pretrained network, and six ways to get it wrong unnoticed.

The best-known transfer tutorial, torchvision's, replaces `model.fc` by a layer with an
output for each class: `build_classifier`, in Keras terms. Each of these goes wrong there
without a word. This script tries them: here they are impossible, or refused.

1. Frozen is not still: batch-norm statistics move on under PyTorch's `requires_grad =
   False`, and in Keras 3 under `training=False` (keras#20285).
2. torchvision wants pixels divided by 255, Keras's ResNet50 wants 0..255.
3. The head has another number of outputs than the data has classes.
4. Flags are changed after `compile`: Keras goes on as before.
5. The data's classes are in another order than the model's.
6. A saved model has forgotten what its outputs mean.

Quick, on drawn photos:  python examples/replace_head.py --weights none --limit 60
On your own:             python examples/replace_head.py --data flower_photos --limit 60
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np

import kerasresnet as kr
from kerasresnet.demo import draw_flowers

SIZE = (96, 96)  # to be quick: nothing here depends on it


def main(arguments=None):
    options = parse(arguments)
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data or draw_flowers(Path(scratch) / "photos", per_class=30)
        train, held_out = kr.ImageData.from_folder(folder).split(0.2)
        if options.limit:
            train, held_out = train.take(options.limit), held_out.take(options.limit)
        print(f"photos: {train} and {len(held_out)} held out")
        model = kr.build_classifier(
            class_names=train.class_names,
            weights=None if options.weights == "none" else options.weights,
            input_shape=(*SIZE, 3),
        )
        kernel = model.get_layer("predictions").kernel
        print(f"new head: {kernel.shape[0]} features -> {kernel.shape[1]} classes")
        still_batch_norm(model, train, options.epochs)
        divided_by_255(train)
        another_number_of_classes(train)
        changed_flags(model, train)
        another_order(model, held_out)
        kept_names(model, held_out, options.out or Path(scratch))


def still_batch_norm(model, train, epochs):
    layers = [layer for layer in model.layers if layer.name.endswith("_bn")]
    before = [value for layer in layers for value in layer.get_weights()]
    kr.fit(model, train, epochs=epochs)
    kr.fine_tune(model, train, from_stage="conv5", epochs=epochs)
    after = [value for layer in layers for value in layer.get_weights()]
    same = all(map(np.array_equal, before, after))
    print(f"1. batch norm: {len(before)} arrays, {'bit-equal' if same else 'MOVED'}")


def divided_by_255(train):
    images, _ = next(iter(kr.make_dataset(train, image_size=SIZE)))
    refused("2. divided by 255", lambda: kr.ImageData.from_arrays(images / 255))


def another_number_of_classes(train):
    unchanged = kr.build_classifier(1000, weights=None, input_shape=(*SIZE, 3))
    refused("3. head not replaced", lambda: kr.fit(unchanged, train, epochs=1))


def changed_flags(model, train):
    batches = kr.make_dataset(train.take(32), training=True, image_size=SIZE)
    model.get_layer("conv4_block1_1_conv").trainable = True
    refused("4. flags changed", lambda: model.fit(batches, shuffle=False))
    kr.set_trainable(model, "conv4")
    model.fit(batches, shuffle=False)
    print(f"   done right: {len(model.trainable_weights)} tensors trained")


def refused(what, attempt):
    try:
        attempt()
    except (kr.DataError, RuntimeError) as error:
        print(f"{what}, refused: {error}")
    else:
        raise SystemExit(f"{what}: it was not noticed.")


def another_order(model, held_out):
    turned = held_out.with_class_names(held_out.class_names[::-1])
    first, second = kr.evaluate(model, held_out), kr.evaluate(model, turned)
    print(f"5. order {', '.join(held_out.class_names)}: {first.accuracy:.1%}")
    print(f"   order {', '.join(turned.class_names)}: {second.accuracy:.1%}, by name")


def kept_names(model, held_out, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")  # plain Keras
    same = kr.predict(model, held_out) == kr.predict(loaded, held_out)
    print(f"6. loaded again: {', '.join(loaded.class_names)}, same answers: {same}")


def parse(arguments):
    parser = argparse.ArgumentParser(description="Head replacement and its pitfalls.")
    parser.add_argument("--data", help="a folder; default: drawn photos")
    parser.add_argument("--limit", type=int, help="photos of each split; default all")
    parser.add_argument("--weights", default="imagenet", help="or none, or a file")
    parser.add_argument("--epochs", type=int, default=2, help="of each of two stages")
    parser.add_argument("--out", type=Path, help="folder for the model; default none")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
