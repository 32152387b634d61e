import keras
import pytest

from kerasresnet.backbones import BACKBONES
from kerasresnet.catalogue import ARCHITECTURES
from kerasresnet.layouts import Network, classes_of, foreign, identify, layout

CASES = [
    ("resnet18", "imagenet"),
    ("resnet18", "cifar"),
    ("resnet34v1.5", "imagenet"),
    ("resnet50", "imagenet"),
    ("resnet50v1.5", "cifar"),
    ("resnet50v2", "imagenet"),
]


@pytest.mark.parametrize(("backbone", "stem"), CASES)
def test_a_layout_is_that_of_the_graph_in_its_order(backbone, stem):
    images = keras.Input((64, 64, 3))
    graph = BACKBONES[backbone].stem(stem)(images)
    layers = keras.Model(images, graph).layers
    real = {x.name: tuple(tuple(w.shape) for w in x.weights) for x in layers}
    real = {name: shapes for name, shapes in real.items() if shapes}
    assert list(real.items()) == list(layout(backbone, stem).items())


@pytest.mark.parametrize("backbone", ARCHITECTURES)
def test_every_network_is_recognised_and_taken_for_no_other(backbone):
    for stem in ARCHITECTURES[backbone].stems:
        shapes = {**layout(backbone, stem), "predictions": ((2048, 7), (7,))}
        assert identify(shapes) == Network(backbone, stem)
        assert classes_of(shapes) == 7


def test_a_network_with_a_layer_more_or_less_is_not_recognised():
    shapes = dict(layout("resnet50"))
    assert identify({**shapes, "conv5_block4_1_bn": ((512,),) * 4}) is None
    shapes.pop("conv1_bn")
    assert identify(shapes) is None
    assert classes_of(shapes) is None


def test_layers_of_a_deeper_network_are_foreign():
    deeper = layout("resnet101")
    assert foreign(deeper, "resnet50")[0] == "conv4_block7_1_conv"
    assert foreign(deeper, "resnet152") == []
    assert foreign(deeper, "some other") == []
