"""Seconds and memory to index many files, to look at them and to find near duplicates.

Run it:  python tests/benchmarks/indexing.py
Quick:   python tests/benchmarks/indexing.py --files 2000 --paths 10000 --sketches 2000

Files are small JPEGs, all different, in 10 class folders. The directory has been listed
before, so it is in the system's page cache. Sketches are drawn like the files, and one
in a hundred is another one, a little brighter: each makes a pair. Memory is the largest
that the process had, less what it had with the library loaded, and for the search less
what the sketches take.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sides

CLASSES = 10


def index(settings):
    """Indexes a folder."""
    kr = sides.load_library()
    for path in Path(settings["folder"]).glob("*/*"):
        path.stat()
    data, seconds = _timed(kr.ImageData.from_folder, settings["folder"])
    found = {"index": seconds}
    _, found["split, first"] = _timed(data.split, 0.2)
    _, found["split, again"] = _timed(data.split, 0.2)
    _, found["k_folds"] = _timed(data.k_folds, 5)
    return found


def _timed(work, *arguments):
    start = time.perf_counter()
    return work(*arguments), time.perf_counter() - start


def paths(settings):
    """Indexes a table of paths, of which none is looked at."""
    kr = sides.load_library()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = Path("/photos")
    listed = tuple(
        folder / f"class{i % 1000:03}" / f"photograph_{i:08}.jpg"
        for i in range(settings["count"])
    )
    data = kr.ImageData.from_paths(listed)
    part = data.shard(0, 2)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images": len(data), "in a shard": len(part), "GB": (after - before) / 1e6}


def sketches(settings):
    """Searches sketches for near duplicates."""
    sides.load_library()
    import numpy as np

    from kerasresnet.duplicates import same_pictures
    from kerasresnet.looks import Look

    drawn = [np.asarray(image) for image in _pictures(settings["count"], (9, 8))]
    for i in range(100, len(drawn), 100):
        drawn[i] = np.minimum(drawn[i - 1], 253) + 2
    digests = [str(i) for i in range(len(drawn))]
    looks = [Look(sketch=sketch.tobytes()) for sketch in drawn]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    groups, seconds = _timed(same_pictures, digests, looks)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pairs = len(groups.members())
    return {"seconds": seconds, "pairs": pairs, "GB": (after - before) / 1e6}


def _pictures(count, size):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for _ in range(count):
        yield Image.fromarray(rng.integers(0, 256, (4, 4, 3), "uint8")).resize(size)


def _write(folder, count):
    for number, picture in enumerate(_pictures(count, (32, 32))):
        target = folder / f"class{number % CLASSES}"
        target.mkdir(exist_ok=True)
        picture.save(target / f"{number:06}.jpg")


def main():
    """Makes the files, and prints what each step took."""
    names = ["index", "paths", "sketches"]
    made = sides.parser(__doc__.splitlines()[0], names=names, runs=1)
    made.add_argument("--files", type=int, default=60_000)
    made.add_argument("--paths", type=int, default=1_000_000)
    made.add_argument("--sketches", type=int, default=60_000)
    options = made.parse_args()
    print(sides.machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        _write(folder, options.files)
        subprocess.run(["sync"], check=False)
        titles = {
            "index": sides.Side(
                f"{options.files:,} files, seconds", "index", {"folder": str(folder)}
            ),
            "paths": sides.Side(
                f"{options.paths:,} paths, memory", "paths", {"count": options.paths}
            ),
            "sketches": sides.Side(
                f"{options.sketches:,} sketches, near duplicates",
                "sketches",
                {"count": options.sketches},
            ),
        }
        chosen = [titles[side] for side in sides.chosen(options, titles)]
        sides.measure(__file__, chosen, options)


if __name__ == "__main__" and not sides.serve((index, paths, sketches)):
    sys.exit(main())
