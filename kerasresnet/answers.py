"""Predictions as lines: for people, as CSV and as JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence

from kerasresnet.prediction import Prediction


def table_lines(predictions: Sequence[Prediction]) -> Iterator[str]:
    """Yields a line for each prediction, aligned.

    Args:
        predictions: At least one.
    """
    source_width = max(len(p.source) for p in predictions)
    label_width = max(len(p.label) for p in predictions)
    for p in predictions:
        rest = ", ".join(f"{name} {share:.1%}" for name, share in p.top[1:])
        line = f"{p.source:<{source_width}}  {p.label:<{label_width}}  {p.probability:>6.1%}  {rest}"
        yield line.rstrip()


def csv_lines(predictions: Sequence[Prediction]) -> Iterator[str]:
    """Yields a header and a row for each prediction.

    Args:
        predictions: At least one.
    """
    ranks = range(1, len(predictions[0].top) + 1)
    pairs = (c for k in ranks for c in (f"label_{k}", f"probability_{k}"))
    yield _row(["source", *pairs])
    for p in predictions:
        answers = (c for name, share in p.top for c in (name, f"{share:.6f}"))
        yield _row([p.source, *answers])


def json_lines(predictions: Sequence[Prediction]) -> Iterator[str]:
    """Yields a JSON object for each prediction.

    Args:
        predictions: Any.
    """
    for p in predictions:
        record = {
            "source": p.source,
            "label": p.label,
            "probability": p.probability,
            "top": [{"label": name, "probability": share} for name, share in p.top],
        }
        yield json.dumps(record, ensure_ascii=False)


# As the command line calls them.
FORMS: dict[str, Callable[[Sequence[Prediction]], Iterator[str]]] = {
    "table": table_lines,
    "csv": csv_lines,
    "jsonl": json_lines,
}


def _row(cells: Sequence[str]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="").writerow(cells)
    return held.getvalue()
