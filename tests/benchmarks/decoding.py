"""Images per second from JPEG files to batches of 224 px.

Run it:  python tests/benchmarks/decoding.py --runs 3
Quick:   python tests/benchmarks/decoding.py --runs 1 --photos 32 --large 4

Real photos of 320 x 240 to 500 x 375 px, and photos of 12 megapixels, which are these
enlarged, with the grain of a camera. kerasresnet and Pillow resize antialiased, Keras does
not. A pass over all files is not counted, the next ones are. The time of all threads
together hardly depends on what else the machine does.
"""

import statistics
import tempfile
import time
from pathlib import Path

import sides

NAMES = {
    "keras": "Keras, image_dataset_from_directory",
    "pillow": "Pillow in 2 threads",
    "ours": "kerasresnet",
}
SIZE = (224, 224)
WIDTH, HEIGHT = 4000, 3000


def keras(settings):
    """Reads with Keras."""
    import keras
    import tensorflow as tf

    batches = keras.utils.image_dataset_from_directory(
        settings["folder"], image_size=SIZE, batch_size=32, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    return _measured(settings, lambda: sum(len(labels) for _, labels in batches))


def pillow(settings):
    """Reads with Pillow alone."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    from PIL import Image

    paths = sorted(Path(settings["folder"]).glob("*/*"))

    def read(path):
        with Image.open(path) as image:
            small = image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)
            return np.asarray(small)

    def read_all():
        with ThreadPoolExecutor(2) as pool:
            return len(list(pool.map(read, paths)))

    return _measured(settings, read_all)


def ours(settings):
    """Reads with kerasresnet."""
    kr = sides.load_library()
    data = kr.ImageData.from_folder(settings["folder"])
    batches = kr.make_dataset(data, image_size=SIZE, cache=False)
    return _measured(settings, lambda: sum(len(labels) for _, labels in batches))


def _measured(settings, read_all):
    count = read_all()
    rates, busy = [], []
    for _ in range(settings["passes"]):
        start, used = time.perf_counter(), time.process_time()
        read_all()
        rates.append(count / (time.perf_counter() - start))
        busy.append(1000 * (time.process_time() - used) / count)
    return {
        "images_per_second": statistics.median(rates),
        "cpu_milliseconds_per_image": statistics.median(busy),
    }


def _copy(source, target, count):
    """Copies some photos, the classes in turn."""
    for number, path in enumerate(_some(source, count)):
        folder = target / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04}.jpg").write_bytes(path.read_bytes())


def _enlarge(source, target, count):
    """Makes photos of 12 megapixels."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number, path in enumerate(_some(source, count)):
        folder = target / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            large = image.convert("RGB").resize(
                (WIDTH, HEIGHT), Image.Resampling.BICUBIC
            )
        grain = rng.normal(0, 4, (HEIGHT, WIDTH, 1))
        pixels = np.clip(np.asarray(large) + grain, 0, 255).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number:04}.jpg", quality=90)


def _some(source, count):
    folders = [sorted(folder.glob("*.jpg")) for folder in sorted(source.glob("*"))]
    turns = [path for turn in zip(*folders, strict=False) for path in turn]
    return turns[:count]


def main():
    """Runs the sides in turn and prints the tables."""
    options = _options()
    source = Path(sides.photo_folder(options))
    chosen = sides.chosen(options, NAMES)
    print(sides.machine())
    with tempfile.TemporaryDirectory() as made:
        for name, count, make in (
            ("320 x 240 to 500 x 375 px", options.photos, _copy),
            (f"{WIDTH} x {HEIGHT} px", options.large, _enlarge),
        ):
            folder = Path(made) / make.__name__
            make(source, folder, count)
            print(f"\n{count} JPEGs of {name}, resized to {SIZE[0]} x {SIZE[1]}\n")
            settings = {"folder": str(folder), "passes": options.passes}
            listed = [sides.Side(NAMES[side], side, settings) for side in chosen]
            results = sides.measure(__file__, listed, options)
            references = [NAMES["keras"], NAMES["pillow"]]
            print("\nImages per second:\n")
            print(
                sides.table(
                    results,
                    "images_per_second",
                    references=references,
                    extra="cpu_milliseconds_per_image",
                )
            )


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=NAMES)
    made.add_argument("--photos", type=int, default=500, help="number of small photos")
    made.add_argument("--large", type=int, default=48, help="number of large photos")
    made.add_argument("--passes", type=int, default=3, help="measured, in each process")
    made.add_argument(
        "--data", type=Path, default=Path(sides._DATA), help="%(default)s"
    )
    return made.parse_args()


if __name__ == "__main__" and not sides.serve((keras, pillow, ours)):
    main()
