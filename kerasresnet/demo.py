"""A small set of drawn flowers, and the main job on it: needs no network and no file."""

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kerasresnet.artifacts import load
from kerasresnet.decoding import Pixels
from kerasresnet.errors import ArtifactError
from kerasresnet.extraction import Verbosity
from kerasresnet.images import ImageData
from kerasresnet.notes import RunSettings
from kerasresnet.prediction import Prediction, predict
from kerasresnet.releases import PINNED, cache_folder, is_cached
from kerasresnet.runs import train_run

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

_PETALS: tuple[Colour, ...] = (
    (214, 40, 57),
    (236, 112, 150),
    (250, 205, 60),
    (245, 240, 235),
    (240, 140, 40),
    (170, 80, 190),
)
_GROUNDS: tuple[Colour, ...] = (
    (60, 110, 50),
    (110, 150, 190),
    (120, 100, 70),
    (150, 150, 150),
    (40, 60, 40),
    (190, 200, 160),
)


def run_demo(
    folder: Path,
    *,
    weights: str | None = None,
    seed: int = 0,
    say: Callable[[str], None],
    verbose: Verbosity = "auto",
) -> None:
    """Draws flowers and does the main job on them, from index to reloaded model.

    Args:
        folder: An empty folder for photos, model, report and figures.
        weights: A weights file, or `"none"` for random weights. Defaults to ImageNet
            weights if they are cached, else random.
        seed: Decides the photos and the training.
        say: Called with each line for the user.
        verbose: As in Keras.
    """
    say(f"folder: {folder}")
    photos = draw_flowers(folder / "photos", per_class=60, seed=seed)
    data = ImageData.from_folder(photos)
    say(f"index: {data}")
    chosen = _choose_weights(weights, say)
    settings = RunSettings(
        weights=chosen,
        image_size=64,
        epochs=(6,),  # about a minute on a laptop
        cache="memory",
        seed=seed,
    )
    results = folder / "run"
    results.mkdir()
    model, report = train_run(
        data, results, settings, source=photos, say=say, verbose=verbose
    )
    say(f"\n{report}\n")
    _, held_out = data.split(settings.validation, seed=seed)
    some = held_out.take(5, seed=seed)
    before = predict(model, some, top=3)
    after = predict(load(results / "model.keras"), some, top=3)
    say("predict, with the model that was saved and loaded again:")
    _say_predictions(after, say)
    if not _agree(before, after):
        raise ArtifactError("The model that was loaded again answers differently.")
    figures = ", ".join(sorted(path.name for path in results.glob("*.png")))
    say(f"\nThe loaded model gives the same answers. Figures: {figures}")
    say(f"results: {results}")
    say(f"next: {shlex.join(['kerasresnet', 'report', str(results)])}")


def _choose_weights(weights: str | None, say: Callable[[str], None]) -> str | None:
    if weights not in (None, "none"):
        say(f"weights: {weights}")
        return weights
    if weights is None and is_cached("resnet50"):
        say("weights: ImageNet, from Keras's cache")
        return "imagenet"
    file = PINNED["resnet50", False]
    say(
        "weights: random. This network has never seen a photo: expect a far lower accuracy "
        f"than with ImageNet weights. To use those, put {file.url} into {cache_folder()}, or "
        "pass --weights FILE."
    )
    return None


def _agree(before: Sequence[Prediction], after: Sequence[Prediction]) -> bool:
    # Not bit for bit: on a GPU two compiled functions may add in another order.
    return all(
        old.label == new.label
        and math.isclose(old.probability, new.probability, rel_tol=1e-3)
        for old, new in zip(before, after, strict=True)
    )


def _say_predictions(
    predictions: Sequence[Prediction], say: Callable[[str], None]
) -> None:
    for prediction in predictions:
        answers = ", ".join(f"{name} {share:.1%}" for name, share in prediction.top)
        say(f"  {Path(prediction.source).name}: {answers}")


def draw_flowers(
    folder: Path, *, per_class: int = 80, size: int = 96, seed: int = 0
) -> Path:
    """Draws flower photos into a folder for each of five classes.

    Shapes, textures, colours, backgrounds, sizes, positions and noise vary, and colours
    overlap between classes. The same seed draws the same pixels.

    Args:
        folder: Where the class folders go; made if need be.
        per_class: Number of photos of each class.
        size: Height and width, in px.
        seed: Decides every stroke.

    Returns:
        The folder.
    """
    for label, (name, painter) in enumerate(_PAINTERS.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            rng = np.random.default_rng((seed, label, number))
            photo = _photo(painter, size, rng)
            photo.save(folder / name / f"{name}_{number:03d}.jpg", quality=90)
    return folder


class _Canvas:
    """A flower's own coordinates: (0, 0) is its heart, 1 its radius, turned at random."""

    def __init__(self, image: Image.Image, rng: np.random.Generator) -> None:
        side = image.width
        self.draw = ImageDraw.Draw(image)
        self.rng = rng
        self.radius = side * rng.uniform(0.22, 0.42)
        self.heart = side * rng.uniform(0.38, 0.62, 2)
        self.turn = rng.uniform(0, 2 * math.pi)
        # Seen from the side, a round flower is an ellipse.
        self.squeeze = rng.uniform(0.7, 1.0)

    def at(self, angle: float, distance: float) -> Point:
        x = math.cos(angle) * distance * self.radius
        y = math.sin(angle) * distance * self.radius * self.squeeze
        return float(self.heart[0] + x), float(self.heart[1] + y)

    def disc(
        self, angle: float, distance: float, radius: float, colour: Colour
    ) -> None:
        x, y = self.at(angle, distance)
        rx, ry = radius * self.radius, radius * self.radius * self.squeeze
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=colour)

    def petal(
        self, angle: float, inner: float, outer: float, width: float, colour: Colour
    ) -> None:
        middle = (inner + outer) / 2
        outline = [self.at(angle, inner), self.at(angle - width, middle)]
        outline += [self.at(angle - width * 0.5, outer * 0.94), self.at(angle, outer)]
        outline += [
            self.at(angle + width * 0.5, outer * 0.94),
            self.at(angle + width, middle),
        ]
        self.draw.polygon(outline, fill=colour, outline=_shade(colour, 0.8))

    def angles(self, count: int) -> Sequence[float]:
        return [self.turn + 2 * math.pi * k / count for k in range(count)]


def _daisy(canvas: _Canvas) -> None:
    rng = canvas.rng
    colour = _pick(((248, 248, 244), (250, 225, 235), (250, 240, 190)), rng)
    count = int(rng.integers(9, 16))
    for angle in canvas.angles(count):
        canvas.petal(
            angle, 0.1, rng.uniform(0.85, 1.0), 2.0 / count, _vary(colour, rng)
        )
    canvas.disc(0, 0, rng.uniform(0.2, 0.34), _vary((238, 190, 40), rng))


def _dandelion(canvas: _Canvas) -> None:
    rng = canvas.rng
    colour = _pick(((250, 210, 40), (245, 190, 30), (225, 225, 220)), rng)
    for angle in canvas.angles(int(rng.integers(70, 120))):
        start, end = (
            canvas.at(angle, rng.uniform(0, 0.5)),
            canvas.at(angle, rng.uniform(0.6, 1)),
        )
        canvas.draw.line([start, end], fill=_vary(colour, rng, 30), width=2)


def _rose(canvas: _Canvas) -> None:
    rng = canvas.rng
    colour = _vary(_pick(_PETALS, rng), rng)
    layers = int(rng.integers(4, 7))
    for layer in range(layers):
        reach = 1 - layer / layers
        shade = 0.55 + 0.45 * (layer % 2 or reach)
        count = max(3, 6 - layer)
        offset = rng.uniform(0, math.pi)
        for angle in canvas.angles(count):
            canvas.disc(
                angle + offset, reach * 0.5, reach * 0.55, _shade(colour, shade)
            )
            shade = max(0.45, shade - 0.06)


def _sunflower(canvas: _Canvas) -> None:
    rng = canvas.rng
    colour = _pick(((248, 190, 20), (240, 150, 30), (250, 225, 120)), rng)
    count = int(rng.integers(16, 26))
    for angle in canvas.angles(count):
        canvas.petal(
            angle, 0.3, rng.uniform(0.88, 1.0), 2.4 / count, _vary(colour, rng)
        )
    heart = rng.uniform(0.42, 0.58)
    brown = _vary((95, 60, 25), rng)
    canvas.disc(0, 0, heart, brown)
    for _ in range(60):
        angle, distance = (
            rng.uniform(0, 2 * math.pi),
            heart * math.sqrt(rng.uniform(0, 0.9)),
        )
        canvas.disc(angle, distance, 0.03, _shade(brown, rng.uniform(0.6, 1.5)))


def _tulip(canvas: _Canvas) -> None:
    rng = canvas.rng
    colour = _vary(_pick(_PETALS, rng), rng)
    x, y = canvas.heart
    r = canvas.radius
    lean = rng.uniform(-0.4, 0.4) * r
    canvas.draw.line(
        [(x, y), (x - lean, y + 4 * r)], fill=_vary((70, 120, 50), rng), width=6
    )
    wide = rng.uniform(0.55, 0.75)
    for shift, shade in ((-0.5, 0.75), (0.5, 0.85), (0.0, 1.0)):
        centre = x + shift * wide * r + lean * 0.2
        half = 0.62 * wide * r
        tip, waist = (centre + shift * 0.5 * r, y - r), y + 0.2 * r
        outline = [tip, (centre - half, y - 0.2 * r), (centre - half * 0.8, waist)]
        outline += [
            (x, y + 0.8 * r),
            (centre + half * 0.8, waist),
            (centre + half, y - 0.2 * r),
        ]
        canvas.draw.polygon(
            outline, fill=_shade(colour, shade), outline=_shade(colour, 0.6)
        )


_PAINTERS: dict[str, Callable[[_Canvas], None]] = {
    "daisy": _daisy,
    "dandelion": _dandelion,
    "roses": _rose,
    "sunflowers": _sunflower,
    "tulips": _tulip,
}


def _photo(
    painter: Callable[[_Canvas], None], size: int, rng: np.random.Generator
) -> Image.Image:
    image = _background(2 * size, rng)
    painter(_Canvas(image, rng))
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    pixels = np.asarray(image, "float32") * rng.uniform(0.7, 1.15)
    pixels += rng.normal(0, rng.uniform(4, 22), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))


def _background(side: int, rng: np.random.Generator) -> Image.Image:
    top, bottom = (np.array(_vary(_pick(_GROUNDS, rng), rng, 30)) for _ in range(2))
    slope = np.linspace(0, 1, side)[:, None, None]
    rows = np.broadcast_to(top * (1 - slope) + bottom * slope, (side, side, 3))
    image = Image.fromarray(np.clip(rows, 0, 255).astype("uint8"))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 12))):
        x, y = rng.uniform(0, side, 2)
        rx, ry = rng.uniform(0.03, 0.2, 2) * side
        colour = _vary(_pick((*_GROUNDS, *_PETALS), rng), rng, 30)
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=_shade(colour, 0.8))
    return image.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.01, 0.04)))


def _pick(colours: Sequence[Colour], rng: np.random.Generator) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _vary(colour: Colour, rng: np.random.Generator, by: int = 18) -> Colour:
    return _clip(np.array(colour) + rng.integers(-by, by + 1, 3))


def _shade(colour: Colour, factor: float) -> Colour:
    return _clip(np.array(colour) * factor)


def _clip(values: Pixels | Any) -> Colour:
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue
