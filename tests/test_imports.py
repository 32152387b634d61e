"""The order of the modules, the public table, and what loading the package costs."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import kerasresnet as kr

PACKAGE = Path(kr.__file__).parent
ORDER = [
    "_version",
    "registration",
    "errors",
    "intervals",
    "scores",
    "markup",
    "summaries",
    "charts",
    "markdown",
    "catalogue",
    "disk",
    "decoding",
    "checkpoints",
    "thumbnails",
    "notebooks",
    "looks",
    "duplicates",
    "audit",
    "index",
    "arrays",
    "threads",
    "solutions",
    "solving",
    "curves",
    "extrapolation",
    "splits",
    "balance",
    "schedules",
    "durations",
    "ranges",
    "rules",
    "recipes",
    "division",
    "cifar",
    "folders",
    "tables",
    "corrections",
    "images",
    "alterations",
    "mixing",
    "backends",
    "augmentation",
    "pixels",
    "datasets",
    "pipeline",
    "releases",
    "containers",
    "downloads",
    "layouts",
    "keras_files",
    "state_dicts",
    "conversion",
    "weights",
    "losses",
    "resnets",
    "backbones",
    "cutting",
    "freezing",
    "options",
    "certainty",
    "classifier",
    "building",
    "backbone_files",
    "artifacts",
    "imagenet",
    "keeping",
    "recording",
    "compiling",
    "pacing",
    "preparing",
    "inputs",
    "precision",
    "wiring",
    "folding",
    "twins",
    "caching",
    "shards",
    "upkeep",
    "inventory",
    "extraction",
    "features",
    "feeding",
    "sentinels",
    "penalties",
    "nesting",
    "probing",
    "rounds",
    "training",
    "rates",
    "candidates",
    "heads",
    "prediction",
    "answers",
    "assessment",
    "tabulation",
    "explanation",
    "labelling",
    "sections",
    "pages",
    "reporting",
    "evaluation",
    "comparison",
    "validating",
    "learning_curves",
    "neighbours",
    "calibration",
    "abstention",
    "familiarity",
    "figures",
    "diagrams",
    "galleries",
    "plots",
    "sinks",
    "trackers",
    "manifests",
    "notes",
    "cards",
    "measuring",
    "deadlines",
    "resuming",
    "jobs",
    "trainer",
    "runs",
    "run_reports",
    "reproducing",
    "doctor",
    "demo",
    "train_arguments",
    "arguments",
    "startup",
    "cli",
]
MODULES = sorted(
    path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")
)


def own_imports(module):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    return {
        node.module.split(".")[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("kerasresnet.")
    }


def test_the_order_lists_every_module():
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module):
    assert own_imports(module) <= set(ORDER[: ORDER.index(module)])


@pytest.mark.parametrize("module", [*MODULES, "__init__", "__main__"])
def test_own_imports_have_the_form_that_the_order_test_sees(module):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("kerasresnet") for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module != "kerasresnet"


def test_only_freezing_assigns_trainable():
    assigned = {
        module
        for module in MODULES
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text("utf-8")))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr == "trainable"
    }
    assert assigned == {"freezing"}


def test_the_lazy_table_and_all_hold_the_same_names():
    assert {*kr._HOME, "__version__"} == set(kr.__all__)
    assert set(kr.__all__) == set(dir(kr))


def test_every_public_name_is_the_one_of_its_module():
    for name, module in kr._HOME.items():
        assert getattr(kr, name) is getattr(sys.modules[f"kerasresnet.{module}"], name)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = kr.no_such_name


@pytest.mark.parametrize(
    "code",
    [
        "import kerasresnet",
        "import kerasresnet.cli as c; c.build_parser().format_help()",
        "import kerasresnet as kr; kr.ImageData",
    ],
)
def test_neither_keras_nor_tensorflow_is_loaded_before_it_is_needed(code):
    check = "import sys; print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "[]"


def test_importing_the_package_takes_a_small_part_of_importing_keras():
    # Side by side in one process, and far apart: 0.03 s against 3 s.
    code = (
        "import time; a = time.perf_counter(); import kerasresnet; "
        "b = time.perf_counter(); import keras; c = time.perf_counter(); "
        "print(b - a, c - b)"
    )
    start = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    ours, keras_own = map(float, answer.stdout.split()[-2:])
    assert ours < keras_own / 4 < time.perf_counter() - start
