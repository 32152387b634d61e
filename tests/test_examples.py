"""Every example runs on small data and says what it should; so does the notebook."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import backbones, weights

EXAMPLES = Path(__file__).parents[1] / "examples"
# Each stands for a tutorial, but for the one that makes weights.
SCRIPTS = sorted(
    path.name for path in EXAMPLES.glob("*.py") if path.name != "pretrain.py"
)
PNG = b"\x89PNG"


def load_example(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_example(name, *arguments):
    load_example(name).main([str(argument) for argument in arguments])


def result_lines(text):
    """What an example printed, from its accuracy on."""
    return text[text.index("\naccuracy  ") :].splitlines()[1:]


def upsampled(data, out):
    settings = ["--data", data, "--weights", "none", "--epochs", 1, "--out", out]
    return [*settings, "--limit", 10, "--batch-size", 10, "--upsample-to", 64]


@pytest.fixture
def small_network(monkeypatch):
    """Puts the stand-in in ResNet50's place: the scripts are tested, not the network.

    The script that classifies, which runs in a process of its own, has the real one.
    """
    small = backbones.BACKBONES["small"]
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", small)


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    """Twenty images that look like CIFAR-10's arrays, ten in each split."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 32, 3), "uint8")
    labels = np.arange(10)[:, None]
    path = tmp_path_factory.mktemp("cifar10") / "cifar10.npz"
    splits = {"x_train": images[:10], "x_test": images[10:]}
    np.savez(path, y_train=labels, y_test=labels, **splits)
    return path


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_is_short_and_says_what_the_tutorial_gets_wrong(name):
    text = (EXAMPLES / name).read_text("utf-8")
    assert 40 <= len(text.splitlines()) <= 120
    said = ast.get_docstring(ast.parse(text))
    assert "utorial" in said
    assert "wrong" in said or "not plausible" in said
    assert f"python examples/{name} " in said
    for option in ("--data", "--limit", "--weights", "--out"):
        assert f'"{option}"' in text


@pytest.mark.usefixtures("small_network")
def test_one_hot_labels_train_the_same_frozen_model(cifar10, tmp_path, capsys):
    printed, heads = [], []
    for kind in ([], ["--one-hot"]):
        out = tmp_path / f"out{len(kind)}"
        settings = ["--data", cifar10, "--weights", "none", "--epochs", 1, "--out", out]
        run_example("cifar10_frozen.py", *settings, *kind)
        printed.append(capsys.readouterr().out)
        heads.append(weights.read_weights(out / "model.keras").arrays["predictions"])
        assert (out / "history.png").read_bytes().startswith(PNG)
    integers, one_hot = printed
    assert "labels: integers\n" in integers
    assert "labels: one-hot rows\n" in one_hot
    assert "images)" in result_lines(integers)[0]
    assert result_lines(integers)[:-1] == result_lines(one_hot)[:-1]
    for left, right in zip(*heads, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("small_network")
def test_upsampled_trains_all_but_batch_norm(cifar10, tmp_path, capsys):
    run_example("cifar10_upsampled.py", *upsampled(cifar10, tmp_path))
    said = capsys.readouterr().out
    counts = re.search(r"parameters: ([\d,]+), trained: ([\d,]+)\n", said).groups()
    total, trained = (int(count.replace(",", "")) for count in counts)
    saved = weights.read_weights(tmp_path / "model.keras").arrays
    norms = [
        value
        for name, values in saved.items()
        if name[-3:] == "_bn"
        for value in values
    ]
    assert total - trained == sum(value.size for value in norms)
    assert "of 10 images)" in result_lines(said)[0]
    assert (tmp_path / "history.png").read_bytes().startswith(PNG)


# W&B starts a process and threads of its own, which warn as they like.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_network")
def test_upsampled_logs_to_wandb_offline(cifar10, tmp_path, capsys, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run_example("cifar10_upsampled.py", *upsampled(cifar10, tmp_path), "--wandb")
    said = capsys.readouterr().out
    folder = Path(re.search(r"^wandb: offline run in (.+)$", said, re.MULTILINE)[1])
    assert folder.is_relative_to(tmp_path)
    (log,) = folder.glob("*.wandb")
    give_up = time.monotonic() + 20  # W&B's own process writes, in its own time
    while b"epoch/val_accuracy" not in log.read_bytes():
        assert time.monotonic() < give_up, log.read_bytes()
        time.sleep(0.2)


def test_upsampled_says_how_to_get_wandb(cifar10, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SystemExit, match=r"pip install '\.\[wandb\]'"):
        run_example(
            "cifar10_upsampled.py", "--wandb", "--data", cifar10, "--out", tmp_path
        )


@pytest.mark.usefixtures("small_network")
def test_flowers_names_a_photo_and_saves_figures(flower_folder, tmp_path, capsys):
    settings = ["--data", flower_folder, "--weights", "none", "--out", tmp_path]
    run_example("flowers.py", *settings, "--epochs", 1, "--limit", 10)
    said = capsys.readouterr().out
    assert "train: {'daisy': 2, 'dandelion': 2, 'roses': 2," in said
    named = re.search(r"daisy/daisy_\d+\.jpg is most likely a photo of (\w+), ", said)
    assert named[1] in ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert (tmp_path / "flowers.keras").is_file()
    for figure in ("photos", "history", "confusion", "prediction"):
        assert (tmp_path / f"{figure}.png").read_bytes().startswith(PNG)


@pytest.mark.usefixtures("small_network")
def test_every_pitfall_of_a_new_head_is_caught(tmp_path, capsys):
    settings = ["--weights", "none", "--epochs", 1, "--limit", 10, "--out", tmp_path]
    run_example("replace_head.py", *settings)
    said = capsys.readouterr().out
    assert re.search(r"new head: \d+ features -> 5 classes\n", said)
    assert re.search(r"1. batch norm: \d+ arrays, bit-equal\n", said)
    assert "2. divided by 255, refused: Pixel values run from 0 to 1" in said
    assert "3. head not replaced, refused: The data has 5 classes" in said
    assert "4. flags changed, refused: `.trainable` was" in said
    assert re.search(r"done right: \d+ tensors trained\n", said)
    first, second = re.findall(r"order .*: (\d+\.\d) ?%", said)
    assert first == second
    assert "daisy, dandelion, roses, sunflowers, tulips, same answers: True\n" in said
    assert (tmp_path / "model.keras").is_file()


def test_classify_imagenet_runs_as_a_script(flower_folder, tmp_path):
    command = [sys.executable, EXAMPLES / "classify_imagenet.py", "--weights", "none"]
    command += ["--data", flower_folder / "roses", "--limit", "2", "--out", tmp_path]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "RANDOM WEIGHTS: the answers below are meaningless.\n" in done.stdout
    for number in (0, 1):
        assert (
            f"{flower_folder / 'roses' / f'roses_{number:03d}.jpg'}\n1. " in done.stdout
        )
    assert len(re.findall(r"^[123]\. \S+.*: \d+\.\d\d%$", done.stdout, re.M)) == 6
    assert (tmp_path / "predictions.png").read_bytes().startswith(PNG)


@pytest.mark.usefixtures("small_network")
def test_pretrain_makes_weights_that_another_size_takes(flower_folder, tmp_path):
    settings = ["--data", flower_folder, "--backbone", "resnet50", "--out", tmp_path]
    run_example("pretrain.py", *settings, "--sizes", 32, 48, "--epochs", 1)
    assert (tmp_path / "history_48px.png").read_bytes().startswith(PNG)
    trained = kr.load(tmp_path / "model.keras")
    assert trained.image_size == (48, 48)
    file = tmp_path / "backbone.weights.h5"
    model = kr.build_classifier(2, weights=file, input_shape=(48, 48, 3))
    photos = kr.ImageData.from_folder(flower_folder).take(10)
    features = [
        kr.extract_features(each, photos, precision="float32")
        for each in (trained, model)
    ]
    np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-5)


def test_the_twin_on_torch_trains_by_a_loop_and_by_fit(cifar10, tmp_path):
    pytest.importorskip("torch", reason="its loop is PyTorch's")
    pytest.importorskip("tqdm")
    for how in ("loop", "fit"):
        settings = upsampled(cifar10, tmp_path / how)
        script = [EXAMPLES / "cifar10_torch.py", "--how", how, *settings]
        command = [sys.executable, *map(str, script), "--backbone", "resnet18"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert result_lines(done.stdout)
        assert (tmp_path / how / "model.keras").exists()


AT_START = """
import sys
sys.path.insert(0, {tests!r})
import conftest
conftest.backbones.BACKBONES["resnet50"] = conftest.backbones.BACKBONES["small"]
del sys, conftest
"""


def put_small_network_into_notebooks(ipython):
    """Lets every process of IPython begin with the stand-in in ResNet50's place."""
    startup = ipython / "profile_default" / "startup"
    startup.mkdir(parents=True)
    code = AT_START.format(tests=str(Path(__file__).parent))
    (startup / "small.py").write_text(code, "utf-8")


# nbclient starts a process and sockets of its own, whose libraries warn as they like.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_stores_no_output(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    put_small_network_into_notebooks(tmp_path / "IPYTHONDIR")
    where = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=120, resources=where)
    client.execute(env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    outputs = [output for cell in cells for output in cell.outputs]
    shown = [o["data"] for o in outputs if "data" in o]
    assert "image/png" in shown[0]
    assert sum("image/png" in data for data in shown) == 6
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert len(tables) == 4  # images, audit, report, prediction
    assert all("<table" in table for table in tables)
    assert "95 % interval" in tables[2]
    results = tmp_path / "quickstart"
    assert (results / "flowers.keras").is_file()
    assert (results / "report.html").read_text("utf-8").count("<section") == 7
