import numpy as np
import pytest
from drawing import report_of

from kerasresnet.tabulation import class_rows, matrix_rows, score_rows


@pytest.mark.parametrize(("classes", "hidden"), [(5, {"top_5"}), (6, set())])
def test_every_score_has_a_row_but_a_top_5_of_five_classes(classes, hidden):
    cells = np.eye(classes, dtype=int) * 4
    cells[0, 1] = 2
    report = report_of(cells.tolist())
    rows = score_rows(report, report.intervals)
    assert len(rows) == len(report.intervals.keys() - hidden)
    assert rows[0] == (
        "accuracy",
        f"{report.accuracy:.1%}",
        "{:.1%} to {:.1%}".format(*report.accuracy_interval),
    )
    named = {name: value for name, value, _ in rows}
    assert named["macro F1"] == f"{report.macro_f1:.1%}"
    assert named["log loss"] == f"{report.log_loss:.4f}"
    assert named["ROC AUC"] == f"{report.roc_auc:.1%}"


def test_a_class_without_images_has_dashes_in_place_of_shares():
    present, absent = class_rows(report_of([[3, 0], [0, 0]]).per_class)
    assert present[:3] == ("class 0", "100.0%", "100.0%")
    assert absent == ("class 1", "-", "-", "-", "-", "0")


def test_the_rows_of_the_matrix_are_its_counts():
    rows = matrix_rows(report_of([[1, 2], [0, 1200]]))
    assert rows == [("class 0", "1", "2"), ("class 1", "0", "1,200")]
