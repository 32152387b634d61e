"""Seconds and memory to index many files, and to look at them.

Run it:  python tests/benchmarks/indexing.py
Quick:   python tests/benchmarks/indexing.py --files 2000 --paths 10000

Files are small JPEGs, all different, in 10 class folders. The directory has been listed
before, so it is in the system's page cache. Memory is the largest that the process had,
less what it had with the library loaded.
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


def _write(folder, count):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(count):
        target = folder / f"class{number % CLASSES}"
        target.mkdir(exist_ok=True)
        blocks = rng.integers(0, 256, (4, 4, 3), "uint8")
        Image.fromarray(blocks).resize((32, 32)).save(target / f"{number:06}.jpg")


def main():
    """Makes the files, and prints what each step took."""
    made = sides.parser(__doc__.splitlines()[0], names=["index", "paths"], runs=1)
    made.add_argument("--files", type=int, default=60_000)
    made.add_argument("--paths", type=int, default=1_000_000)
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
        }
        chosen = [titles[side] for side in sides.chosen(options, titles)]
        sides.measure(__file__, chosen, options)


if __name__ == "__main__" and not sides.serve((index, paths)):
    sys.exit(main())
