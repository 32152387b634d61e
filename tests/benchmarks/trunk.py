"""Images per second of one pass of the frozen ResNet50, up to the pooled features.

Run it:  python tests/benchmarks/trunk.py --runs 3 --peers PYTHON
Quick:   python tests/benchmarks/trunk.py --runs 1 --photos 32 --passes 1

Random weights and pixels, batch 32, in memory. kerasresnet is given uint8 pixels and
preprocesses them; the others are given what is preprocessed already. Each process makes
two passes that do not count and then `--passes` that do. As the machine's peak counts
the faster of TensorFlow's and PyTorch's bfloat16 matrix products of 4096 x 4096, which
take their turn like the other sides. Neither is the hardware's limit: on a machine that
others use, too, a share above 100 % says that the products met busier moments.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import sides

NAMES = {
    "ours": "kerasresnet",
    "float32": "Keras predict, float32",
    "mixed": "Keras predict, mixed_bfloat16",
    "onnxruntime": "ONNX Runtime, float32",
    "openvino": "OpenVINO, bfloat16",
    "compiled": "PyTorch compiled, bfloat16",
    "eager": "PyTorch eager, bfloat16",
    "product": "matrix product, TensorFlow",
    "torch_product": "matrix product, PyTorch",
}
PRODUCTS = (NAMES["product"], NAMES["torch_product"])
PEERS = ("onnxruntime", "openvino", "compiled", "eager", "torch_product")
BATCH = 32
SIDE = 4096  # of the matrices


# kerasresnet and Keras ------------------------------------------------------------


def ours(settings):
    """Runs the trunk of kerasresnet."""
    kr = sides.load_library()
    size = settings["image_size"]
    model = kr.build_classifier(5, weights=None, input_shape=(size, size, 3))
    _give_statistics(model)
    one_pass = _our_pass(model)
    batches = [
        (255 * batch).astype("uint8")
        for batch in _batches(settings, channels_last=True)
    ]
    return _rate(settings, lambda: [one_pass(batch) for batch in batches])


def _our_pass(model):
    """Returns the function from a batch of uint8 images to features.

    The only place here that knows the inside of kerasresnet. `kr.extract_features` does
    the same, but reads data, traces and caches around it, which is not measured here.
    """
    from kerasresnet.twins import Trunk

    return Trunk(model, "avg_pool").features


def predict(settings):
    """Runs the trunk by Keras's own predict."""
    import keras
    import numpy as np

    keras.config.set_dtype_policy(settings["policy"])
    size = settings["image_size"]
    model = keras.applications.ResNet50(
        include_top=False, pooling="avg", weights=None, input_shape=(size, size, 3)
    )
    _give_statistics(model)
    images = np.concatenate(_batches(settings, channels_last=True))
    return _rate(settings, lambda: model.predict(images, batch_size=BATCH, verbose=0))


def product(settings):
    """Measures TensorFlow's matrix product, and counts what the trunk computes."""
    import keras
    import tensorflow as tf

    multiply = tf.function(tf.linalg.matmul)
    left, right = (
        tf.cast(tf.random.normal((SIDE, SIDE), seed=seed), "bfloat16")
        for seed in (0, 1)
    )
    size = settings["image_size"]
    model = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    # One value is read, so that a device that answers early is waited for.
    speeds = _speeds(lambda: multiply(left, right)[0, 0].numpy())
    return speeds | {"gflop_per_image": _gflop(model)}


def torch_product(settings):
    """Measures PyTorch's matrix product."""
    import torch

    torch.set_num_threads(sides.cores())
    left, right = (torch.randn(SIDE, SIDE).bfloat16() for _ in range(2))
    return _speeds(lambda: left @ right)


def _speeds(multiply):
    seconds = [_seconds(multiply) for _ in range(22)][2:]
    gflop = 2 * SIDE**3 / 1e9
    return {"gflops": gflop / statistics.median(seconds), "best": gflop / min(seconds)}


def _gflop(model):
    """What the convolutions compute for one image; a multiply-add counts as two."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel_size") and hasattr(layer, "kernel"):
            _, rows, columns, _ = layer.output.shape
            total += 2 * rows * columns * layer.kernel.numpy().size
    return total / 1e9


def _give_statistics(model):
    """Gives batch normalisation values that no compiler can drop."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.1, shape))
            layer.moving_mean.assign(rng.normal(0, 0.1, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))


# Peers ----------------------------------------------------------------------------


def onnxruntime(settings):
    """Runs the trunk in ONNX Runtime."""
    import onnx  # noqa: F401 - what torch exports with
    import onnxruntime
    import torch
    import torch_resnet

    model = torch_resnet.trunk(sides.cores())
    batches = _batches(settings, channels_last=False)
    limits = onnxruntime.SessionOptions()
    limits.intra_op_num_threads = sides.cores()
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "trunk.onnx")
        torch.onnx.export(
            model,
            torch.from_numpy(batches[0]),
            file,
            input_names=["images"],
            dynamo=False,
        )
        session = onnxruntime.InferenceSession(
            file, limits, providers=["CPUExecutionProvider"]
        )
    return _rate(
        settings, lambda: [session.run(None, {"images": batch}) for batch in batches]
    )


def openvino(settings):
    """Runs the trunk in OpenVINO."""
    import openvino
    import torch
    import torch_resnet

    batches = _batches(settings, channels_last=False)
    model = openvino.convert_model(
        torch_resnet.trunk(sides.cores()), example_input=torch.from_numpy(batches[0])
    )
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": sides.cores(),
        },
    )
    return _rate(settings, lambda: [compiled(batch) for batch in batches])


def compiled(settings):
    """Runs the trunk in PyTorch, compiled, with frozen weights."""
    import torch
    from torch._inductor import config

    config.freezing = True
    return _in_torch(settings, torch.compile)


def eager(settings):
    """Runs the trunk in PyTorch as it is."""
    return _in_torch(settings, lambda model: model)


def _in_torch(settings, prepared):
    import torch
    import torch_resnet

    model = torch_resnet.trunk(sides.cores()).to(memory_format=torch.channels_last)
    batches = [
        torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        for batch in _batches(settings, channels_last=False)
    ]
    run = prepared(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return _rate(settings, lambda: [run(batch) for batch in batches])


# What they share ------------------------------------------------------------------


def _batches(settings, *, channels_last):
    """Float32 batches in 0..1; their values do not matter for the time."""
    import numpy as np

    rng = np.random.default_rng(0)
    size = settings["image_size"]
    shape = (BATCH, size, size, 3) if channels_last else (BATCH, 3, size, size)
    return [rng.random(shape, "float32") for _ in range(settings["batches"])]


def _rate(settings, one_pass):
    for _ in range(2):
        one_pass()
    seconds = [_seconds(one_pass) for _ in range(settings["passes"])]
    images = settings["batches"] * BATCH
    return {"images_per_second": images / statistics.median(seconds)}


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    """Runs the sides in turn and prints the tables."""
    options = _options()
    batches = max(1, options.photos // BATCH)
    shared = {
        "batches": batches,
        "image_size": options.image_size,
        "passes": options.passes,
    }
    policies = {"float32": "float32", "mixed": "mixed_bfloat16"}
    print(
        f"{sides.machine()}\n{batches * BATCH} images at {options.image_size} px, batch "
        f"{BATCH}, random weights\n"
    )
    chosen = [
        sides.Side(
            NAMES[name],
            "predict" if name in policies else name,
            shared | {"policy": policies.get(name)},
            options.peers if name in PEERS else sys.executable,
        )
        for name in sides.chosen(options, NAMES)
    ]
    results = sides.measure(__file__, chosen, options)
    products = {name: results.pop(name) for name in PRODUCTS if name in results}
    if results:
        print("\nImages per second:\n")
        references = [NAMES["float32"], NAMES["mixed"]]
        print(sides.table(results, "images_per_second", references=references))
    if products:
        print("\nGFLOP/s of a matrix product in bfloat16, median in each run:\n")
        print(sides.table(products, "gflops", references=[], extra="best"))
        print(f"\n{_shares(results, products)}")


def _shares(results, products):
    """Each side's GFLOP/s as a share of the faster matrix product's."""
    medians = [sides.median_of(products, name, "gflops") for name in products]
    peak = max((median for median in medians if median), default=None)
    gflop = sides.median_of(products, NAMES["product"], "gflop_per_image")
    if gflop is None:
        return "What the trunk computes is counted by the side 'product'."
    rows = []
    for title in results:
        rate = sides.median_of(results, title, "images_per_second")
        if rate:
            rows.append([title, f"{rate * gflop:,.0f}", f"{rate * gflop / peak:.0%}"])
    return (
        f"The trunk takes {gflop:.2f} GFLOP for an image; the faster product does "
        f"{peak:,.0f} GFLOP/s:\n\n"
        + sides.markdown(["side", "GFLOP/s", "of that product"], rows)
    )


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=NAMES)
    sides.add_images(made, photos=256)
    sides.add_peers(made)
    made.add_argument("--passes", type=int, default=3, help="measured, in each process")
    return made.parse_args()


FUNCTIONS = (
    ours,
    predict,
    onnxruntime,
    openvino,
    compiled,
    eager,
    product,
    torch_product,
)

if __name__ == "__main__" and not sides.serve(FUNCTIONS):
    main()
