"""The report's page: how long it takes beside one pass of the network, and its size.

Run it:  python tests/benchmarks/report_page.py
Quick:   python tests/benchmarks/report_page.py --photos 100 --image-size 96

The photos are those of the folder, then their mirror images, each a file of its own, until
there are enough. Each step is timed in the same process, after the network has been traced:
the pass (`evaluate`), the audit (each photo is looked at once), the label issues (a pass of
the trunk, then k heads), and `to_html` with and without heat maps. `page, all` is audit and
`to_html` with everything: what the page takes beyond the pass, and beyond the features that
label issues need, which are cached after training. Grad-CAM of 16 photos is made at once
and one by one.
"""

import tempfile
import time
from pathlib import Path

import sides

NAMES = {"page": "the page", "maps": "Grad-CAM"}
_MAPS = 16
_UNITS = {"megabytes": "MB", "images": ""}


def page(settings):
    """Evaluates, looks for wrong labels, and writes the page."""
    kr = sides.load_library()
    with tempfile.TemporaryDirectory() as folder:
        data = _material(kr, settings, Path(folder) / "photos")
        model = _model(kr, data, settings)
        kr.evaluate(model, data.take(32))
        out, found = Path(folder) / "page.html", {"images": len(data)}
        report = _timed(found, "pass", lambda: kr.evaluate(model, data))
        audit = _timed(found, "audit", data.check)
        issues = _timed(
            found, "label issues", lambda: kr.label_issues(model, data, verbose=0)
        )
        _timed(
            found,
            "label issues, features known",
            lambda: kr.label_issues(model, data, verbose=0),
        )
        _timed(found, "page, without heat maps", lambda: report.to_html(out))
        report = kr.Report(
            report.class_names, report.labels, report.probabilities, report.sources
        )
        _timed(
            found,
            "page",
            lambda: report.to_html(out, model=model, audit=audit, label_issues=issues),
        )
        found["page, all"] = found["page"] + found["audit"]
        found["megabytes"] = out.stat().st_size / 1e6
        return found


def maps(settings):
    """Makes heat maps at once, and one by one."""
    kr = sides.load_library()
    data = kr.ImageData.from_folder(settings["folder"]).take(_MAPS)
    model, found = _model(kr, data, settings), {"images": len(data)}
    for size in (1, _MAPS):
        kr.grad_cam(model, data, batch_size=size)  # what is made once is made
    _timed(found, "at once", lambda: kr.grad_cam(model, data))
    _timed(found, "one by one", lambda: kr.grad_cam(model, data, batch_size=1))
    _timed(
        found, "in calls of one", lambda: [kr.grad_cam(model, p) for p in data.paths]
    )
    return found


def _timed(found, name, work):
    start = time.perf_counter()
    done = work()
    found[name] = time.perf_counter() - start
    return done


def _model(kr, data, settings):
    size = settings["image_size"]
    model = kr.build_classifier(
        class_names=data.class_names,
        weights=settings["weights"],
        input_shape=(size, size, 3),
    )
    kr.probe(model, data.take(100), verbose=0)  # so that it is not wrong everywhere
    return model


def _material(kr, settings, folder):
    """Photos and mirror images in files, as many as are asked for."""
    from PIL import Image, ImageOps

    data = kr.ImageData.from_folder(settings["folder"])
    data = data.take(min(settings["photos"], len(data)))
    for number in range(settings["photos"]):
        turn, row = divmod(number, len(data))
        source = data.paths[row]
        file = folder / source.parent.name / f"{turn}-{source.name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not turn:
            file.write_bytes(source.read_bytes())
            continue
        with Image.open(source) as image:
            image = image.convert("RGB")
            turned = ImageOps.mirror(image) if turn % 2 else image
            turned.save(file, quality=90 - turn)
    return kr.ImageData.from_folder(folder)


def _written(value, step):
    if isinstance(value, str):
        return value
    return f"{value:.3g} {_UNITS.get(step, 's')}".strip()


def main():
    """Runs both sides and prints what each step took."""
    made = sides.parser(__doc__.splitlines()[0], names=NAMES, runs=1)
    sides.add_images(made, photos=1000)
    sides.add_material(made)
    options = made.parse_args()
    settings = {
        "folder": sides.photo_folder(options),
        "weights": sides.weights_file(options),
        "photos": options.photos,
        "image_size": options.image_size,
    }
    print(f"{sides.machine()}\n{sides.describe_weights(settings['weights'])}\n")
    chosen = [
        sides.Side(NAMES[name], name, settings) for name in sides.chosen(options, NAMES)
    ]
    results = sides.measure(__file__, chosen, options)
    rows = []
    for title, each in results.items():
        for step in each[0]:
            values = (one.get(step, "absent") for one in each)
            rows.append([title, step, *(_written(value, step) for value in values)])
    header = ["what", "step", *(f"run {run + 1}" for run in range(options.runs))]
    print(f"\n{sides.markdown(header, rows)}")


if __name__ == "__main__" and not sides.serve((page, maps)):
    main()
