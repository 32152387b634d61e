"""Seconds for a sweep of penalties: this library's solver and scikit-learn's.

Run it:  python tests/benchmarks/probing.py
Quick:   python tests/benchmarks/probing.py --images 500 --classes 5

Features are drawn, and as pooled ones are: not negative, correlated, their variances
falling as a power. Both sides minimise the same objective for the same penalties, from
the strongest on, each solution the start of the next. Where each one stops is its own
choice, so the last lines say how far the objective is above the best that a side
reached: for the penalty where that is worst, as a share of the objective.
"""

import sys
import time
import warnings

import sides

KEYS = ("images", "width", "classes", "penalties")


def ours(settings):
    """Sweeps with `kerasresnet.solving`."""
    from kerasresnet.solving import solve_path

    features, labels, penalties, _ = _task(settings)
    start = time.perf_counter()
    path = solve_path(
        features, labels, classes=settings["classes"], penalties=penalties
    )
    found = {"seconds": time.perf_counter() - start}
    found["iterations"] = sum(one.iterations for one in path)
    found["not converged"] = sum(not one.converged for one in path)
    return found | {"losses": [one.loss for one in path]}


def theirs(settings):
    """Sweeps with scikit-learn's `LogisticRegression`, warm-started."""
    from sklearn.linear_model import LogisticRegression

    features, labels, penalties, scale = _task(settings)
    start = time.perf_counter()
    features = (features - features.mean(axis=0)) / scale
    model = LogisticRegression(
        warm_start=True, max_iter=1000, tol=settings["tolerance"]
    )
    found = {"iterations": 0, "not converged": 0}
    kernels = []
    for penalty in penalties:
        model.C = 1 / (penalty * len(labels))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(features, labels)
        found["not converged"] += bool(caught)
        found["iterations"] += int(model.n_iter_.max())
        kernels.append((model.coef_.T.copy(), model.intercept_.copy()))
    found["seconds"] = time.perf_counter() - start
    losses = [
        _objective(features, labels, *fitted, penalty)
        for penalty, fitted in zip(penalties, kernels, strict=True)
    ]
    return found | {"losses": losses}


def _objective(features, labels, kernel, bias, penalty):
    import numpy as np
    from scipy.special import log_softmax

    chances = log_softmax(features @ kernel + bias, axis=1)
    loss = -chances[np.arange(len(labels)), labels].mean()
    return float(loss + penalty / 2 * (kernel**2).sum())


def _task(settings):
    """Features, labels, penalties, and the scale that penalties refer to."""
    import numpy as np

    from kerasresnet.solving import default_penalties

    images, width, classes, count = (settings[key] for key in KEYS)
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    deviations = np.arange(1, min(width, 512) + 1) ** -0.5
    means = 0.6 * rng.standard_normal((classes, len(deviations)))
    latent = rng.standard_normal((images, len(deviations))) + means[labels]
    mixed = rng.standard_normal((len(deviations), width)) * deviations[:, None]
    mixed /= np.linalg.norm(deviations)
    noise = 0.3 * rng.standard_normal((images, width))
    features = np.maximum(latent @ mixed + noise - 0.5, 0).astype("float32")
    centred = features - features.mean(axis=0)
    scale = float(np.sqrt((centred.astype("float64") ** 2).sum(axis=1).mean()))
    return features.astype("float64"), labels, default_penalties(count), scale


def main():
    """Runs both sides for each number of classes, and prints a line for each."""
    made = sides.parser(__doc__.splitlines()[0], names=["ours", "theirs"], runs=1)
    made.add_argument("--images", type=int, default=5000)
    made.add_argument("--width", type=int, default=2048)
    made.add_argument("--classes", default="5,10,102", help="comma-separated")
    made.add_argument("--penalties", type=int, default=20)
    made.add_argument(
        "--tolerance", type=float, default=1e-4, help="of scikit-learn; %(default)s"
    )
    options = made.parse_args()
    print(sides.machine())
    for classes in map(int, options.classes.split(",")):
        settings = {key: getattr(options, key) for key in KEYS}
        settings |= {"classes": classes, "tolerance": options.tolerance}
        titles = {
            "ours": sides.Side(f"kerasresnet, {classes} classes", "ours", settings),
            "theirs": sides.Side(
                f"scikit-learn, {classes} classes", "theirs", settings
            ),
        }
        chosen = [titles[side] for side in sides.chosen(options, titles)]
        _report(sides.measure(__file__, chosen, options))


def _report(results):
    runs = {
        title: [one for one in found if "losses" in one]
        for title, found in results.items()
    }
    paths = [one["losses"] for found in runs.values() for one in found]
    best = [min(losses) for losses in zip(*paths, strict=True)]
    for title, found in runs.items():
        for one in found:
            pairs = zip(one["losses"], best, strict=True)
            above = max(loss / least - 1 for loss, least in pairs)
            print(f"{title}: {one['seconds']:.1f} s, above the best {above:.1e}")


if __name__ == "__main__" and not sides.serve((ours, theirs)):
    sys.exit(main())
