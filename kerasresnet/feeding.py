"""What the trained part of a network is given: cached features where it can be, else images."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerasresnet.augmentation import Augmentation, mixes
from kerasresnet.backbones import Stage
from kerasresnet.balance import Sampling
from kerasresnet.caching import Cache, FeatureRows, check_cache
from kerasresnet.classifier import Classifier
from kerasresnet.datasets import is_dataset
from kerasresnet.errors import NoRoomError
from kerasresnet.extraction import Extraction, Verbosity
from kerasresnet.pipeline import (
    BEGINNING,
    PixelCache,
    Start,
    check_order,
    evaluation_batches,
    feature_batches,
    keyed_images,
    training_batches,
)
from kerasresnet.precision import Precision
from kerasresnet.twins import Trunk, Twin, hindrance, precision_of
from kerasresnet.wiring import read_stride_after

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedSettings:
    """How the batches of a run are made; each as in `fit`."""

    batch_size: int
    augmentation: Augmentation | None
    cache: Cache
    seed: int
    verbose: Verbosity
    sampling: Sampling | None = None

    def check(self, train: Any) -> None:
        """Raises a `ValueError` unless they can be followed."""
        check_order(self.batch_size, self.augmentation, self.seed)
        check_cache(self.cache)
        if is_dataset(train) and self.augmentation is not None:
            raise ValueError(
                "augmentation works on ImageData and arrays. A tf.data.Dataset has its order "
                "fixed already: augment it yourself, after any cache."
            )
        if is_dataset(train) and self.sampling is not None:
            raise ValueError(
                "sampling works on ImageData and arrays. A tf.data.Dataset has its order fixed "
                "already: use class_weight, or tf.data.Dataset.rejection_resample."
            )


class Feed:
    """Makes the batches that a model is trained on: features where it can, else images.

    Args:
        model: The model.
        stage: Last frozen stage, or None.
        precision: As in `fit`.
        settings: How the batches are made.
    """

    def __init__(
        self,
        model: Classifier,
        stage: Stage | None,
        precision: Precision,
        settings: FeedSettings,
    ) -> None:
        self._model = model
        self._settings = settings
        self._precision = precision_of(model, precision)
        self._trunk: Trunk | None = None
        self._extraction: Extraction | None = None
        if stage is None:
            return
        every = read_stride_after(model, stage) if hindrance(model) is None else 1
        self._trunk = Trunk(model, stage, self._precision, every=every)
        if settings.cache is not False:
            self._extraction = Extraction(
                model,
                self._trunk,
                batch_size=settings.batch_size,
                cache=settings.cache,
                verbose=settings.verbose,
            )

    def training(self, data: Any, start: Start = BEGINNING) -> Any:
        """Returns the batches to train on.

        Args:
            data: Checked `ImageData` or `tf.data.Dataset`.
            start: Where in the order of a run they begin. A `Dataset` always begins
                where it does.
        """
        if is_dataset(data):
            return self._of_dataset(data, start)
        settings = self._settings
        views = settings.augmentation
        if views is None or views.views:
            rows = self._kept(lambda kept: kept.of_images(data, views))
            if rows is not None:
                return self._shuffled(rows, data.labels, settings.batch_size, start)
        batches = training_batches(
            data,
            image_size=self._model.image_size,
            batch_size=settings.batch_size,
            augmentation=views,
            cache=self._pixel_cache(),
            seed=settings.seed,
            sampling=settings.sampling,
            start=start,
        )
        return self._images(batches)

    def evaluation(self, data: Any) -> Any:
        """Returns the batches to score.

        Args:
            data: Checked `ImageData` or `tf.data.Dataset`.
        """
        if is_dataset(data):
            return self._of_dataset(data)
        # In the form of the labels that are trained on: Keras chooses a metric by that.
        mixed = mixes(self._settings.augmentation)
        classes = len(data.class_names) if mixed else None
        rows = self._kept(lambda kept: kept.of_images(data))
        if rows is not None:
            return feature_batches(
                rows, data.labels, batch_size=self._settings.batch_size, classes=classes
            )
        batches = evaluation_batches(
            data,
            image_size=self._model.image_size,
            batch_size=self._settings.batch_size,
            cache=self._pixel_cache(),
            classes=classes,
        )
        return self._images(batches)

    def twin(self) -> Twin:
        """Returns what computes these batches; the model's flags must be set by now."""
        return Twin(self._model, self._trunk, self._precision)

    def _kept(self, find: Callable[[Extraction], FeatureRows]) -> FeatureRows | None:
        """Features that can be kept, or None if they are computed in every epoch."""
        if self._extraction is None:
            return None
        try:
            return find(self._extraction)
        except NoRoomError as error:
            if self._settings.cache != "auto":
                raise
            _log.warning("%s They are computed in every epoch.", error)
            return None

    def _of_dataset(self, dataset: Any, start: Start | None = None) -> Any:
        if self._extraction is None or self._settings.cache == "auto":
            if self._extraction is not None:
                _log.info(
                    "A tf.data.Dataset may give other images in each epoch, so the frozen "
                    "part runs in each. cache='memory' takes those of one pass for all."
                )
            return self._images(dataset)
        rows, labels, size = self._extraction.of_dataset(dataset, labelled=True)
        if start is None:
            return feature_batches(rows, labels, batch_size=size)
        return self._shuffled(rows, labels, size, start)

    def _shuffled(
        self, rows: FeatureRows, labels: Any, batch_size: int, start: Start
    ) -> Any:
        return feature_batches(
            rows,
            labels,
            batch_size=batch_size,
            training=True,
            sampling=self._settings.sampling,
            seed=self._settings.seed,
            start=start,
        )

    def _images(self, batches: Any) -> Any:
        if self._trunk is not None:
            self._trunk.build()
        return keyed_images(batches)

    def _pixel_cache(self) -> PixelCache:
        cache = self._settings.cache
        return "memory" if cache == "memory" else False if cache is False else "auto"
