"""Transfer learning with ResNet in Keras: from a folder of photos to a classifier.

The public names below are imported when they are first used, so that
`import kerasresnet` and `kerasresnet --help` load neither Keras nor TensorFlow.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from kerasresnet._version import __version__
from kerasresnet.registration import register, register_with_keras

if TYPE_CHECKING:
    from kerasresnet.artifacts import load as load
    from kerasresnet.audit import Audit as Audit
    from kerasresnet.augmentation import Augmentation as Augmentation
    from kerasresnet.backbones import STAGES as STAGES
    from kerasresnet.classifier import Classifier as Classifier
    from kerasresnet.classifier import build_classifier as build_classifier
    from kerasresnet.compiling import compile_classifier as compile_classifier
    from kerasresnet.cutting import split_at as split_at
    from kerasresnet.errors import ArtifactError as ArtifactError
    from kerasresnet.errors import CacheError as CacheError
    from kerasresnet.errors import DataError as DataError
    from kerasresnet.errors import DivergenceError as DivergenceError
    from kerasresnet.errors import KerasResNetError as KerasResNetError
    from kerasresnet.errors import WeightsError as WeightsError
    from kerasresnet.evaluation import ClassScore as ClassScore
    from kerasresnet.evaluation import Mistake as Mistake
    from kerasresnet.evaluation import Report as Report
    from kerasresnet.evaluation import evaluate as evaluate
    from kerasresnet.features import extract_features as extract_features
    from kerasresnet.freezing import set_trainable as set_trainable
    from kerasresnet.heads import HeadScore as HeadScore
    from kerasresnet.heads import HeadSweep as HeadSweep
    from kerasresnet.heads import sweep_heads as sweep_heads
    from kerasresnet.imagenet import imagenet_classifier as imagenet_classifier
    from kerasresnet.images import ImageData as ImageData
    from kerasresnet.pipeline import make_dataset as make_dataset
    from kerasresnet.plots import plot_confusion as plot_confusion
    from kerasresnet.plots import plot_history as plot_history
    from kerasresnet.plots import plot_images as plot_images
    from kerasresnet.plots import plot_learning_curve as plot_learning_curve
    from kerasresnet.plots import plot_learning_rate as plot_learning_rate
    from kerasresnet.plots import plot_predictions as plot_predictions
    from kerasresnet.prediction import Prediction as Prediction
    from kerasresnet.prediction import predict as predict
    from kerasresnet.probing import Probe as Probe
    from kerasresnet.probing import probe as probe
    from kerasresnet.rates import LearningRates as LearningRates
    from kerasresnet.rates import find_learning_rate as find_learning_rate
    from kerasresnet.recipes import Recipe as Recipe
    from kerasresnet.trainer import Outcome as Outcome
    from kerasresnet.trainer import train as train
    from kerasresnet.training import fine_tune as fine_tune
    from kerasresnet.training import fit as fit
    from kerasresnet.validating import ClassGain as ClassGain
    from kerasresnet.validating import CrossValidation as CrossValidation
    from kerasresnet.validating import LearningCurve as LearningCurve
    from kerasresnet.validating import cross_validate as cross_validate
    from kerasresnet.validating import learning_curve as learning_curve

_HOME = {
    "ArtifactError": "errors",
    "Audit": "audit",
    "Augmentation": "augmentation",
    "CacheError": "errors",
    "ClassGain": "validating",
    "ClassScore": "evaluation",
    "Classifier": "classifier",
    "CrossValidation": "validating",
    "DataError": "errors",
    "DivergenceError": "errors",
    "HeadScore": "heads",
    "HeadSweep": "heads",
    "ImageData": "images",
    "KerasResNetError": "errors",
    "LearningCurve": "validating",
    "LearningRates": "rates",
    "Mistake": "evaluation",
    "Outcome": "trainer",
    "Prediction": "prediction",
    "Probe": "probing",
    "Recipe": "recipes",
    "Report": "evaluation",
    "STAGES": "backbones",
    "WeightsError": "errors",
    "build_classifier": "classifier",
    "compile_classifier": "compiling",
    "cross_validate": "validating",
    "evaluate": "evaluation",
    "extract_features": "features",
    "find_learning_rate": "rates",
    "fine_tune": "training",
    "fit": "training",
    "imagenet_classifier": "imagenet",
    "learning_curve": "validating",
    "load": "artifacts",
    "make_dataset": "pipeline",
    "plot_confusion": "plots",
    "plot_history": "plots",
    "plot_images": "plots",
    "plot_learning_curve": "plots",
    "plot_learning_rate": "plots",
    "plot_predictions": "plots",
    "predict": "prediction",
    "probe": "probing",
    "set_trainable": "freezing",
    "split_at": "cutting",
    "sweep_heads": "heads",
    "train": "trainer",
}

__all__ = [
    "STAGES",
    "ArtifactError",
    "Audit",
    "Augmentation",
    "CacheError",
    "ClassGain",
    "ClassScore",
    "Classifier",
    "CrossValidation",
    "DataError",
    "DivergenceError",
    "HeadScore",
    "HeadSweep",
    "ImageData",
    "KerasResNetError",
    "LearningCurve",
    "LearningRates",
    "Mistake",
    "Outcome",
    "Prediction",
    "Probe",
    "Recipe",
    "Report",
    "WeightsError",
    "__version__",
    "build_classifier",
    "compile_classifier",
    "cross_validate",
    "evaluate",
    "extract_features",
    "find_learning_rate",
    "fine_tune",
    "fit",
    "imagenet_classifier",
    "learning_curve",
    "load",
    "make_dataset",
    "plot_confusion",
    "plot_history",
    "plot_images",
    "plot_learning_curve",
    "plot_learning_rate",
    "plot_predictions",
    "predict",
    "probe",
    "set_trainable",
    "split_at",
    "sweep_heads",
    "train",
]

if not TYPE_CHECKING:  # hidden from type checkers, which would accept any name

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module 'kerasresnet' has no attribute {name!r}")
        value = getattr(import_module(f"kerasresnet.{_HOME[name]}"), name)
        if "keras" in sys.modules:
            register(sys.modules)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)


register_with_keras(sys.modules, sys.meta_path)
