"""The classifier: a `keras.Model` that knows its class names and preprocesses inside."""

import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import keras

from kerasresnet.arrays import check_names
from kerasresnet.backbones import (
    POOLINGS,
    check_backbone,
    feature_map,
)
from kerasresnet.catalogue import PreprocessingName, StemName
from kerasresnet.certainty import Certainty, check_unknown, with_threshold
from kerasresnet.freezing import apply_plan, plan

# Imported to be registered: compiled models are saved with them.
from kerasresnet.losses import Accuracy, CrossEntropy  # noqa: F401

Pooling: TypeAlias = Literal["avg", "max"]


@keras.saving.register_keras_serializable("kerasresnet")
class Classifier(keras.Model):
    """A ResNet classifier: RGB 0..255 in, class probabilities out.

    A functional, flat `keras.Model` whose `compile`, `fit`, `evaluate`, `predict` and
    `save` are Keras's own. `build_classifier` makes one, with weights; `load` and
    `keras.saving.load_model` bring one back with its names, flags and optimizer.

    Args:
        class_names: Names of the classes, in the order of the outputs.
        backbone: Name of the backbone.
        input_shape: `(height, width, 3)`.
        upsample_to: Height and width after whole-number upsampling, or None.
        hidden_units: Widths of the Dense layers before the last one.
        dropout: Share of values dropped before each Dense layer, in [0, 1).
        pooling: `"avg"` or `"max"`, over the last feature map.
        stem: How the network begins: `"imagenet"` or `"cifar"`.
        preprocessing: What the weights expect. `"caffe"`: BGR minus the ImageNet mean;
            `"torch"`: 0..1, minus mean, by standard deviation; `"tf"`: -1..1. Defaults
            to that of the backbone's published weights.
        named: Whether `class_names` are names, or just stand for numbers.
        name: Name of the model.
    """

    def __init__(  # noqa: PLR0913 - all that the graph is rebuilt from
        self,
        class_names: Sequence[str],
        *,
        backbone: str = "resnet50",
        input_shape: tuple[int, int, int] = (224, 224, 3),
        upsample_to: tuple[int, int] | None = None,
        hidden_units: Sequence[int] = (),
        dropout: float = 0.0,
        pooling: Pooling = "avg",
        stem: StemName = "imagenet",
        preprocessing: PreprocessingName | None = None,
        named: bool = True,
        name: str = "classifier",
    ) -> None:
        height, width, _ = input_shape
        preprocessing = preprocessing or check_backbone(backbone).preprocessing
        factors = (1, 1)
        if upsample_to is not None:
            factors = (upsample_to[0] // height, upsample_to[1] // width)
        images = keras.Input(input_shape, dtype="float32", name="image")
        features = feature_map(
            backbone,
            images,
            stem=stem,
            preprocessing=preprocessing,
            upsample_by=factors,
        )
        outputs = _head(features, len(class_names), hidden_units, dropout, pooling)
        super().__init__(inputs=images, outputs=outputs, name=name)
        self._class_names = tuple(class_names)
        self._named = named
        self.certainty: Certainty | None = None
        self._planned: tuple[Any, tuple[str, ...]] | None = None
        self._twin: Callable[..., Any] | None = None
        self._builder = {
            "backbone": backbone,
            "input_shape": list(input_shape),
            "upsample_to": None if upsample_to is None else list(upsample_to),
            "hidden_units": list(hidden_units),
            "dropout": dropout,
            "pooling": pooling,
            "stem": stem,
            "preprocessing": preprocessing,
        }

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return str(self._builder["backbone"])

    @property
    def stem(self) -> str:
        """How the network begins: `"imagenet"` or `"cifar"`."""
        return str(self._builder["stem"])

    @property
    def preprocessing(self) -> str:
        """What is done to RGB 0..255 inside the graph: `"caffe"`, `"torch"` or `"tf"`.

        It belongs to the weights, and is saved with the model.
        """
        return str(self._builder["preprocessing"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        checked = check_names(names)
        if len(checked) != len(self._class_names):
            raise ValueError(
                f"The model has {len(self._class_names)} outputs, received {len(checked)} names."
            )
        if self.threshold is not None:
            check_unknown(checked)
        self._class_names = checked
        self._named = True

    @property
    def named(self) -> bool:
        """Whether the classes were given names, and not just a number."""
        return bool(self._named)

    @property
    def threshold(self) -> float | None:
        """Probability below which `predict` answers `"unknown"`; None for never.

        `choose_threshold` finds one with a guarantee. It holds for the weights that the
        model has when it is set: after training, `predict` asks for a new one.
        """
        if self.certainty is None or self.certainty.threshold is None:
            return None
        # A new object: Keras leaves out an assignment of the very same one, with which a
        # user confirms a threshold after training.
        return self.certainty.threshold + 0.0

    @threshold.setter
    def threshold(self, threshold: float | None) -> None:
        self.certainty = with_threshold(self, threshold)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the model takes."""
        return tuple(self.input_shape[1:3])

    @property
    def stale(self) -> bool:
        """Whether `.trainable` was changed since the optimizer was put to work."""
        if self._planned is None or self._planned[0]() is not self.optimizer:
            return False
        return self._planned[1] != plan(self)

    @property
    def input_spec(self) -> Any:
        """What Keras checks inputs against; nothing while a twin takes features."""
        return None if self._twin is not None else super().input_spec

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns class probabilities, as Keras calls it.

        Args:
            inputs: Images; or, within `trained_through`, a dictionary for the twin.
            training: As in Keras.
            mask: As in Keras.

        Returns:
            A tensor of shape `(N, classes)`.
        """
        if self._twin is not None and _is_for_twin(inputs):
            return self._twin(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    @contextmanager
    def trained_through(self, twin: Callable[..., Any]) -> Iterator[None]:
        """Lets another graph on the same variables compute what `fit` is given.

        Within it, `fit` and `evaluate` take batches of dictionaries, which go to the twin.
        Images are still computed by the model's own layers: callbacks notice nothing.

        Args:
            twin: Called with a dictionary and `training`; returns class probabilities.
        """
        # In a closure, because Keras would save a model's attribute with the model.
        self._twin = lambda inputs, training: twin(inputs, training=training)
        self.train_function = self.test_function = None
        try:
            yield
        finally:
            self._twin = None
            # They were compiled for this twin.
            self.train_function = self.test_function = None

    def make_train_function(self, force: bool = False) -> Any:
        """Makes Keras's training function; refuses one made for other flags.

        Args:
            force: Whether to make it anew, as in Keras.

        Returns:
            The function that trains on one batch.

        Raises:
            RuntimeError: If `.trainable` was changed after the last `compile`, which
                Keras would ignore.
        """
        if self.stale and not force:
            raise RuntimeError(
                "`.trainable` was changed after the model was compiled, and Keras would train "
                "with the old flags. Call model.compile(...) again; kr.set_trainable does so "
                "by itself."
            )
        self._planned = (weakref.ref(self.optimizer), plan(self))
        return super().make_train_function(force=force)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was; Keras calls it when it loads one.

        Args:
            config: What `get_compile_config` returned.
        """
        super().compile_from_config(config)
        # Keras builds the optimizer here, for the weights that are trained now.
        if self.optimizer is not None:
            self._planned = (weakref.ref(self.optimizer), plan(self))

    def get_config(self) -> dict[str, Any]:
        """Returns all but the weights: arguments, names, flags, threshold, dtype policy."""
        return {
            "class_names": list(self.class_names),
            "named": self.named,
            **self._builder,
            "name": self.name,
            "trained_layers": list(plan(self)),
            "certainty": self.certainty and self.certainty.to_config(),
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "Classifier":
        """Rebuilds the graph from this library's code, with random weights.

        Args:
            config: What `get_config` returned.
            custom_objects: Unused; Keras passes it.

        Returns:
            A `Classifier`.
        """
        settings = dict(config)
        trained = settings.pop("trained_layers")
        certainty = Certainty.from_config(settings.pop("certainty", None))
        policy = keras.dtype_policies.deserialize(settings.pop("dtype"))
        with _dtype_policy(policy):
            model = cls(**settings)
        model.certainty = certainty
        apply_plan(model, trained)
        return model


def check_classifier(model: object) -> Classifier:
    """Returns `model` if it is a `Classifier`, else raises a `ValueError`."""
    if not isinstance(model, Classifier):
        raise ValueError(
            f"Expected a Classifier from build_classifier or load, received "
            f"{type(model).__name__}."
        )
    return model


def is_fresh(model: Classifier) -> bool:
    """Returns whether a model has not been trained since it was compiled."""
    if not model.compiled or not model.optimizer.built:
        return True
    return int(model.optimizer.iterations) == 0


def _is_for_twin(inputs: Any) -> bool:
    # The model's own input may be given by name, too; that one is called "image".
    return isinstance(inputs, dict) and set(inputs) <= {"features", "images"}


def _head(
    features: Any,
    classes: int,
    hidden_units: Sequence[int],
    dropout: float,
    pooling: str,
) -> Any:
    # float32 under every policy: the head is small, and a softmax in half precision loses
    # small probabilities.
    values = POOLINGS[pooling](dtype="float32", name=f"{pooling}_pool")(features)
    for number, units in enumerate(hidden_units, 1):
        if dropout:
            values = _dropout(dropout, f"dropout_{number}")(values)
        values = keras.layers.Dense(
            units, activation="relu", dtype="float32", name=f"hidden_{number}"
        )(values)
    if dropout:
        values = _dropout(dropout, "dropout")(values)
    dense = keras.layers.Dense(
        classes, activation="softmax", dtype="float32", name="predictions"
    )
    return dense(values)


def _dropout(rate: float, name: str) -> keras.layers.Layer:
    # Without a seed torch draws from a state of its own, which no variable holds. This
    # one is drawn as Keras would draw it.
    seed = random.randint(1, 10**9)
    return keras.layers.Dropout(rate, seed=seed, dtype="float32", name=name)


@contextmanager
def _dtype_policy(policy: Any) -> Iterator[None]:
    # keras.applications takes no dtype of its own, only the global one.
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
