"""PyTorch's ResNet checkpoints without PyTorch: names, shapes, and safetensors files."""

import json
import struct

import numpy as np

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
NAMES = {
    "float32": "F32",
    "float16": "F16",
    "float64": "F64",
    "int64": "I64",
    "uint16": "BF16",
}


def shapes_of(depth, classes=3):
    """Shapes of torchvision's state dict by name."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    width, widening = 64, 4 if depth >= 50 else 1
    for stage, blocks in enumerate(BLOCKS[depth]):
        filters = 64 * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            sides = (1, 3, 1) if depth >= 50 else (3, 3)
            before = width
            for number, side in enumerate(sides, 1):
                after = filters * (widening if number == len(sides) else 1)
                shapes[f"{name}.conv{number}.weight"] = (after, before, side, side)
                shapes |= _norm(f"{name}.bn{number}", after)
                before = after
            if width != before:
                shapes[f"{name}.downsample.0.weight"] = (before, width, 1, 1)
                shapes |= _norm(f"{name}.downsample.1", before)
            width = before
    return {**shapes, "fc.weight": (classes, width), "fc.bias": (classes,)}


def _norm(name, width):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts}


def state_dict(depth=18, classes=3, seed=0):
    """Random tensors; variances are positive."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.random(shape, "float32") + 0.1
        for name, shape in shapes_of(depth, classes).items()
    }


def empty_state_dict(depth, classes=3):
    """Tensors of the right shapes that take no memory."""
    shapes = shapes_of(depth, classes)
    return {n: np.broadcast_to(np.float32(0), s) for n, s in shapes.items()}


def write_safetensors(path, tensors):
    """Writes a safetensors file; uint16 stands for bfloat16."""
    header, end = {}, 0
    for name, array in tensors.items():
        dtype = NAMES[str(array.dtype)]
        header[name] = entry_of(end, end + array.nbytes, array.shape, dtype)
        end += array.nbytes
    write_raw_safetensors(path, header, b"".join(a.tobytes() for a in tensors.values()))
    return path


def entry_of(start, stop, shape=(1,), dtype="F32"):
    """The entry of a tensor in the header of a safetensors file."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def write_raw_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path
