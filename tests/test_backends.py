"""What each backend does: the same, or it says that it does not."""

import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import backends, losses, twins
from kerasresnet.losses import CrossEntropy

NAMES = ("tensorflow", "jax", "torch")
ABSENT = [name for name in NAMES if find_spec(name) is None]


class Worker:
    """A process that computes by another backend."""

    def __init__(self, name):
        tests = str(Path(__file__).parent)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "worker"],
            env={**os.environ, "KERAS_BACKEND": name, "PYTHONPATH": tests},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, *task):
        print(*task, file=self.process.stdin, flush=True)

    def wait(self):
        """Until the task is done; TensorFlow prints lines of its own."""
        while not (line := self.process.stdout.readline()).startswith("done"):
            assert line, "the process ended before it was done"


@pytest.fixture
def workers():
    started = {name: Worker(name) for name in NAMES}
    yield started
    for worker in started.values():
        worker.process.stdin.close()
        worker.process.wait()
        worker.process.stdout.close()


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
def test_a_model_trained_on_one_backend_answers_the_same_on_each_other(
    workers, tmp_path
):
    for name, worker in workers.items():
        worker.begin("train", tmp_path / name)
    for worker in workers.values():
        worker.wait()
    for trained in NAMES:
        others = [name for name in NAMES if name != trained]
        files = {name: tmp_path / trained / f"{name}.npz" for name in others}
        for name, file in files.items():
            workers[name].begin("ask", tmp_path / trained, file)
        expected = np.load(tmp_path / trained / "answers.npz")
        assert np.ptp(expected["maps"]) == 1
        for name, file in files.items():
            workers[name].wait()
            found = np.load(file)
            for each in expected:
                scale = max(1.0, np.abs(expected[each]).max())
                np.testing.assert_allclose(
                    found[each] / scale, expected[each] / scale, atol=1e-5, rtol=0
                )


@pytest.fixture
def elsewhere(monkeypatch):
    """Lets the library take TensorFlow for another backend."""
    for module in (backends, losses, twins):
        monkeypatch.setattr(module, "backend", lambda: "jax")
    twins._report_backend.cache_clear()
    yield
    twins._report_backend.cache_clear()


def test_without_folding_keras_computes_the_same_and_the_log_says_so_once(
    small, pixels, monkeypatch, caplog, request
):
    model = small()
    expected = kr.extract_features(
        model, pixels[0], precision="float32", cache="memory", verbose=0
    )
    request.getfixturevalue("elsewhere")
    with caplog.at_level(logging.WARNING):
        found = [
            kr.extract_features(model, pixels[0], stage=stage, cache="memory")
            for stage in ("avg_pool", "conv4")
        ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)
    (record,) = caplog.records
    assert record.getMessage() == (
        "The model is computed by its own layers, which is slower: the backend is jax."
    )


def test_bfloat16_for_a_float32_model_is_refused_where_nothing_is_folded(
    small, pixels, elsewhere
):
    with pytest.raises(ValueError, match=r"the backend is jax.*'mixed_bfloat16'"):
        kr.fit(small(), pixels, precision="bfloat16")


@pytest.mark.core
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow folds")
def test_this_backend_says_once_that_it_does_not_fold(small, pixels, caplog):
    twins._report_backend.cache_clear()
    with caplog.at_level(logging.WARNING):
        kr.extract_features(small(), pixels[0], cache="memory", verbose=0)
        kr.extract_features(small(), pixels[0], cache="memory", verbose=0)
    (record,) = caplog.records
    assert f"the backend is {keras.backend.backend()}" in record.getMessage()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_keras_own_on_every_backend(monkeypatch, smoothing):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 6).astype("float32")
    expected = CrossEntropy(smoothing)(np.arange(6) % 4, probabilities)
    monkeypatch.setattr(losses, "backend", lambda: "jax")
    found = CrossEntropy(smoothing)(np.arange(6) % 4, probabilities)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.core
def test_a_class_that_is_surely_wrong_has_a_gradient():
    def loss(logits):
        return CrossEntropy()(np.array([1]), keras.ops.softmax(logits)), None

    logits = keras.ops.convert_to_tensor([[40.0, 0.0, -5.0]])
    slopes, _ = backends.gradient(loss, logits)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(slopes), [[1, -1, 0]], atol=1e-5
    )


@pytest.mark.core
def test_the_gradient_is_that_of_the_backend_that_computes():
    def cubes(values):
        return keras.ops.sum(values**3), values + 1

    values = keras.ops.convert_to_tensor([1.0, 2.0])
    slopes, more = backends.gradient(cubes, values)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(slopes), [3, 12])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(more), [2, 3])


def test_a_backend_without_gradients_is_refused(monkeypatch):
    monkeypatch.setattr(backends, "backend", lambda: "numpy")
    with pytest.raises(ValueError, match="numpy has no gradients"):
        backends.gradient(None, None)


@pytest.fixture
def hidden(monkeypatch):
    """What TensorFlow, which sees one GPU, is told that it may see; once."""
    found = []
    config = "tensorflow.config."
    monkeypatch.setattr(config + "get_visible_devices", lambda kind: [kind])
    monkeypatch.setattr(
        config + "set_visible_devices", lambda *seen: found.append(seen)
    )
    backends.leave_gpus.cache_clear()
    yield found
    backends.leave_gpus.cache_clear()


def test_tensorflow_leaves_the_gpus_to_another_backend(monkeypatch, hidden, caplog):
    monkeypatch.setattr(backends, "backend", lambda: "torch")
    with caplog.at_level(logging.INFO):
        backends.leave_gpus()
        backends.leave_gpus()
    assert hidden == [([], "GPU")]
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_tensorflow_keeps_the_gpus_that_it_computes_on(monkeypatch, hidden):
    monkeypatch.setattr(backends, "backend", lambda: "tensorflow")
    backends.leave_gpus()
    assert not hidden


def test_a_tensorflow_that_has_the_gpus_already_is_warned_of(
    monkeypatch, hidden, caplog
):
    def refuse(*seen):
        raise RuntimeError("initialized")

    monkeypatch.setattr(backends, "backend", lambda: "jax")
    monkeypatch.setattr("tensorflow.config.set_visible_devices", refuse)
    backends.leave_gpus()
    assert "may hold GPU memory that the backend jax needs" in caplog.text


JAX_CARD = SimpleNamespace(
    platform="gpu", device_kind="NVIDIA H100", compute_capability="9.0"
)
TORCH_CARD = SimpleNamespace(
    is_available=lambda: True,
    get_device_name=lambda number: "NVIDIA H100",
    get_device_capability=lambda number: (9, 0),
)


@pytest.mark.parametrize(
    ("name", "module", "card"),
    [
        ("jax", SimpleNamespace(devices=lambda: [JAX_CARD]), True),
        (
            "jax",
            SimpleNamespace(devices=lambda: [SimpleNamespace(platform="cpu")]),
            False,
        ),
        ("torch", SimpleNamespace(cuda=TORCH_CARD), True),
        (
            "torch",
            SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)),
            False,
        ),
    ],
)
def test_the_gpu_is_the_one_of_the_backend(monkeypatch, name, module, card):
    monkeypatch.setattr(backends, "backend", lambda: name)
    monkeypatch.setitem(sys.modules, name, module)
    assert backends.gpu() == (("NVIDIA H100", (9, 0)) if card else None)
