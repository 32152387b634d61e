"""Lets Keras find this library's classes without loading Keras.

`keras.saving.load_model` knows only classes that were registered. They register
themselves when their modules are imported, which has to happen as soon as Keras itself
is there, and not before: `import kerasresnet` must stay fast.
"""

from collections.abc import MutableMapping, MutableSequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_REGISTERING = ("kerasresnet.losses", "kerasresnet.classifier")


def register_with_keras(
    modules: MutableMapping[str, ModuleType], finders: MutableSequence[Any]
) -> None:
    """Registers the classes now if Keras is loaded, else right after it is.

    Args:
        modules: `sys.modules`.
        finders: `sys.meta_path`.
    """
    if "keras" in modules:
        _register()
    else:
        finders.insert(0, _AfterKeras(finders))


class _AfterKeras(MetaPathFinder):
    """Waits for `import keras`, once."""

    def __init__(self, finders: MutableSequence[Any]) -> None:
        self._finders = finders

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        if name != "keras":
            return None
        self._finders.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    for name in _REGISTERING:
        import_module(name)
