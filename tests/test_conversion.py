import numpy as np
import pytest
from torch_files import empty_state_dict, state_dict

import kerasresnet as kr
from kerasresnet.conversion import check_layout, to_keras, to_v1
from kerasresnet.layouts import identify

PATH = "some.pth"


def shapes(arrays):
    return {name: tuple(a.shape for a in found) for name, found in arrays.items()}


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_torch_names_and_shapes_become_the_graph_of_torchvision(depth):
    arrays, left = to_keras(empty_state_dict(depth), PATH)
    assert identify(shapes(arrays)).backbone == f"resnet{depth}v1.5"
    assert left == []
    assert arrays["predictions"][0].shape[-1] == 3


def test_kernels_are_transposed_and_statistics_keep_their_order():
    tensors = state_dict(18)
    arrays, _ = to_keras(tensors, PATH)
    kernel = tensors["layer2.0.downsample.0.weight"]
    ours = arrays["conv3_block1_0_conv"][0]
    assert ours[0, 0, 5, 7] == kernel[7, 5, 0, 0]
    bn = [tensors[f"layer2.0.downsample.1.{t}"] for t in ("weight", "bias")]
    bn += [tensors[f"layer2.0.downsample.1.running_{t}"] for t in ("mean", "var")]
    for mine, theirs in zip(arrays["conv3_block1_0_bn"], bn, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(arrays["predictions"][0].T, tensors["fc.weight"])


@pytest.mark.parametrize(
    ("prefix", "head"),
    [
        ("module.", "module.fc"),
        ("model.", "model.fc"),
        ("_orig_mod.module.", "_orig_mod.module.fc"),
        ("backbone.", "fc"),
        ("model.backbone.", "model.head"),
        ("", "fc.1"),
        ("", "head.fc.1"),
        ("module.", "module.fc.0"),
        ("backbone.", "classifier.1"),
    ],
)
def test_prefixes_are_stripped(prefix, head):
    tensors = empty_state_dict(18)
    renamed = {
        (name.replace("fc", head) if "fc" in name else prefix + name): array
        for name, array in tensors.items()
    }
    arrays, left = to_keras(renamed, PATH)
    plain, _ = to_keras(tensors, PATH)
    assert shapes(arrays) == shapes(plain)
    assert left == []


@pytest.mark.parametrize("other", ["fc.0.weight", "fc.1.running_mean", "fc.3.bias"])
def test_a_head_of_more_than_one_linear_layer_is_left_out(other):
    tensors = {k.replace("fc.", "fc.2."): a for k, a in empty_state_dict(18).items()}
    tensors[other] = np.zeros((8, 512), "float32")
    arrays, left = to_keras(tensors, PATH)
    assert "predictions" not in arrays
    assert set(left) == {"fc.2.weight", "fc.2.bias", other}


def test_what_is_beside_the_network_is_left_out_and_named():
    tensors = {f"encoder.{n}": a for n, a in empty_state_dict(18).items()}
    tensors["projector.0.weight"] = np.zeros((8, 8))
    arrays, left = to_keras(tensors, PATH)
    assert left == ["projector.0.weight"]
    assert "predictions" in arrays


def test_the_other_epsilon_is_made_up_for_exactly():
    arrays, _ = to_keras(state_dict(18), PATH)
    arrays["conv1_bn"][3][:2] = 0.0, 1e-7
    turned = to_v1(arrays)
    for name, found in arrays.items():
        if name.endswith("_bn"):
            theirs, ours = found[3].astype("float64"), turned[name][3].astype("float64")
            large = theirs > 1e-8
            np.testing.assert_allclose(
                (ours + 1.001e-5)[large], (theirs + 1e-5)[large], rtol=1e-6
            )
            assert (ours >= 0).all()
    arrays["conv1_bn"][3][0] = -1.0
    assert to_v1(arrays)["conv1_bn"][3][0] == -1
    kernel, bias = turned["conv1_conv"]
    assert kernel is arrays["conv1_conv"][0]
    assert bias.shape == (64,)
    assert not bias.any()


def changed(depth=50, **tensors):
    found = {n.replace("__", "."): a for n, a in tensors.items()}
    return {**empty_state_dict(depth), **found}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"vgg.0.weight": np.zeros(3)}, "holds no ResNet of torchvision or timm"),
        (changed(**{"conv1.0.weight": np.zeros((32, 3, 3, 3))}), "is a ResNet-D"),
        (changed(**{"layer1.0.se.fc1.weight": np.zeros((8, 256))}), "is an SE-ResNet"),
        (
            changed(**{"layer1.0.conv2.weight": np.zeros((128, 128, 3, 3))}),
            "is a wide ResNet",
        ),
        (
            changed(**{"layer1.0.conv2.weight": np.zeros((128, 4, 3, 3))}),
            r"is a ResNeXt \(groups of 4",
        ),
        (
            {k: v for k, v in changed().items() if "running" not in k},
            "without batch norm statistics",
        ),
        (changed(**{"conv1.bias": np.zeros(64)}), "'conv1_conv': it has bias, too"),
        (
            changed(**{"layer1.0.conv4.weight": np.zeros((1, 1, 1, 1))}),
            "torchvision's ResNet does not have: 'layer1.0.conv4.weight'",
        ),
        (
            {**changed(), **{f"ema.{n}": a for n, a in changed().items()}},
            "holds 2 networks, under the prefixes '', 'ema.'",
        ),
        (
            {k: v for k, v in changed().items() if k != "bn1.running_var"},
            "'conv1_bn': it lacks running_var",
        ),
    ],
)
def test_other_networks_are_refused_with_what_they_look_like(tensors, message):
    with pytest.raises(kr.WeightsError, match=message):
        to_keras(tensors, PATH)


@pytest.mark.parametrize(
    ("left_out", "added", "message"),
    [
        ("layer4.1.", {}, "Nearest is resnet18v1.5: 4 layers missing"),
        ("none", {"layer4.2.conv1.weight": (512, 512, 3, 3)}, "1 layer too many"),
        ("none", {"conv1.weight": (64, 1, 7, 7)}, r"expected \[\(7, 7, 3, 64\)\]"),
    ],
)
def test_a_network_of_another_shape_is_compared_to_the_nearest(
    left_out, added, message
):
    tensors = {
        n: a for n, a in empty_state_dict(18).items() if not n.startswith(left_out)
    }
    tensors |= {n: np.broadcast_to(np.float32(0), s) for n, s in added.items()}
    arrays, _ = to_keras(tensors, PATH)
    assert identify(shapes(arrays)) is None
    with pytest.raises(kr.WeightsError, match=message):
        check_layout(arrays, PATH)
