"""CIFAR-10 upsampled to 224 px inside the model, all layers trained, with SGD.

Tutorials of this kind put UpSampling2D(7, 7) in front of ResNet50, Dense 1024 and 512
behind it, train everything for three epochs and report about 86 %. That is plausible,
and even low: a frozen network at 224 px with nothing but a softmax has been seen at
89.9 % after three epochs (FatimaAlawami3/CV_Fatima), and published full fine-tuning of
ImageNet ResNet50s reaches 98.27 % (the best of several robustness settings; Salman 2020,
microsoft/robust-models-transfer).

What they get wrong: a network that is simply unfrozen lets the batch-norm statistics
move, and loses what it knew. One executed notebook fell from 65.4 % to 44.6 % in its first
unfrozen epoch and took six to recover. `training=False` does not prevent it in Keras 3
(keras#20285); `kr.set_trainable` keeps them still. And `wandb.keras.WandbCallback`, which
older ones log with, is gone: `wandb.integration.keras.WandbMetricsLogger` is its heir.

All layers at 224 px are slow without a GPU: a few images per second on two cores.
Quick:  python examples/cifar10_upsampled.py --limit 32 --epochs 1
More to see on a CPU:  add `--upsample-to 64 --limit 300`
With W&B:  pip install '.[wandb]', then add `--wandb` (WANDB_MODE=online uploads)
"""

import argparse
import os
from pathlib import Path

import keras

import kerasresnet as kr


def main(arguments=None):
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    callbacks = wandb_callbacks(options) if options.wandb else []
    keras.utils.set_random_seed(0)
    train = kr.ImageData.cifar10("train", path=options.data)
    test = kr.ImageData.cifar10("test", path=options.data)
    if options.limit:
        train, test = train.take(options.limit), test.take(options.limit)
    print(f"train: {train}\ntest: {test}")

    model = kr.build_classifier(
        class_names=train.class_names,
        weights=None if options.weights == "none" else options.weights,
        input_shape=(32, 32, 3),
        upsample_to=options.upsample_to,
        hidden_units=(1024, 512),
    )
    kr.set_trainable(model, "conv1")
    trained = sum(weight.numpy().size for weight in model.trainable_weights)
    print(f"parameters: {model.count_params():,}, trained: {trained:,}")

    kr.compile_classifier(model, optimizer="sgd", learning_rate=1e-3)
    history = kr.fit(
        model,
        train,
        test,
        epochs=options.epochs,
        batch_size=options.batch_size,
        callbacks=callbacks,
    )
    print(kr.evaluate(model, test))

    kr.plot_history(history).savefig(options.out / "history.png")
    model.save(options.out / "model.keras")
    print(f"model and curves: {options.out}")
    if options.wandb:
        finish_wandb()


def wandb_callbacks(options):
    try:
        import wandb
        from wandb.integration.keras import WandbMetricsLogger
    except ImportError as error:
        raise SystemExit(
            "--wandb needs Weights & Biases: pip install '.[wandb]'"
        ) from error
    os.environ.setdefault("WANDB_MODE", "offline")
    config = {key: str(value) for key, value in vars(options).items()}
    wandb.init(project="kerasresnet-cifar10", dir=options.out, config=config)
    return [WandbMetricsLogger()]


def finish_wandb():
    import wandb

    folder = Path(wandb.run.dir).parent
    wandb.finish()
    print(f"wandb: {os.environ['WANDB_MODE']} run in {folder}")


def parse(arguments):
    parser = argparse.ArgumentParser(description="CIFAR-10 upsampled, all layers, SGD.")
    parser.add_argument("--data", help="a local copy; by default Keras downloads it")
    parser.add_argument("--limit", type=int, help="images of each split; default all")
    parser.add_argument("--weights", default="imagenet", help="or none, or a file")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--upsample-to", type=int, default=224, help="multiple of 32")
    parser.add_argument("--wandb", action="store_true", help="log to W&B, offline")
    parser.add_argument("--out", type=Path, default=Path("cifar10_upsampled"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
