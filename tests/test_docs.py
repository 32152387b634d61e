"""What the documentation shows is true: code runs, commands parse, names exist."""

import doctest
import hashlib
import io
import pickle
import re
import shlex
import tarfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr
from kerasresnet import backbones, releases
from kerasresnet.arguments import build_parser
from kerasresnet.cifar import CLASS_NAMES

ROOT = Path(__file__).parents[1]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text("utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
MODULES = [f"kerasresnet.{module.name}" for module in iter_modules(kr.__path__)]
EXAMPLES = [
    example
    for name in MODULES
    for example in doctest.DocTestFinder(exclude_empty=True).find(
        import_module(name), extraglobs={"kr": kr, "np": np}
    )
    if example.examples
]
FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def _blocks(text, *languages):
    """Pairs of line number and code of the fenced blocks in one of the languages."""
    return [
        (text.count("\n", 0, found.start(3)), found[3])
        for found in FENCE.finditer(text)
        if found[2] in languages
    ]


def _commands(text):
    """The argument lists of all `kerasresnet` commands in a page."""
    for _, code in _blocks(text, "console", "shell", "bash", "sh"):
        for line in code.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line.strip().removeprefix("$ ")):
                words = shlex.split(part.split(" > ")[0], comments=True)
                if words[:3] == ["python", "-m", "kerasresnet"]:
                    words = words[2:]
                if words[:1] == ["kerasresnet"]:
                    yield words[1:]


def _take_small(monkeypatch):
    """Puts the small stand-in, which has the same stages, in ResNet50's place."""
    small = backbones.BACKBONES["small"]
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", small)


def _choose_network(text, monkeypatch):
    """Lets code that trains, predicts or loads do so on the small stand-in.

    To trace ResNet50 takes seconds for each `fit`; other code gets the real graph.
    """
    if re.search(
        r"\b(fit|fine_tune|probe|train|find_learning_rate|sweep_heads|cross_validate|learning_curve"
        r"|label_issues|evaluate|calibrate|predict|load)\(",
        text,
    ):
        _take_small(monkeypatch)


def _write_keras2(path, layers):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            values = {str(i): w for i, w in enumerate(layer.get_weights())}
            group.attrs["weight_names"] = list(values)
            for name, value in values.items():
                group[name] = value


def _fill_cache(folder, monkeypatch):
    """Makes `weights="imagenet"` find files of the right form, but random values.

    The published ones are 200 MB to download. The MD5s that are pinned for them give
    way to those of the stand-ins.
    """
    monkeypatch.setenv("KERAS_HOME", str(folder))
    (folder / "models").mkdir(parents=True)
    network = kr.imagenet_classifier(weights=None)
    layers = [layer for layer in network.layers if layer.weights]
    for key, some in ((True, layers), (False, layers[:-1])):
        file = releases.PINNED["resnet50", key]
        path = folder / "models" / file.name
        _write_keras2(path, some)
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(releases.PINNED, ("resnet50", key), replace(file, md5=md5))


@pytest.fixture
def photo_folder(flower_folder, tmp_path, monkeypatch):
    """A current folder with the photos that pages and docstrings speak of."""
    monkeypatch.chdir(tmp_path)
    Path("flower_photos").symlink_to(flower_folder)
    some = sorted(flower_folder.glob("*/*_000.jpg"))
    Path("new_photos").mkdir()
    for photo in some:
        (Path("new_photos") / photo.name).write_bytes(photo.read_bytes())
    Path("photo.jpg").write_bytes(some[0].read_bytes())
    return tmp_path


@pytest.fixture
def cifar10(photo_folder, monkeypatch):
    """CIFAR-10 in miniature: as Keras downloads it, and in each local layout."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 32, 32, 3), "uint8")
    train, test = (images[:50], np.arange(50) % 10), (images[50:], np.arange(10))
    columns = [(x, y[:, None]) for x, y in (train, test)]
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: tuple(columns))
    data = photo_folder / "data"
    (data / "cifar-10-batches-py").mkdir(parents=True)
    batches = {f"data_batch_{i + 1}": [p[i::5] for p in train] for i in range(5)}
    with tarfile.open(data / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, (x, y) in {**batches, "test_batch": test}.items():
            rows = x.transpose(0, 3, 1, 2).reshape(-1, 3072)
            content = pickle.dumps({b"data": rows, b"labels": y.tolist()})
            (data / "cifar-10-batches-py" / name).write_bytes(content)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    arrays = {"x_train": train[0], "y_train": train[1], "x_test": test[0]}
    np.savez(data / "cifar10.npz", **arrays, y_test=test[1])
    for subset, part in (("train", train), ("test", test)):
        for number, (image, label) in enumerate(zip(*part, strict=True)):
            folder = data / "cifar10_photos" / subset / CLASS_NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")


@pytest.mark.parametrize("page", [p for p in PAGES if _blocks(PAGES[p], "python")])
@pytest.mark.usefixtures("cifar10")
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    _take_small(monkeypatch)
    _fill_cache(tmp_path / "keras_home", monkeypatch)
    namespace = {"__name__": "__main__"}
    for line, code in _blocks(PAGES[page], "python"):
        exec(compile("\n" * line + code, page, "exec"), namespace)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
@pytest.mark.usefixtures("photo_folder")
def test_the_example_of_a_docstring_runs(example, monkeypatch):
    _choose_network(example.docstring, monkeypatch)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    said = io.StringIO()
    result = doctest.DocTestRunner(optionflags=options).run(example, out=said.write)
    assert result.failed == 0, said.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [words for text in PAGES.values() for words in _commands(text)],
    ids=" ".join,
)
def test_a_command_of_a_page_is_understood(arguments):
    try:
        build_parser().parse_args(arguments)
    except SystemExit as stop:
        if stop.code:  # --help and --version answer and stop with 0
            pytest.fail(f"kerasresnet does not understand {arguments}")


def test_public_names_and_the_reference_agree():
    page = PAGES["docs/api.md"]
    documented = re.findall(r"^::: kerasresnet\.(\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(kr._HOME)
    assert set(documented) == set(kr.__all__) - {"__version__"}


def test_every_page_is_in_the_menu():
    menu = (ROOT / ".ci" / "mkdocs.yml").read_text("utf-8")
    pages = {Path(page).name for page in PAGES if page.startswith("docs/")}
    assert set(re.findall(r"[\w-]+\.md", menu)) == pages


def test_the_table_of_modules_lists_every_module():
    table = PAGES["docs/design.md"].split("## The modules")[1].split("## One owner")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    public = [name.removeprefix("kerasresnet.") for name in MODULES if "._" not in name]
    assert sorted(listed) == sorted(public)
