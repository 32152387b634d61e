"""What is wrong with a set of photos, found before training does.

Photos and labels come in as plain lists; which photos there are is decided in
`images`. Nothing is repaired here.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kerasresnet.decoding import Photo, read_image
from kerasresnet.errors import DataError, listing

# keras.applications refuses smaller inputs; such a photo holds too little to tell.
SMALL = 32
_SHOWN = 10


@dataclass(frozen=True)
class Audit:
    """What `ImageData.check` found.

    `print(audit)` shows a summary; `audit.ok` says whether training could start.

    Args:
        counts: Number of images of each class, by class name; empty if unlabelled.
        unreadable: Pairs of source and reason for each image that cannot be read.
        small: Sources of images with a side under 32 px.
        unlabelled: Number of images, if they have no labels.
    """

    counts: dict[str, int]
    unreadable: tuple[tuple[str, str], ...] = ()
    small: tuple[str, ...] = ()
    unlabelled: int = 0

    @property
    def ok(self) -> bool:
        """Whether every image can be read."""
        return not self.unreadable

    def __str__(self) -> str:
        lines = [f"{sum(self.counts.values()):,} images in {len(self.counts)} classes"]
        if self.unlabelled:
            lines = [f"{self.unlabelled:,} images, unlabelled"]
        width = max((len(name) for name in self.counts), default=0)
        shown = sorted(self.counts.items(), key=lambda item: -item[1])[: 2 * _SHOWN]
        lines += [f"  {name:<{width}}  {count:>6,}" for name, count in shown]
        if len(self.counts) > len(shown):
            lines.append(f"  and {len(self.counts) - len(shown):,} more classes")
        if self.unreadable:
            lines.append(f"{len(self.unreadable):,} cannot be read:")
            lines += [f"  {reason}" for _, reason in self.unreadable[:_SHOWN]]
            if len(self.unreadable) > _SHOWN:
                lines.append(f"  and {len(self.unreadable) - _SHOWN:,} more")
        else:
            lines.append("Every image can be read.")
        if self.small:
            lines.append(
                f"{len(self.small):,} have a side under {SMALL} px: {listing(self.small)}"
            )
        return "\n".join(lines)


def inspect(
    photos: Sequence[Photo], sources: Sequence[str], counts: dict[str, int]
) -> Audit:
    """Reads every photo once and notes what is wrong.

    Args:
        photos: The photos.
        sources: A name for each photo.
        counts: Number of images of each class.

    Returns:
        An `Audit`.
    """

    def look(photo: Photo) -> tuple[int, str]:
        try:
            return min(read_image(photo).shape[:2]), ""
        except DataError as error:
            return 0, str(error)

    with ThreadPoolExecutor() as pool:
        seen = list(pool.map(look, photos))
    pairs = list(zip(sources, seen, strict=True))
    return Audit(
        unlabelled=0 if counts else len(photos),
        counts=counts,
        unreadable=tuple((source, reason) for source, (_, reason) in pairs if reason),
        small=tuple(
            source for source, (side, reason) in pairs if not reason and side < SMALL
        ),
    )
