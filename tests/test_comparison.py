import numpy as np
import pytest
from scipy import stats

import kerasresnet as kr
from kerasresnet.comparison import Comparison

NAMES = ("a", "b")


def table(both, a, b, neither, names=NAMES):
    return Comparison(names, both, ("x",) * a, ("y",) * b, neither)


def report(right, names=("cat", "dog"), sources=None, label=0):
    """A report whose images are all of one class, right or not as told."""
    right = np.asarray(right)
    called = np.where(right, label, 1 - label)
    sources = sources or tuple(f"{i}.jpg" for i in range(len(right)))
    return kr.Report(names, np.full(len(right), label), np.eye(2)[called], sources)


def test_the_numbers_are_the_published_ones():
    # Bentur et al. 2009, as worked out by Fagerland, Lydersen and Laake 2014
    # (Statistics in Medicine 33:2850-2875): Newcombe -0.507 to -0.026, exact p 0.070.
    found = table(1, 1, 7, 12)
    assert found.interval == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert found.p_value == pytest.approx(0.070, abs=5e-4)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (3, 9), (40, 40), (700, 812)])
def test_p_is_the_exact_binomial(a, b):
    expected = stats.binomtest(a, a + b).pvalue if a + b else 1
    assert table(5, a, b, 5).p_value == pytest.approx(expected, rel=1e-9)


def test_every_image_is_in_one_cell():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 90)) < [[0.8], [0.6]]
    found = kr.compare(report(a), report(b))
    assert len(found) == 90
    assert found.accuracies == (a.mean(), b.mean())
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert set(found.only_a) == {f"{i}.jpg" for i in np.flatnonzero(a & ~b)}
    assert set(found.only_b) == {f"{i}.jpg" for i in np.flatnonzero(b & ~a)}


def test_the_other_way_round_everything_changes_its_sign():
    one, other = table(50, 20, 5, 25), table(50, 5, 20, 25)
    assert one.p_value == other.p_value
    assert one.difference == -other.difference
    assert one.interval == pytest.approx([-end for end in reversed(other.interval)])
    assert (one.better, other.better) == ("a", "b")


def test_the_interval_holds_the_difference_and_stays_in_range():
    for cells in ((9, 0, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0), (3, 2, 1, 0), (1, 1, 1, 1)):
        found = table(*cells)
        low, high = found.interval
        assert -1 <= low <= found.difference <= high <= 1


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    shares = (0.7, 0.12, 0.06, 0.12)
    ends = np.array([table(*c).interval for c in rng.multinomial(200, shares, 400)])
    held = np.mean((ends[:, 0] <= 0.06) & (ends[:, 1] >= 0.06))
    assert 0.92 < held < 0.98


def test_the_verdict_is_a_sentence():
    assert table(80, 14, 2, 4, ("new", "old")).verdict == (
        "new is better: right on 94.0% of 100 images, old on 82.0%."
    )
    assert table(80, 2, 14, 4).verdict.startswith("b is better: right on 94.0%")
    same = table(80, 8, 8, 4)
    assert same.better is None
    assert same.verdict.startswith("No difference to see with 100 images: a is right")


def test_printing_shows_verdict_difference_and_counts():
    text = str(table(80, 14, 2, 4, ("new", "old")))
    assert "difference +12.0 points  (95 % interval +4." in text
    assert "p 0.0042, McNemar" in text
    assert "only new right       14" in text
    assert repr(table(1, 1, 0, 0)).startswith("Comparison(a and b, 2 images")


def test_images_in_another_order_are_matched_by_source():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 40)) < 0.6
    order = rng.permutation(40)
    turned = report(b[order], sources=tuple(f"{i}.jpg" for i in order))
    expected, found = kr.compare(report(a), report(b)), kr.compare(report(a), turned)
    assert found == expected


def test_classes_in_another_order_are_matched_by_name():
    first = report([True, False])
    second = report([True, True], names=("dog", "cat"), label=1)
    assert kr.compare(first, second).only_b == ("1.jpg",)


def test_sources_that_occur_twice_are_fine_in_the_same_order():
    one = report([True, False], sources=("x", "x"))
    assert len(kr.compare(one, one)) == 2


def test_reports_on_other_images_or_labels_are_refused():
    one = report([True, False])
    with pytest.raises(
        kr.DataError, match=r"only in the first: 0.jpg; only in the sec"
    ):
        kr.compare(one, report([True, False], sources=("1.jpg", "2.jpg")))
    with pytest.raises(kr.DataError, match="they have 2 and 1"):
        kr.compare(one, report([True]))
    with pytest.raises(kr.DataError, match=r"0.jpg is cat in the first and dog in the"):
        kr.compare(one, report([True, False], label=1))
    twice = report([True] * 3, sources=("x", "x", "y"))
    turned = report([True] * 3, sources=("y", "x", "x"))
    with pytest.raises(kr.DataError, match="these sources more than once"):
        kr.compare(twice, turned)


def test_names_must_differ():
    one = report([True, False])
    with pytest.raises(ValueError, match="two different names"):
        kr.compare(one, one, names=("same", "same"))


def test_models_are_not_reports(small):
    with pytest.raises(ValueError, match="reports of evaluate, received Classifier"):
        kr.compare(small(), small())
