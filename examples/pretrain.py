"""Trains a backbone from scratch and saves it as a weights file for transfer learning.

For a kind of image that ImageNet weights do not know, and enough of them: tens of
thousands at least. For a few hundred photos take a pretrained network.

The recipe is the usual one: SGD with Nesterov momentum, weight decay, label smoothing
0.1 (Szegedy 2015, https://arxiv.org/abs/1512.00567), a warm-up and a cosine (Goyal 2017,
https://arxiv.org/abs/1706.02677; Loshchilov 2016, https://arxiv.org/abs/1608.03983).
`--sizes 32 64` trains on small images first, which is cheap, and at the end on those that
matter (progressive resizing, https://www.fast.ai/posts/2018-08-10-fastai-diu-imagenet.html).

Batch norm is trained here, as random weights need it. That is what a pretrained network
must never be given: everywhere else the library keeps it still.

Quick, on a CPU:  python examples/pretrain.py --data photos --backbone resnet18v1.5 --epochs 1
Small images:     python examples/pretrain.py --data cifar10 --backbone resnet18v1.5 \
                  --stem cifar --sizes 32 --epochs 30
On a GPU:         python examples/pretrain.py --data photos --sizes 128 224 \
                  --epochs 60 30 --batch-size 256 --precision bfloat16
Then:             kr.build_classifier(5, backbone="resnet18v1.5", weights="pretrained/backbone.weights.h5")
"""

import argparse
from pathlib import Path

import keras

import kerasresnet as kr


def main(arguments=None):
    options = parse(arguments)
    keras.utils.set_random_seed(options.seed)
    if options.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    options.out.mkdir(parents=True, exist_ok=True)
    train, validation = read(options)
    print(f"train: {train}\nvalidation: {validation}")

    model, epochs = None, each(options.epochs, len(options.sizes))
    for stage, size in enumerate(options.sizes):
        model = at_size(size, train.class_names, options, model)
        # A later size starts from a good network, and gets a lower rate.
        rate = options.learning_rate * options.batch_size / 256 / 4**stage
        kr.compile_classifier(
            model,
            optimizer="sgd",  # with Nesterov momentum 0.9
            learning_rate=rate,
            label_smoothing=0.1,
            weight_decay=options.weight_decay,
            global_clipnorm=5.0,
        )
        print(f"{size} px: {epochs[stage]} epochs, peak rate {rate:.3g}")
        history = kr.fit(
            model,
            train,
            validation,
            epochs=epochs[stage],
            batch_size=options.batch_size,
            schedule="cosine",
            warmup=0.1,
            augmentation=kr.Augmentation(smallest_crop=0.35),
            seed=options.seed + stage,
        )
        # After each size: a run that is stopped later has not been for nothing.
        kr.save_backbone(model, options.out / "backbone.weights.h5")
        kr.plot_history(history).savefig(options.out / f"history_{size}px.png")
    print(kr.evaluate(model, validation))
    model.save(options.out / "model.keras")
    print(
        f"weights: {options.out / 'backbone.weights.h5'}, to be used with "
        f"backbone={model.backbone!r}, stem={model.stem!r}"
    )


def read(options):
    """The images to learn from, and those to measure on."""
    if options.data == "cifar10":
        parts = [kr.ImageData.cifar10(split) for split in ("train", "test")]
    elif options.test is not None:
        parts = [images(source) for source in (options.data, options.test)]
    else:
        parts = images(options.data).split(0.1, seed=options.seed)
    if options.limit:
        parts = [part.take(min(options.limit, len(part))) for part in parts]
    return parts


def images(source):
    is_table = Path(source).suffix == ".csv"
    return (kr.ImageData.from_csv if is_table else kr.ImageData.from_folder)(source)


def each(values, count):
    if len(values) not in (1, count):
        raise SystemExit(
            f"--epochs: expected one number, or one for each of {count} sizes"
        )
    return list(values) * (count // len(values))


def at_size(size, class_names, options, before):
    """The network for images of a size, with the weights from before if there are any."""
    model = kr.build_classifier(
        class_names=class_names,
        backbone=options.backbone,
        stem=options.stem,
        weights=options.weights if before is None else None,
        input_shape=(size, size, 3),
    )
    if before is not None:
        model.set_weights(before.get_weights())
    kr.set_trainable(model, "conv1", batch_norm="trained")
    return model


def parse(arguments):
    parser = argparse.ArgumentParser(description="Train a backbone from scratch.")
    parser.add_argument("--data", default="cifar10", help="a folder by class, or a CSV")
    parser.add_argument("--test", help="the same; default a tenth of --data")
    parser.add_argument("--limit", type=int, help="images of each part; default all")
    parser.add_argument(
        "--backbone",
        default="resnet50v1.5",
        choices=kr.list_backbones(),
        metavar="NAME",
    )
    parser.add_argument("--stem", default="imagenet", choices=("imagenet", "cifar"))
    parser.add_argument(
        "--weights", help="a weights file to go on from; default random"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64], metavar="PX")
    parser.add_argument("--epochs", type=int, nargs="+", default=[30], metavar="N")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--learning-rate", type=float, default=0.2, help="for 256 images"
    )
    parser.add_argument("--weight-decay", type=float, default=5e-5)
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16"),
        help="bfloat16 where `kerasresnet doctor` says that the device is good at it",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("pretrained"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
