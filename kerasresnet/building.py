"""From names, a backbone and weights to a classifier."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kerasresnet.backbones import check_preprocessing, stage_end, stage_of
from kerasresnet.catalogue import PreprocessingName, StemName
from kerasresnet.classifier import Classifier, Pooling
from kerasresnet.errors import WeightsError, listing
from kerasresnet.freezing import set_trainable
from kerasresnet.options import (
    check_head,
    check_sizes,
    check_whole_head,
    resolve_names,
)
from kerasresnet.releases import GENERATIONS
from kerasresnet.weights import Weights, assign_weights, open_weights


def build_classifier(  # noqa: PLR0913 - the public contract
    num_classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    backbone: str = "resnet50",
    weights: str | Path | None = "imagenet",
    include_top: bool = False,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    upsample_to: int | tuple[int, int] | None = None,
    hidden_units: Sequence[int] = (),
    dropout: float = 0.0,
    pooling: Pooling = "avg",
    stem: StemName = "imagenet",
    preprocessing: PreprocessingName | None = None,
) -> Classifier:
    """Builds a classifier with a frozen, pretrained backbone and a new head.

    The model takes RGB in 0..255, uint8 or float, and preprocesses inside the graph.
    Its head is pooling, Dense layers with ReLU for `hidden_units`, and a softmax named
    `"predictions"`.

    Args:
        num_classes: Number of classes, at least 2. Defaults to `len(class_names)`.
        class_names: Names of the classes, in the order of the outputs. Defaults to
            `"0"`, `"1"`, …, until `fit` sees named data.
        backbone: Name of the network, one of `list_backbones()`. `"resnet50"` is
            `keras.applications.ResNet50`, `"resnet50v1.5"` the ResNet50 of torchvision.
        weights: `"imagenet"` (for ResNet50 94 MB, through Keras's cache), the path of a
            `.weights.h5`, `.h5` or `.keras` file or of a PyTorch checkpoint (`.pth`, `.pt`,
            `.pth.tar`, `.ckpt`, `.bin`, `.safetensors`), or None for random weights, which
            `set_trainable` with `batch_norm="trained"` lets train from scratch.
            `"imagenet_v2"` is torchvision's second generation, for 50 layers and more of
            the graph v1.5.
        include_top: Whether the head is taken from the weights, too, for a classifier
            that was trained elsewhere. Its classes come in the order of that training;
            their number and names default to what the file says.
        input_shape: `(height, width, 3)`, at least 32 px after upsampling.
        upsample_to: Size to upsample to inside the graph, a whole multiple of the
            input's: `input_shape=(32, 32, 3), upsample_to=224`. Defaults to none.
        hidden_units: Widths of Dense layers before the last one.
        dropout: Share of values dropped before each Dense layer, in [0, 1).
        pooling: `"avg"` or `"max"`.
        stem: How the network begins: `"imagenet"` (a 7x7 convolution of stride 2 and a
            pooling), or `"cifar"` (a 3x3 convolution of stride 1), for training on small
            images from scratch (section 4.2 of He et al. 2015,
            https://arxiv.org/abs/1512.03385); the smallest input is 8 px then.
        preprocessing: What the weights expect, which is done inside the graph:
            `"caffe"`, `"torch"` or `"tf"` (see `Classifier`). Defaults to what is
            known of the weights, which is nearly always right.

    Returns:
        A `Classifier`, a `keras.Model`, not compiled.

    Raises:
        ValueError: If an argument is out of range.
        WeightsError: If the weights are absent or do not fit.

    Example:

    >>> model = kr.build_classifier(num_classes=5, weights=None, hidden_units=(512,))
    >>> f"{model.count_params():,}"
    '24,639,365'
    >>> sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    1051653
    """
    if not include_top:
        resolve_names(num_classes, class_names)  # before anything is downloaded
    size, upsampled = check_sizes(input_shape, upsample_to, backbone, stem)
    check_preprocessing(preprocessing)
    check_head(hidden_units, dropout, pooling)
    if include_top:
        check_whole_head(weights, hidden_units, pooling)
    _check_published(weights, stem)
    opened = open_weights(weights, backbone=backbone, include_top=include_top)
    if opened is not None:
        _check_made_for(opened, stem, class_names if include_top else None)
        if (
            include_top
            and class_names is None
            and num_classes in (None, opened.classes)
        ):
            num_classes, class_names = opened.classes, opened.class_names
    model = Classifier(
        resolve_names(num_classes, class_names),
        backbone=backbone,
        input_shape=(*size, 3),
        upsample_to=upsampled,
        hidden_units=hidden_units,
        dropout=dropout,
        pooling=pooling,
        stem=stem,
        preprocessing=preprocessing or expected_pixels(opened),
        named=class_names is not None,
    )
    if opened is not None:
        head = [model.get_layer("predictions")] if include_top else []
        assign_weights([*backbone_layers(model), *head], opened)
    set_trainable(model, None)
    return model


def expected_pixels(weights: Weights | None) -> PreprocessingName | None:
    """Returns what weights say that they expect; None for what is usual."""
    # A file may say anything; what is unknown is refused by name.
    said: Any = None if weights is None else weights.preprocessing
    check_preprocessing(said)
    return said


def _check_published(weights: object, stem: str) -> None:
    if stem != "imagenet" and weights in GENERATIONS:
        raise ValueError(
            f"Published weights begin with the stem 'imagenet', received stem={stem!r} and "
            f"weights={weights!r}. Pass weights=None to train from scratch, or a file made "
            "for that stem."
        )


def _check_made_for(
    weights: Weights, stem: str, class_names: Sequence[str] | None
) -> None:
    if weights.stem not in (None, stem):
        raise WeightsError(
            f"{weights.source} is of a network that begins with the stem {weights.stem!r}, "
            f"received stem={stem!r}. Pass stem={weights.stem!r}, or a file made for {stem!r}."
        )
    trained = weights.class_names
    if None not in (trained, class_names) and list(trained or ()) != list(
        class_names or ()
    ):
        raise WeightsError(
            f"The head in {weights.source} was trained for the classes "
            f"{listing(trained or ())}, in this order, received class_names "
            f"{listing(class_names or ())}. Pass those of the file, or leave out include_top."
        )


def backbone_layers(model: Classifier) -> list[Any]:
    """Returns the layers that a weights file without a head holds, in its order."""
    # Its depth order is that of keras.applications, which files stored by position need.
    trunk = keras.Model(model.input, stage_end(model, "conv5").output)
    return [layer for layer in trunk.layers if stage_of(layer.name)]
