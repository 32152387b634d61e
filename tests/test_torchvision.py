"""Parity with torchvision's and timm's own modules, where torch is installed."""

import importlib

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.weights import open_weights

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def networks():
    """torchvision's networks."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    # The build for CPUs imports two operators that it does not bring.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    yield importlib.import_module("torchvision.models")
    library._destroy()


def randomised(network, seed=0):
    """Every weight and statistic at random, at scales that keep activations near 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.uniform_(low, high, generator=generator)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                uniform(module.weight, 0.5, 1.0)
                uniform(module.bias, -0.2, 0.2)
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.5, 2.0)
            elif isinstance(module, torch.nn.Linear):
                uniform(module.bias, -1.0, 1.0)
    return network.eval()


def their_answer(network, images):
    """Features before pooling, and logits, of RGB 0..255."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    kept = []
    hook = network.layer4.register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        values = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        logits = network((values - mean) / deviation)
    hook.remove()
    return kept[0].permute(0, 2, 3, 1).numpy(), logits.numpy()


def our_answer(backbone, path, images):
    model = kr.build_classifier(
        2, backbone=backbone, weights=path, input_shape=images.shape[1:]
    )
    assert model.preprocessing == "torch"
    maps = keras.Model(model.input, model.get_layer("avg_pool").input)
    features = np.asarray(maps(images))
    kernel, bias = open_weights(path, backbone=backbone, include_top=True).arrays[
        "predictions"
    ]
    return features, features.mean((1, 2)) @ kernel + bias


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize(
    ("depth", "backbone", "suffix", "size"),
    [
        (18, "resnet18v1.5", ".pth", (224, 224)),
        (18, "resnet18v1.5", ".safetensors", (97, 129)),
        (18, "resnet18", ".safetensors", (224, 224)),
        (18, "resnet18", ".pth", (97, 129)),
        (34, "resnet34v1.5", ".pth", (224, 224)),
        (34, "resnet34", ".safetensors", (97, 129)),
        (50, "resnet50v1.5", ".safetensors", (224, 224)),
        (50, "resnet50v1.5", ".pth", (97, 129)),
        (101, "resnet101v1.5", ".pth", (224, 224)),
        (101, "resnet101v1.5", ".safetensors", (97, 129)),
    ],
)
def test_features_and_logits_are_those_of_torchvision(
    networks, tmp_path, depth, backbone, suffix, size
):
    network = randomised(getattr(networks, f"resnet{depth}")(weights=None))
    path = save(network.state_dict(), tmp_path / f"network{suffix}")
    images = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    theirs = their_answer(network, images)
    ours = our_answer(backbone, path, images)
    for mine, other in zip(ours, theirs, strict=True):
        assert difference(mine, other) <= 1e-5


def save(state, path):
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    else:
        torch.save(state, path)
    return path


def test_a_checkpoint_of_timm_is_read(tmp_path):
    timm = pytest.importorskip("timm")
    network = randomised(timm.create_model("resnet50", pretrained=False))
    path = save({"state_dict_ema": network.state_dict()}, tmp_path / "timm.pth")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    theirs = their_answer(network, images)
    ours = our_answer("resnet50v1.5", path, images)
    for mine, other in zip(ours, theirs, strict=True):
        assert difference(mine, other) <= 1e-5
