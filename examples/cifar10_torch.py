"""CIFAR-10 upsampled to 224 px, on PyTorch: the same model, trained by a PyTorch loop.

The PyTorch twin of `cifar10_upsampled.py`. Keras runs on torch here, so that the model is
a `torch.nn.Module` whose `parameters()` know what is frozen: any PyTorch optimizer, loss
and loop trains it. `--how fit` trains it with `kr.fit` instead. The saved model loads
under TensorFlow and JAX, too.

What tutorials get wrong when they show both: they are two networks. torchvision's
ResNet50 has its stride elsewhere, takes other pixels, and its weights do not fit
Keras's. Whoever wants that one says `--backbone resnet50v1.5`, on any backend.

Needs:  pip install '.[torch]' tqdm
Quick:  python examples/cifar10_torch.py --limit 32 --epochs 1 --upsample-to 64
With W&B:  add `--wandb` (WANDB_MODE=online uploads)
"""

import argparse
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported
import keras
import torch
from tqdm import tqdm

import kerasresnet as kr


def main(arguments=None):
    options = parse(arguments)
    if keras.backend.backend() != "torch":
        raise SystemExit("Keras was imported before, with another backend.")
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    train = kr.ImageData.cifar10("train", path=options.data)
    test = kr.ImageData.cifar10("test", path=options.data)
    if options.limit:
        train, test = train.take(options.limit), test.take(options.limit)

    model = kr.build_classifier(
        class_names=train.class_names,
        backbone=options.backbone,
        weights=None if options.weights == "none" else options.weights,
        input_shape=(32, 32, 3),
        upsample_to=options.upsample_to,
        hidden_units=(1024, 512),
    )
    kr.set_trainable(model, "conv1")
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    print(f"parameters: {model.count_params():,}, trained: {trained:,}")

    log = wandb_log(options) if options.wandb else lambda numbers: None
    train_it = {"loop": train_by_loop, "fit": train_by_fit}[options.how]
    train_it(model, train, log, options)
    print(kr.evaluate(model, test))
    model.save(options.out / "model.keras")
    print(f"model: {options.out / 'model.keras'}")


def train_by_loop(model, train, log, options):
    """The loop that every PyTorch tutorial has."""
    device = next(model.parameters()).device
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True)
    batches = kr.make_dataset(
        train, training=True, image_size=(32, 32), batch_size=options.batch_size
    )
    for epoch in range(options.epochs):
        correct = seen = 0
        bar = tqdm(batches, total=len(batches), desc=f"epoch {epoch + 1}")
        for images, labels in bar:
            images = torch.from_numpy(images.numpy()).to(device)
            labels = torch.from_numpy(labels.numpy()).long().to(device)
            # training=True, as Keras means it: frozen batch norm stays still all the same.
            probabilities = model(images, training=True)
            # The model ends with its softmax; PyTorch's cross-entropy begins with one.
            loss = torch.nn.functional.nll_loss(probabilities.clamp(1e-7).log(), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
            correct += int((probabilities.argmax(1) == labels).sum())
            bar.set_postfix(loss=f"{loss.item():.3f}", accuracy=f"{correct / seen:.1%}")
            log({"loss": loss.item(), "accuracy": correct / seen})


def train_by_fit(model, train, log, options):
    """The same by the library."""
    each_epoch = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: log(logs))
    settings = {"epochs": options.epochs, "batch_size": options.batch_size}
    kr.compile_classifier(model, optimizer="sgd", learning_rate=1e-3)
    kr.fit(model, train, callbacks=[each_epoch], **settings)


def wandb_log(options):
    import wandb  # pip install '.[wandb]'

    os.environ.setdefault("WANDB_MODE", "offline")
    config = {key: str(value) for key, value in vars(options).items()}
    return wandb.init(project="kerasresnet", dir=options.out, config=config).log


def parse(arguments):
    parser = argparse.ArgumentParser(description="CIFAR-10 upsampled, by PyTorch.")
    parser.add_argument("--data", help="a local copy; by default Keras downloads it")
    parser.add_argument("--limit", type=int, help="images of each split; default all")
    parser.add_argument("--backbone", default="resnet50", choices=kr.list_backbones())
    parser.add_argument("--weights", default="imagenet", help="or none, or a file")
    parser.add_argument("--how", default="loop", choices=("loop", "fit"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--upsample-to", type=int, default=224, help="multiple of 32")
    parser.add_argument("--wandb", action="store_true", help="log to W&B, offline")
    parser.add_argument("--out", type=Path, default=Path("cifar10_torch"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
