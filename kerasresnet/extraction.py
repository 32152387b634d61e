"""Features of images: computed once by the frozen trunk, kept, and found again.

The key of a row is all that decides its values: the trunk's weights, the stage, the
image size, how photos are decoded, the augmentation, the precision, the photo's content
and the number of the view. Where it lies on disk is decided in `shards`.
"""

import contextlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from kerasresnet.augmentation import Augmentation, make_views
from kerasresnet.backbones import STAGES, Stage
from kerasresnet.caching import (
    Cache,
    FeatureRows,
    MemoryRows,
    cache_folder_of,
    cache_limit,
)
from kerasresnet.datasets import dataset_chunks
from kerasresnet.decoding import POLICY, Pixels
from kerasresnet.errors import CacheError, DataError, NoRoomError
from kerasresnet.images import ImageData
from kerasresnet.pixels import (
    MEMORY_BYTES,
    content_digests,
    image_batches,
)
from kerasresnet.shards import (
    Shards,
    check_writable,
    kinds,
    make_room,
    remove_abandoned,
)
from kerasresnet.twins import Trunk, trunk_digest
from kerasresnet.wiring import feature_shape

Verbosity: TypeAlias = Literal["auto", 0, 1, 2]

# A shard is written whole: this, and the work of so many seconds, is the most that is
# lost when the process is killed.
_SHARD_ROWS = 1024
_SHARD_BYTES = 2**26
_SHARD_SECONDS = 10.0
_TOO_LARGE = (
    "The features take %.3g GB, more than the %.3g GB that the cache may hold. "
    "KERASRESNET_CACHE_LIMIT, in GB, raises that."
)
_log = logging.getLogger(__name__)


class Extraction:
    """Finds the features of images in the cache, or computes and keeps them.

    Args:
        model: The model that `trunk` belongs to.
        trunk: What computes them.
        batch_size: Images that are computed at a time.
        cache: As in `fit`; not False to keep them.
        verbose: As in `extract_features`.
    """

    def __init__(
        self,
        model: keras.Model,
        trunk: Trunk,
        *,
        batch_size: int,
        cache: Cache,
        verbose: Verbosity,
    ) -> None:
        self._model = model
        self._trunk = trunk
        self._batch_size = batch_size
        self._cache = cache
        self._verbose = 1 if verbose == "auto" else verbose
        self._in_use: set[Path] = set()

    def in_memory(self) -> "Extraction":
        """The same, but nothing is kept on disk."""
        return Extraction(
            self._model,
            self._trunk,
            batch_size=self._batch_size,
            cache="memory",
            verbose=self._verbose,
        )

    def of_images(
        self, data: ImageData, augmentation: Augmentation | None = None
    ) -> FeatureRows:
        """Returns the features of images; row i belongs to image i.

        Args:
            data: Which images.
            augmentation: Makes `augmentation.views` views of each. Defaults to the image
                itself.

        Raises:
            CacheError: If the cache folder cannot be written or the disk is full.
            DataError: If there is no image, or one cannot be read.
            NoRoomError: If the features are more than the cache may hold.
        """
        views = _views(augmentation)
        progress = _Progress(self._trunk, self._verbose)
        arrays, numbers = self._located(data, augmentation, progress)
        return FeatureRows(arrays, numbers, views)

    def of_dataset(
        self, dataset: Any, *, labelled: bool
    ) -> tuple[FeatureRows, tuple[Pixels, ...], int]:
        """Returns the features of one pass over a `tf.data.Dataset`.

        Args:
            dataset: Batches of images, or of `(images, labels, …)`.
            labelled: Whether what comes with the images is wanted.

        Returns:
            A tuple `(rows, columns, batch_size)`: the features, labels and the like, and
            the size of the dataset's largest batch.

        Raises:
            DataError: If the dataset is empty or endless, gives images of another size,
                or not as many batches as it announces.
            NoRoomError: If the features are more than the cache may hold.
        """
        arrays: list[Pixels] = []
        numbers: list[int] = []
        columns: list[tuple[Pixels, ...]] = []
        largest = 0
        progress = _Progress(self._trunk, self._verbose, batches=dataset.cardinality())
        chunks = dataset_chunks(dataset, self._trunk.image_size, labelled=labelled)
        for images, rest, batch_size in chunks:
            largest = max(largest, batch_size)
            progress.batch_size = largest
            data = ImageData((), images=images, rows=np.arange(len(images)))
            located = self._located(data, None, progress, before=len(arrays))
            arrays += located[0]
            numbers += located[1]
            columns.append(rest)
        progress.finish()
        whole = tuple(np.concatenate(parts) for parts in zip(*columns, strict=True))
        return FeatureRows(arrays, numbers), whole, largest

    def _located(
        self,
        data: ImageData,
        augmentation: Augmentation | None,
        progress: "_Progress",
        *,
        before: int = 0,
    ) -> tuple[Sequence[Pixels], Sequence[int]]:
        """For each row the array that holds it, and its number in there.

        `before` rows of the same kind are in use already.
        """
        if not len(data):
            raise DataError("The data has no image.")
        digests = content_digests(data)
        views = _views(augmentation)
        names = [f"{digest}-{view}" for digest in digests for view in range(views)]
        store = self._store(self._trunk.stage, self._trunk.every, augmentation)
        found = store.find(names)
        # Of several images of the same content one is computed.
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        missing = {
            name: p
            for name, p in sorted(places.items(), key=_second)
            if name not in found
        }
        progress.expect(len(missing), known=len(names) - len(missing))
        if missing:
            ready = self._ready(store, before + len(places), len(missing))
            for trunk, some, batches in self._jobs(
                missing, data, digests, augmentation
            ):
                self._compute(trunk, batches, some, ready, progress)
            found.update(ready.find(list(missing)))
        else:
            _log.info("Features up to %s: all %d known.", self._trunk.stage, len(names))
        if isinstance(store, Shards):
            self._in_use |= store.used
        if not found.keys() >= places.keys():
            raise CacheError(
                "Features vanished from the cache while they were used: another process "
                "cleared it, or its limit is too small. Run again, or pass cache='memory'."
            )
        arrays, numbers = zip(*(found[name] for name in names), strict=True)
        return arrays, numbers

    def _jobs(
        self,
        missing: dict[str, int],
        data: ImageData,
        digests: Sequence[str],
        augmentation: Augmentation | None,
    ) -> Iterator[tuple[Trunk, Sequence[str], Iterator[Pixels]]]:
        """What is to be computed, from where: an earlier stage that is cached, or images."""
        todo = list(missing)
        nearest = self._nearest(todo, augmentation)
        if nearest is not None:
            trunk, held = nearest
            yield trunk, list(held), _stacked(list(held.values()), self._batch_size)
            todo = [name for name in todo if name not in held]
        if todo:
            places = [missing[name] for name in todo]
            yield self._trunk, todo, self._images(data, digests, places, augmentation)

    def _store(
        self, stage: Stage, every: int, augmentation: Augmentation | None
    ) -> Shards | MemoryRows:
        shape = feature_shape(self._model, stage, every)
        root = cache_folder_of(self._cache)
        if root is None:
            return MemoryRows(shape, self._trunk.precision)
        kind = {
            "trunk": self._digest(stage),
            "stage": stage,
            "every": every,
            "image_size": list(self._trunk.image_size),
            "precision": self._trunk.precision,
            "pixels": POLICY,
            "augmentation": None if augmentation is None else augmentation.settings,
        }
        return Shards(root, kind, shape, self._trunk.precision)

    def _digest(self, stage: Stage) -> str:
        if stage == self._trunk.stage:
            return self._trunk.digest
        return trunk_digest(self._model, stage)

    def _ready(
        self, store: Shards | MemoryRows, total: int, new: int
    ) -> Shards | MemoryRows:
        """The store, with room for what will be computed; or one in memory instead."""
        ready: Shards | MemoryRows = store
        where = "memory"
        size = total * store.row_bytes
        if isinstance(store, Shards):
            limit = cache_limit()
            if size > limit:
                raise NoRoomError(_TOO_LARGE % (size / 1e9, limit / 1e9))
            room = limit - new * store.row_bytes
            make_room(store.root, room, keep=self._in_use | store.used)
            remove_abandoned(store.root)
            try:
                check_writable(store.root, new * store.row_bytes)
                where = str(store.root)
            except CacheError as error:
                if self._cache != "auto" or not isinstance(error.__cause__, OSError):
                    raise
                if size > MEMORY_BYTES:
                    raise NoRoomError(str(error)) from error
                _log.warning("%s Features are kept in memory.", error)
                ready = MemoryRows(store.shape, self._trunk.precision)
        _log.log(
            logging.WARNING if size > 1e9 else logging.INFO,
            "Features up to %s: %d to compute, %d known, %.3g MB in %s.",
            self._trunk.stage,
            new,
            total - new,
            size / 1e6,
            where,
        )
        return ready

    def _nearest(
        self, names: Sequence[str], augmentation: Augmentation | None
    ) -> tuple[Trunk, dict[str, tuple[Pixels, int]]] | None:
        """A shorter trunk, and what it can be given: rows of an earlier stage."""
        root = cache_folder_of(self._cache)
        if root is None or not self._trunk.folded:
            return None
        kept = {(kind.get("stage"), kind.get("every")) for kind in kinds(root)}
        earlier = reversed(STAGES[: STAGES.index(self._trunk.stage)])
        for stage, every in itertools.product(earlier, (1, 2)):
            if (stage, every) not in kept:
                continue
            found = self._store(stage, every, augmentation).find(names)
            if found:
                _log.info("%d from cached features of %s.", len(found), stage)
                return self._trunk.after(stage, every), found
        return None

    def _images(
        self,
        data: ImageData,
        digests: Sequence[str],
        places: Sequence[int],
        augmentation: Augmentation | None,
    ) -> Iterator[Pixels]:
        views = _views(augmentation)
        batches = image_batches(
            data,
            image_size=self._trunk.image_size,
            batch_size=self._batch_size,
            rows=[place // views for place in places],
            digests=digests,
        )
        if augmentation is None:
            yield from batches
            return
        seeds = np.array(
            [(int(digests[place // views][:7], 16), place % views) for place in places]
        )
        done = 0
        for images in batches:
            yield make_views(augmentation, images, seeds[done : done + len(images)])
            done += len(images)

    def _compute(
        self,
        trunk: Trunk,
        batches: Iterator[Pixels],
        names: Sequence[str],
        store: Shards | MemoryRows,
        progress: "_Progress",
    ) -> None:
        fill = min(self._batch_size, len(names))
        shard = max(1, min(_SHARD_ROWS, _SHARD_BYTES // store.row_bytes))
        held: list[Pixels] = []
        first = done = 0
        written = time.monotonic()
        try:
            for batch in batches:
                # A last batch is filled up, since each new size is compiled anew.
                held.append(trunk.features(_filled(batch, fill))[: len(batch)])
                done += len(batch)
                late = time.monotonic() - written > _SHARD_SECONDS
                if late or done - first >= shard:
                    rows, held = np.concatenate(held), []
                    store.write(names[first:done], rows)
                    first, written = done, time.monotonic()
                progress.add(len(batch))
        except BaseException:
            # A photo turns out to be unreadable, or the user stops: nothing is lost.
            with contextlib.suppress(CacheError):
                if held:
                    store.write(names[first:done], np.concatenate(held))
            raise
        if held:
            store.write(names[first:done], np.concatenate(held))


def _stacked(held: Sequence[tuple[Pixels, int]], batch_size: int) -> Iterator[Pixels]:
    for first in range(0, len(held), batch_size):
        part = held[first : first + batch_size]
        yield np.stack([array[number] for array, number in part])


def _filled(batch: Pixels, size: int) -> Pixels:
    missing = size - len(batch)
    if not missing:
        return batch
    return np.pad(batch, ((0, missing), *[(0, 0)] * (batch.ndim - 1)))


class _Progress:
    """A progress bar with images per second; none if there is nothing to compute.

    Args:
        trunk: What computes.
        verbose: 0, 1 or 2, as in Keras.
        batches: Number of a dataset's batches, negative if unknown; None for images, of
            which all are expected at once.
    """

    def __init__(self, trunk: Trunk, verbose: int, batches: Any = None) -> None:
        self._label = f"features to {trunk.stage}, images/s"
        self._verbose = verbose
        self._batches = None if batches is None else int(batches)
        self.batch_size = 0
        self._bar: Any = None
        self._start = 0.0
        self._done = self._known = 0

    def expect(self, count: int, *, known: int) -> None:
        """Announces images to compute, beside some that are known already."""
        self._known += known
        if self._bar is None and count:
            target: int | None = count
            if self._batches is not None:
                announced = self._batches * self.batch_size - self._known
                target = announced if self._batches > 0 else None
            self._start = time.perf_counter()
            self._bar = keras.utils.Progbar(
                target,
                verbose=self._verbose,
                stateful_metrics=[self._label],
                unit_name="image",
            )

    def add(self, count: int) -> None:
        """Counts images that are done."""
        self._done += count
        # The end of a dataset is known when it comes: its last batch may be smaller.
        final = False if self._batches is not None else None
        self._update(finalize=final)

    def finish(self) -> None:
        """Ends the bar of a dataset."""
        if self._bar is not None:
            self._bar.target = self._done
            self._update(finalize=True)

    def _update(self, *, finalize: bool | None) -> None:
        rate = self._done / (time.perf_counter() - self._start)
        self._bar.update(self._done, [(self._label, rate)], finalize=finalize)


def _views(augmentation: Augmentation | None) -> int:
    if augmentation is None:
        return 1
    if augmentation.views is None:
        raise ValueError("New views in each epoch have no features that could be kept.")
    return augmentation.views


def _second(pair: tuple[str, int]) -> int:
    return pair[1]
