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
    from kerasresnet.abstention import Threshold as Threshold
    from kerasresnet.abstention import choose_threshold as choose_threshold
    from kerasresnet.artifacts import load as load
    from kerasresnet.assessment import ClassScore as ClassScore
    from kerasresnet.assessment import ConfusedPair as ConfusedPair
    from kerasresnet.assessment import Mistake as Mistake
    from kerasresnet.audit import Audit as Audit
    from kerasresnet.augmentation import Augmentation as Augmentation
    from kerasresnet.backbone_files import save_backbone as save_backbone
    from kerasresnet.backbones import STAGES as STAGES
    from kerasresnet.building import build_classifier as build_classifier
    from kerasresnet.calibration import Calibration as Calibration
    from kerasresnet.calibration import calibrate as calibrate
    from kerasresnet.cards import model_card as model_card
    from kerasresnet.catalogue import list_backbones as list_backbones
    from kerasresnet.classifier import Classifier as Classifier
    from kerasresnet.comparison import Comparison as Comparison
    from kerasresnet.comparison import compare as compare
    from kerasresnet.compiling import compile_classifier as compile_classifier
    from kerasresnet.cutting import split_at as split_at
    from kerasresnet.diagrams import plot_confusion as plot_confusion
    from kerasresnet.diagrams import plot_embedding as plot_embedding
    from kerasresnet.diagrams import plot_reliability as plot_reliability
    from kerasresnet.errors import ArtifactError as ArtifactError
    from kerasresnet.errors import CacheError as CacheError
    from kerasresnet.errors import DataError as DataError
    from kerasresnet.errors import DivergenceError as DivergenceError
    from kerasresnet.errors import KerasResNetError as KerasResNetError
    from kerasresnet.errors import WeightsError as WeightsError
    from kerasresnet.evaluation import Report as Report
    from kerasresnet.evaluation import evaluate as evaluate
    from kerasresnet.explanation import HeatMap as HeatMap
    from kerasresnet.explanation import grad_cam as grad_cam
    from kerasresnet.familiarity import Familiarity as Familiarity
    from kerasresnet.features import extract_features as extract_features
    from kerasresnet.freezing import set_trainable as set_trainable
    from kerasresnet.galleries import plot_grad_cam as plot_grad_cam
    from kerasresnet.galleries import plot_images as plot_images
    from kerasresnet.galleries import plot_look_alikes as plot_look_alikes
    from kerasresnet.galleries import plot_mistakes as plot_mistakes
    from kerasresnet.galleries import plot_predictions as plot_predictions
    from kerasresnet.heads import HeadScore as HeadScore
    from kerasresnet.heads import HeadSweep as HeadSweep
    from kerasresnet.heads import sweep_heads as sweep_heads
    from kerasresnet.imagenet import imagenet_classifier as imagenet_classifier
    from kerasresnet.images import ImageData as ImageData
    from kerasresnet.labelling import LabelIssue as LabelIssue
    from kerasresnet.labelling import LabelIssues as LabelIssues
    from kerasresnet.labelling import label_issues as label_issues
    from kerasresnet.learning_curves import ClassGain as ClassGain
    from kerasresnet.learning_curves import LearningCurve as LearningCurve
    from kerasresnet.learning_curves import learning_curve as learning_curve
    from kerasresnet.neighbours import LookAlike as LookAlike
    from kerasresnet.neighbours import NearDuplicate as NearDuplicate
    from kerasresnet.neighbours import Outlier as Outlier
    from kerasresnet.neighbours import find_near_duplicates as find_near_duplicates
    from kerasresnet.neighbours import find_outliers as find_outliers
    from kerasresnet.neighbours import look_alikes as look_alikes
    from kerasresnet.pipeline import make_dataset as make_dataset
    from kerasresnet.plots import plot_history as plot_history
    from kerasresnet.plots import plot_learning_curve as plot_learning_curve
    from kerasresnet.plots import plot_learning_rate as plot_learning_rate
    from kerasresnet.prediction import Prediction as Prediction
    from kerasresnet.prediction import predict as predict
    from kerasresnet.probing import Probe as Probe
    from kerasresnet.probing import probe as probe
    from kerasresnet.rates import LearningRates as LearningRates
    from kerasresnet.rates import find_learning_rate as find_learning_rate
    from kerasresnet.recipes import Recipe as Recipe
    from kerasresnet.scores import ReliabilityBin as ReliabilityBin
    from kerasresnet.trackers import Tracker as Tracker
    from kerasresnet.trackers import tracking as tracking
    from kerasresnet.trainer import Outcome as Outcome
    from kerasresnet.trainer import train as train
    from kerasresnet.training import fine_tune as fine_tune
    from kerasresnet.training import fit as fit
    from kerasresnet.validating import CrossValidation as CrossValidation
    from kerasresnet.validating import cross_validate as cross_validate

_HOME = {
    "ArtifactError": "errors",
    "Audit": "audit",
    "Augmentation": "augmentation",
    "CacheError": "errors",
    "Calibration": "calibration",
    "ClassGain": "learning_curves",
    "ClassScore": "assessment",
    "Classifier": "classifier",
    "Comparison": "comparison",
    "ConfusedPair": "assessment",
    "CrossValidation": "validating",
    "DataError": "errors",
    "DivergenceError": "errors",
    "Familiarity": "familiarity",
    "HeadScore": "heads",
    "HeadSweep": "heads",
    "HeatMap": "explanation",
    "ImageData": "images",
    "KerasResNetError": "errors",
    "LabelIssue": "labelling",
    "LabelIssues": "labelling",
    "LearningCurve": "learning_curves",
    "LearningRates": "rates",
    "LookAlike": "neighbours",
    "Mistake": "assessment",
    "NearDuplicate": "neighbours",
    "Outcome": "trainer",
    "Outlier": "neighbours",
    "Prediction": "prediction",
    "Probe": "probing",
    "Recipe": "recipes",
    "ReliabilityBin": "scores",
    "Report": "evaluation",
    "STAGES": "backbones",
    "Threshold": "abstention",
    "Tracker": "trackers",
    "WeightsError": "errors",
    "build_classifier": "building",
    "calibrate": "calibration",
    "choose_threshold": "abstention",
    "compare": "comparison",
    "compile_classifier": "compiling",
    "cross_validate": "validating",
    "evaluate": "evaluation",
    "extract_features": "features",
    "find_learning_rate": "rates",
    "find_near_duplicates": "neighbours",
    "find_outliers": "neighbours",
    "fine_tune": "training",
    "fit": "training",
    "grad_cam": "explanation",
    "imagenet_classifier": "imagenet",
    "label_issues": "labelling",
    "learning_curve": "learning_curves",
    "list_backbones": "catalogue",
    "load": "artifacts",
    "look_alikes": "neighbours",
    "make_dataset": "pipeline",
    "model_card": "cards",
    "plot_confusion": "diagrams",
    "plot_embedding": "diagrams",
    "plot_grad_cam": "galleries",
    "plot_history": "plots",
    "plot_images": "galleries",
    "plot_learning_curve": "plots",
    "plot_learning_rate": "plots",
    "plot_look_alikes": "galleries",
    "plot_mistakes": "galleries",
    "plot_predictions": "galleries",
    "plot_reliability": "diagrams",
    "predict": "prediction",
    "probe": "probing",
    "save_backbone": "backbone_files",
    "set_trainable": "freezing",
    "split_at": "cutting",
    "sweep_heads": "heads",
    "tracking": "trackers",
    "train": "trainer",
}

__all__ = [
    "STAGES",
    "ArtifactError",
    "Audit",
    "Augmentation",
    "CacheError",
    "Calibration",
    "ClassGain",
    "ClassScore",
    "Classifier",
    "Comparison",
    "ConfusedPair",
    "CrossValidation",
    "DataError",
    "DivergenceError",
    "Familiarity",
    "HeadScore",
    "HeadSweep",
    "HeatMap",
    "ImageData",
    "KerasResNetError",
    "LabelIssue",
    "LabelIssues",
    "LearningCurve",
    "LearningRates",
    "LookAlike",
    "Mistake",
    "NearDuplicate",
    "Outcome",
    "Outlier",
    "Prediction",
    "Probe",
    "Recipe",
    "ReliabilityBin",
    "Report",
    "Threshold",
    "Tracker",
    "WeightsError",
    "__version__",
    "build_classifier",
    "calibrate",
    "choose_threshold",
    "compare",
    "compile_classifier",
    "cross_validate",
    "evaluate",
    "extract_features",
    "find_learning_rate",
    "find_near_duplicates",
    "find_outliers",
    "fine_tune",
    "fit",
    "grad_cam",
    "imagenet_classifier",
    "label_issues",
    "learning_curve",
    "list_backbones",
    "load",
    "look_alikes",
    "make_dataset",
    "model_card",
    "plot_confusion",
    "plot_embedding",
    "plot_grad_cam",
    "plot_history",
    "plot_images",
    "plot_learning_curve",
    "plot_learning_rate",
    "plot_look_alikes",
    "plot_mistakes",
    "plot_predictions",
    "plot_reliability",
    "predict",
    "probe",
    "save_backbone",
    "set_trainable",
    "split_at",
    "sweep_heads",
    "tracking",
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
