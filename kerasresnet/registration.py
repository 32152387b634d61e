"""Lets Keras find this library's classes without loading Keras.

`keras.saving.load_model` knows only classes that were registered. They register
themselves when their modules are imported, which has to happen as soon as Keras itself
is there, and not before: `import kerasresnet` must stay fast.
"""

from collections.abc import Callable, MutableMapping, MutableSequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, cast

_PREFIX = "kerasresnet."
_REGISTERING = (
    "kerasresnet.losses",
    "kerasresnet.schedules",
    "kerasresnet.classifier",
)


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
    a public name is used.

    Args:
        modules: `sys.modules`.
    """
    ours = [module for name, module in modules.items() if name.startswith(_PREFIX)]
    if not any(getattr(module.__spec__, "_initializing", False) for module in ours):
        for name in _REGISTERING:
            import_module(name)


class _AfterKeras(MetaPathFinder):
    """Waits until Keras has been imported, once."""

    def __init__(
        self,
        modules: MutableMapping[str, ModuleType],
        finders: MutableSequence[Any],
    ) -> None:
        self._modules = modules
        self._finders = finders
        self._searching = False

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> ModuleSpec | None:
        if name != "keras" or self._searching:
            return None
        self._searching = True
        try:
            spec = find_spec(name)  # by all the other finders
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._loaded)
        return spec

    def _loaded(self) -> None:
        if self in self._finders:
            self._finders.remove(self)
        register(self._modules)


class _Loader(Loader):
    """Another loader, and a call when it is done."""

    def __init__(self, loader: Any, done: Callable[[], None]) -> None:
        self._loader = loader
        self._done = done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return cast("ModuleType | None", self._loader.create_module(spec))

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._done()
