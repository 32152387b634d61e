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

_PREFIX = "kerasresnet."
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
        register(modules)
    else:
        finders.insert(0, _AfterKeras(modules, finders))


def register(modules: MutableMapping[str, ModuleType]) -> None:
    """Registers the classes, unless one of our own modules is half imported.

    In that case it was that module which imported Keras. The package calls again when
    the import is through.

    Args:
        modules: `sys.modules`.
    """
    ours = [module for name, module in modules.items() if name.startswith(_PREFIX)]
    if not any(getattr(module.__spec__, "_initializing", False) for module in ours):
        for name in _REGISTERING:
            import_module(name)


class _AfterKeras(MetaPathFinder):
    """Waits for `import keras`, once."""

    def __init__(
        self,
        modules: MutableMapping[str, ModuleType],
        finders: MutableSequence[Any],
    ) -> None:
        self._modules = modules
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
            register(self._modules)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
