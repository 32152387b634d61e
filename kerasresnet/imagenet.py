"""The full ImageNet network as a classifier, and its 1000 class names."""

from importlib import resources
from pathlib import Path

from kerasresnet.backbones import check_backbone
from kerasresnet.building import backbone_layers, expected_pixels
from kerasresnet.classifier import Classifier
from kerasresnet.freezing import set_trainable
from kerasresnet.weights import assign_weights, open_weights


def imagenet_classifier(
    *, backbone: str = "resnet50", weights: str | Path | None = "imagenet"
) -> Classifier:
    """Builds the full 1000-class ImageNet network, with its class names.

    Args:
        backbone: Name of the network, one of `list_backbones()`.
        weights: `"imagenet"` (for ResNet50 103 MB, through Keras's cache), the path of a
            file with the 1000-class head (Keras's or a PyTorch checkpoint), or None for
            random weights.

    Returns:
        A `Classifier` for 224 px photos. Two names that ImageNet gives to two classes
        each are told apart by their WordNet id: `"crane (n02012849)"`.

    Raises:
        WeightsError: If the weights are absent or do not fit.

    Example:

    >>> model = kr.imagenet_classifier(weights=None)
    >>> model.class_names[:3]
    ('tench', 'goldfish', 'great_white_shark')
    """
    check_backbone(backbone)
    opened = open_weights(weights, backbone=backbone, include_top=True)
    model = Classifier(
        imagenet_names(), backbone=backbone, preprocessing=expected_pixels(opened)
    )
    if opened is not None:
        layers = [*backbone_layers(model), model.get_layer("predictions")]
        assign_weights(layers, opened)
    set_trainable(model, None)
    return model


def imagenet_names() -> tuple[str, ...]:
    """Returns the 1000 ImageNet class names, in the order of the outputs."""
    table = (
        resources.files("kerasresnet")
        .joinpath("imagenet_classes.tsv")
        .read_text("utf-8")
    )
    rows = [line.split("\t") for line in table.splitlines()]
    names = [name for _, _, name in rows]
    return tuple(
        f"{name} ({wordnet_id})" if names.count(name) > 1 else name
        for _, wordnet_id, name in rows
    )
