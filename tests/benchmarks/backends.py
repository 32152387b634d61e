"""Images per second of ResNet50's trunk and of a training step, on each of Keras's backends.

On a GPU:  python tests/benchmarks/backends.py --peers PYTHON --batches 64,128,256,512
On a CPU:  python tests/benchmarks/backends.py --peers PYTHON --batches 32 --passes 3
Quick:     python tests/benchmarks/backends.py --batches 4 --image-size 64 --passes 1

PYTHON has JAX and PyTorch; a backend that is not installed is left out and named. All in
bfloat16, random weights and pixels that lie on the device already. `trunk` ends with the
pooled features; `step` is Keras's own `train_on_batch` of all layers but batch norm.
`ours` is the trunk and the step as kerasresnet's `fit` runs them, on TensorFlow alone.
`product` is a product of two square bfloat16 matrices, as the backend does it; the shares
are of the fastest of these. Multiplications and their additions count as two.
"""

import statistics
import sys
import time

import sides

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
NAMES = ("product", "trunk", "step", "ours")
GFLOP = 2 * 3.856  # ResNet50's trunk, one image of 224 px
SIDE = {"gpu": 8192, "cpu": 4096}  # of the matrices


# Sides ----------------------------------------------------------------------------


def product(settings):
    """Multiplies matrices."""
    import keras

    del settings
    on = _device()
    side = SIDE[on]
    left, right = (
        keras.ops.cast(keras.random.normal((side, side), seed=seed), "bfloat16")
        for seed in (0, 1)
    )
    multiply = _compiled(keras.ops.matmul)
    seconds = _median(lambda: multiply(left, right), times=20)
    return {"rate": 2 * side**3 / 1e9 / seconds, "device": on}


def trunk(settings):
    """One pass through the frozen trunk, by Keras's own layers."""
    kr, images, _ = _begin(settings)
    cut, _ = kr.split_at(_model(kr, settings), "avg_pool")
    run = _forward(cut)
    return _rate(settings, lambda: run(images))


def step(settings):
    """A training step of all layers, by Keras."""
    kr, images, labels = _begin(settings)
    model = _model(kr, settings)
    kr.set_trainable(model, "conv1")
    kr.compile_classifier(model, optimizer="sgd", learning_rate=1e-4)
    return _rate(settings, lambda: model.train_on_batch(images, labels)[0])


def ours(settings):
    """The trunk as `extract_features` and `fit` compute it."""
    from kerasresnet.twins import Trunk

    kr, images, _ = _begin(settings, policy="float32")
    images = images.numpy().astype("uint8")
    one_pass = Trunk(_model(kr, settings), "avg_pool", "bfloat16")
    return _rate(settings, lambda: one_pass.features(images))


# What they share ------------------------------------------------------------------


def _begin(settings, policy="mixed_bfloat16"):
    import keras

    import kerasresnet as kr

    keras.config.set_dtype_policy(policy)
    size, batch = settings["image_size"], settings["batch"]
    images = keras.random.uniform((batch, size, size, 3), 0, 255, seed=0)
    return kr, images, keras.ops.arange(batch) % 5


def _model(kr, settings):
    size = settings["image_size"]
    return kr.build_classifier(5, weights=None, input_shape=(size, size, 3))


def _device():
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return "gpu" if torch.cuda.is_available() else "cpu"
    if backend == "jax":
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "gpu"
    import tensorflow as tf

    return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"


def _forward(model):
    """Returns a compiled function of a batch, with the weights as arguments in JAX."""
    import keras

    if keras.backend.backend() != "jax":
        return _compiled(lambda images: model(images, training=False))
    import jax

    trained, still = (
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    run = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])
    return lambda images: run(trained, still, images)


def _compiled(function):
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "torch":
        import torch

        return torch.inference_mode()(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=_device() == "gpu")


def _rate(settings, work):
    seconds = _median(work, times=settings["passes"])
    return {"rate": settings["batch"] / seconds, "device": _device()}


def _median(work, *, times):
    import keras

    found = []
    for _ in range(times + 2):
        start = time.perf_counter()
        # A value is fetched, so that a device that answers early is waited for.
        float(keras.ops.cast(keras.ops.ravel(work())[0], "float32"))
        found.append(time.perf_counter() - start)
    return statistics.median(found[2:])


# Running them ---------------------------------------------------------------------


def main():
    """Runs the sides in turn, and prints the tables."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    sides.add_peers(made)
    made.add_argument("--backends", default=",".join(BACKENDS))
    made.add_argument("--batches", default="64,128,256,512")
    made.add_argument("--image-size", type=int, default=224, help="in px")
    made.add_argument("--passes", type=int, default=10)
    options = made.parse_args()
    print(f"{sides.machine()}\nResNet50 at {options.image_size} px, bfloat16\n")
    results = {}
    for title, side in _sides(options):
        found = sides.measure(__file__, [side], options)[title]
        results[title] = found[0]
        if "absent" in found[0]:
            print(f"{title}: {found[0]['absent']} is not installed")
    _report(results, options)


def _sides(options):
    for backend in options.backends.split(","):
        # TensorFlow is measured here, the others where they are installed.
        python = sys.executable if backend == "tensorflow" else options.peers
        for name in sides.chosen(options, NAMES):
            if name == "ours" and backend != "tensorflow":
                continue
            for batch in [0] if name == "product" else options.batches.split(","):
                title = f"{BACKENDS[backend]}, {name}" + (f", {batch}" if batch else "")
                settings = {
                    "batch": int(batch),
                    "image_size": options.image_size,
                    "passes": options.passes,
                }
                yield title, sides.Side(title, name, settings, python, backend)


def _report(results, options):
    good = {title: found for title, found in results.items() if "rate" in found}
    products = [found["rate"] for title, found in good.items() if "product" in title]
    peak = max(products, default=None)
    gflop = GFLOP * (options.image_size / 224) ** 2
    rows = []
    for title, found in good.items():
        # A step computes what a pass does, and two gradients.
        work = {"step": 3 * gflop}.get(title.split(", ")[1], gflop)
        is_product = "product" in title
        speed = found["rate"] if is_product else found["rate"] * work
        images = "-" if is_product else f"{found['rate']:,.1f}"
        share = f"{speed / peak:.0%}" if peak else "-"
        rows.append([title, found["device"], images, f"{speed:,.0f}", share])
    header = ["side, batch", "device", "images/s", "GFLOP/s", "of the fastest product"]
    print(f"\n{sides.markdown(header, rows)}")
    if all(found["device"] == "cpu" for found in good.values()):
        print("\nNo GPU was at hand: these are a CPU's numbers.")


if __name__ == "__main__" and not sides.serve((product, trunk, step, ours)):
    main()
