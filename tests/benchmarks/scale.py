"""Time for an image and peak memory of feature extraction, as the data set grows.

Run it:  python tests/benchmarks/scale.py --counts 1000,50000
Quick:   python tests/benchmarks/scale.py --counts 64,128 --runs 1

Random images of 32 px, upsampled to 224 px inside a ResNet50 with random weights. Each
number of images has a process of its own. The images are in memory, and a first call on
64 of them is over, when clock and memory are read. The time includes what a call costs
whatever its size, such as tracing. The memory is the highest that the process ever had,
above what it had just before.
"""

import resource
import statistics
import sys
import time
from pathlib import Path

import sides

MIB = 2**20


def extract(settings):
    """Extracts the features of `count` images."""
    import numpy as np

    kr = sides.load_library()
    count = settings["count"]
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, 32, 32, 3), "uint8")
    model = kr.build_classifier(
        10, weights=None, input_shape=(32, 32, 3), upsample_to=224
    )
    cache = False if settings["cache"] == "off" else settings["cache"]
    others = rng.integers(0, 256, (64, 32, 32, 3), "uint8")
    kr.extract_features(model, others, cache=cache, verbose=0)
    before = _memory_now()
    start = time.perf_counter()
    features = kr.extract_features(model, images, cache=cache, verbose=0)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "seconds_per_image": seconds / count,
        "images_mib": images.nbytes / MIB,
        "features_mib": getattr(features, "nbytes", 0) / MIB,
        "before_mib": before / MIB,
        "above_mib": (_peak_memory() - before) / MIB,
    }


def _memory_now():
    """Resident memory in bytes; where the system does not tell, the peak so far."""
    file = Path("/proc/self/statm")
    if not file.is_file():
        return _peak_memory()
    return int(file.read_text("utf-8").split()[1]) * resource.getpagesize()


def _peak_memory():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main():
    """Runs every number of images in turn and prints the table."""
    options = _options()
    print(f"{sides.machine()}\n32 px upsampled to 224 px, cache {options.cache}\n")
    chosen = [
        sides.Side(f"{count:,}", "extract", {"count": count, "cache": options.cache})
        for count in (int(text) for text in options.counts.split(","))
    ]
    results = sides.measure(__file__, chosen, options)
    print(f"\n{_table(results)}")


def _table(results):
    header = ["images", "ms per image, each run", "median", "MiB: images", "features"]
    header += ["process before", "peak above that, each run"]
    rows = []
    for title, found in results.items():
        done = [result for result in found if "seconds" in result]
        if not done:
            rows.append([title, "failed", *["-"] * 5])
            continue
        times = [1000 * result["seconds_per_image"] for result in done]
        above = [f"{result['above_mib']:,.0f}" for result in done]
        held = [
            statistics.median(result[key] for result in done)
            for key in ("images_mib", "features_mib", "before_mib")
        ]
        rows.append(
            [
                title,
                ", ".join(f"{each:.2f}" for each in times),
                f"{statistics.median(times):.2f}",
                *(f"{each:,.0f}" for each in held),
                ", ".join(above),
            ]
        )
    return sides.markdown(header, rows)


def _options():
    made = sides.parser(__doc__.splitlines()[0], names=["extract"], runs=1)
    made.add_argument("--counts", default="1000,50000", help="default %(default)s")
    made.add_argument("--cache", choices=("auto", "memory", "off"), default="auto")
    return made.parse_args()


if __name__ == "__main__" and not sides.serve((extract,)):
    main()
