import csv
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn import metrics

import kerasresnet as kr
from kerasresnet.intervals import wilson_interval


def random_report(n=200, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes - 1, n)  # the last class has no image
    scores = rng.dirichlet(np.ones(classes), n)
    scores[np.arange(n), labels] += 0.2
    scores /= 1.2
    names = tuple(f"class {i}" for i in range(classes))
    return kr.Report(names, labels, scores, tuple(f"image {i}" for i in range(n)))


def test_numbers_agree_with_scikit_learn():
    report = random_report()
    classes = range(7)
    oracle = metrics.precision_recall_fscore_support(
        report.labels, report.predicted, labels=classes, zero_division=np.nan
    )
    found = [(s.precision, s.recall, s.f1, s.support) for s in report.per_class]
    np.testing.assert_allclose(np.array(found).T, np.array(oracle), rtol=1e-12)
    expected = metrics.confusion_matrix(report.labels, report.predicted, labels=classes)
    np.testing.assert_array_equal(report.confusion, expected)
    assert report.accuracy == metrics.accuracy_score(report.labels, report.predicted)
    top = metrics.top_k_accuracy_score(
        report.labels, report.probabilities, k=3, labels=classes
    )
    assert report.top_k(3) == pytest.approx(top)


def test_scores_of_all_classes_agree_with_scikit_learn():
    report = random_report()
    there = range(6)  # the seventh has no image
    areas = metrics.roc_auc_score(
        np.eye(7)[report.labels][:, there], report.probabilities[:, there], average=None
    )
    precisions = metrics.average_precision_score(
        np.eye(7)[report.labels][:, there], report.probabilities[:, there]
    )
    assert [s.roc_auc for s in report.per_class[:6]] == pytest.approx(list(areas))
    assert report.roc_auc == pytest.approx(np.mean(areas))
    assert report.average_precision == pytest.approx(precisions)
    f1 = metrics.f1_score(
        report.labels, report.predicted, labels=there, average="macro"
    )
    assert report.macro_f1 == pytest.approx(f1)
    recalls = [s.recall for s in report.per_class[:6]]
    assert report.balanced_accuracy == pytest.approx(np.mean(recalls))
    loss = metrics.log_loss(report.labels, report.probabilities, labels=range(7))
    assert report.log_loss == pytest.approx(loss)


def test_every_number_lies_in_its_interval():
    report = random_report(classes=4)
    for name, (low, high) in report.intervals.items():
        value = report.top_k(5) if name == "top_5" else getattr(report, name)
        assert low < value < high + 1e-12, name
    for score in report.per_class[:3]:
        low, high = score.recall_interval
        assert low <= score.recall <= high
    assert np.isnan(report.per_class[3].recall_interval).all()


def test_confused_pairs_are_the_confusion_outside_its_diagonal():
    report = random_report()
    wrong = report.confusion - np.diag(np.diag(report.confusion))
    counts = [pair.count for pair in report.confused_pairs]
    assert counts == sorted(wrong[wrong > 0], reverse=True)
    for pair in report.confused_pairs:
        i, j = (report.class_names.index(n) for n in (pair.label, pair.predicted))
        assert (
            pair.count == wrong[i, j] == round(pair.share * np.sum(report.labels == i))
        )


def test_every_image_is_counted_once():
    report = random_report()
    assert report.confusion.sum() == len(report) == 200
    assert sum(score.support for score in report.per_class) == 200
    assert len(report.mistakes) == round((1 - report.accuracy) * 200)


def test_top_k_grows_with_k_up_to_one():
    report = random_report()
    shares = [report.top_k(k) for k in range(1, 9)]
    assert shares[0] == report.accuracy
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_mistakes_name_source_and_classes_the_surest_first():
    report = random_report()
    sure = [mistake.probability for mistake in report.mistakes]
    assert sure == sorted(sure, reverse=True)
    for mistake in report.mistakes:
        row = report.sources.index(mistake.source)
        assert report.class_names[report.labels[row]] == mistake.label
        assert report.class_names[report.predicted[row]] == mistake.predicted


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (88, 100, 0.8019, 0.9300)],
)
def test_the_interval_is_wilsons(hits, total, low, high):
    # Values of statsmodels' proportion_confint(method="wilson").
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=1e-4)


def test_printing_shows_accuracy_interval_classes_and_matrix():
    text = str(random_report())
    assert "95 % interval" in text
    assert "top-5" in text
    assert "class 6" in text
    assert "true \\ called" in text
    assert "surest mistakes" in text
    assert "nan" not in text


def test_a_perfect_report_prints_without_mistakes():
    report = kr.Report(("a", "b"), np.array([0, 1]), np.eye(2), ("x", "y"))
    assert report.accuracy == 1
    assert "mistakes" not in str(report)
    assert repr(report) == "Report(2 images, accuracy 1.0000)"


def test_printing_a_thousand_classes_shows_the_worst_twenty():
    right = random_report(n=3000, classes=1000)
    labels = np.random.default_rng(1).permutation(right.labels)
    labels[:1500] = right.labels[:1500]
    report = replace(right, labels=labels)
    lines = str(report).splitlines()
    assert len(lines) < 45
    rows = [line for line in lines if line.startswith("class ")][1:]
    assert len(rows) == 20
    there = [score for score in report.per_class if score.support]
    lowest = sorted(score.recall for score in there)[:20]
    shown = [report.per_class[int(row.split()[1])].recall for row in rows]
    assert shown == lowest
    assert f"{len(there) - 20} classes left out" in "\n".join(lines)
    assert "most confused" in lines


def test_classes_without_images_are_named():
    text = str(random_report())
    assert "1 class without images, left out of the means: class 6" in text


def test_an_interval_that_nothing_tells_is_not_shown():
    report = kr.Report(("a", "b"), np.array([0, 1]), np.eye(2), ("x", "y"))
    assert "macro F1           100.0%  (no interval)" in str(report)


def test_a_report_on_one_class_has_what_can_be_known():
    report = kr.Report(("a",), np.zeros(3, int), np.ones((3, 1)), ("x", "y", "z"))
    assert np.isnan(report.roc_auc)
    assert report.average_precision == report.macro_f1 == 1
    assert str(report.log_loss) == "0.0"
    assert report.to_dict()["roc_auc"] is None
    assert "accuracy           100.0%" in str(report)


def test_json_holds_the_numbers_of_the_report(tmp_path):
    report = random_report()
    text = report.to_json(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert json.loads(text) == written == report.to_dict()
    assert written["images"] == 200
    assert written["macro_f1"] == report.macro_f1
    assert written["confusion"] == report.confusion.tolist()
    assert written["intervals"].keys() == report.intervals.keys() <= written.keys()
    assert written["per_class"][6]["recall"] is None
    assert len(written["reliability"]) == 15


def test_the_table_holds_every_image_and_its_probabilities(tmp_path):
    names = ("label", "p_label", 'a "cat", perhaps\nnot', "=1+1")
    scores = np.random.default_rng(0).dirichlet(np.ones(4), 5).astype("float32")
    sources = ("a,b.jpg", '"c".jpg', "d\n.jpg", "\udcff.jpg", "ü.jpg")
    report = kr.Report(names, np.array([0, 1, 2, 3, 0]), scores, sources)
    report.to_csv(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(
        newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        header, *rows = csv.reader(file)
    assert header[4:] == [f"p_{name}" for name in names]
    assert len(set(header)) == 8
    assert [row[0] for row in rows] == list(sources)
    assert [row[1] for row in rows] == [names[i] for i in report.labels]
    assert [row[2] for row in rows] == [names[i] for i in report.predicted]
    found = np.array([row[3:] for row in rows], "float32")
    np.testing.assert_array_equal(found[:, 1:], scores)
    np.testing.assert_array_equal(found[:, 0], scores.max(axis=1))


def test_html_escapes_names_and_balances_its_tags():
    names = ("<script>", "a & b")
    report = kr.Report(names, np.array([0, 1]), np.eye(2), ("x", "y"))
    opened, seen = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

        def handle_data(self, data):
            seen.append(data)

    html = report._repr_html_()
    Reader().feed(html)
    assert not opened
    assert {*names, "balanced accuracy", "2 images."} <= set(seen)
    assert "color" not in html


@pytest.mark.core
def test_folder_arrays_and_dataset_are_scored_alike(small, flowers):
    from kerasresnet.decoding import read_image

    model = small(class_names=flowers.class_names)
    images = np.stack([read_image(path, (32, 32)) for path in flowers.paths])
    dataset = kr.make_dataset(flowers, image_size=(32, 32), batch_size=7)
    reports = [
        kr.evaluate(model, source)
        for source in (flowers, (images, flowers.labels), dataset)
    ]
    for report in reports:
        np.testing.assert_array_equal(report.labels, flowers.labels)
        np.testing.assert_allclose(
            report.probabilities, reports[0].probabilities, rtol=1e-5
        )
        assert len(report) == 30


def test_a_shuffled_dataset_is_scored_with_its_own_labels(small, flowers):
    model = small(class_names=flowers.class_names)
    kr.probe(model, flowers, verbose=0)
    shuffled = kr.make_dataset(flowers, training=True, image_size=(32, 32))
    expected = kr.evaluate(model, flowers).confusion
    np.testing.assert_array_equal(kr.evaluate(model, shuffled).confusion, expected)


def test_one_hot_labels_of_a_dataset_are_scored(small, pixels):
    import keras

    model = small()
    data = kr.ImageData.from_arrays(*pixels)
    plain = kr.make_dataset(data, image_size=(32, 32))
    rows = plain.map(lambda x, y: (x, keras.ops.one_hot(y, 5)))
    assert kr.evaluate(model, rows).accuracy == kr.evaluate(model, plain).accuracy


def test_a_few_of_the_classes_are_matched_by_name(small, flower_folder, flowers):
    model = small(class_names=flowers.class_names)
    some = kr.ImageData.from_folder(flower_folder, class_names=["tulips", "daisy"])
    report = kr.evaluate(model, some)
    assert report.class_names == flowers.class_names
    assert [score.support for score in report.per_class] == [6, 0, 0, 0, 6]


def test_sources_are_paths(small, flowers):
    report = kr.evaluate(small(class_names=flowers.class_names), flowers)
    assert report.sources == tuple(str(path) for path in flowers.paths)


def test_a_model_without_names_reports_those_of_the_data(small, flowers):
    report = kr.evaluate(small(), flowers)
    assert report.class_names == flowers.class_names


def test_what_cannot_be_scored_is_refused(small, flowers, pixels):
    model = small(class_names=flowers.class_names)
    foreign = kr.ImageData.from_arrays(pixels[0], ["cat", "dog"] * 5)
    with pytest.raises(kr.DataError, match="classes that are not expected: cat, dog"):
        kr.evaluate(model, foreign)
    with pytest.raises(kr.DataError, match="have no labels"):
        kr.evaluate(model, kr.ImageData.from_arrays(pixels[0]))
    with pytest.raises(kr.DataError, match="Expected ImageData"):
        kr.evaluate(model, "flower_photos")


def test_a_report_of_nothing_or_of_another_shape_is_refused():
    with pytest.raises(kr.DataError, match="no image to evaluate"):
        kr.Report(("a", "b"), np.zeros(0, int), np.zeros((0, 2)), ())
    with pytest.raises(kr.DataError, match=r"expected \(1, 2\)"):
        kr.Report(("a", "b"), np.zeros(1, int), np.zeros((1, 3)), ("x",))
    with pytest.raises(ValueError, match="k must be at least 1"):
        random_report().top_k(0)


def test_a_report_of_nan_or_of_labels_beyond_the_classes_is_refused():
    with pytest.raises(kr.DataError, match="gave NaN instead of probabilities"):
        kr.Report(("a", "b"), np.zeros(1, int), np.full((1, 2), np.nan), ("x",))
    with pytest.raises(kr.DataError, match="Labels run from 2 to 2, expected 0 to 1"):
        kr.Report(("a", "b"), np.array([2]), np.eye(2)[:1], ("x",))
    with pytest.raises(kr.DataError, match=r"Labels are float64 of shape \(1,\)"):
        kr.Report(("a", "b"), np.array([1.0]), np.eye(2)[:1], ("x",))
    with pytest.raises(kr.DataError, match="probabilities are uint8, expected float"):
        kr.Report(("a", "b"), np.array([1]), np.eye(2, dtype="uint8")[:1], ("x",))
    with pytest.raises(kr.DataError, match="1 labels but 0 sources"):
        kr.Report(("a", "b"), np.array([1]), np.eye(2)[:1], ())


def test_a_report_of_logits_or_of_names_that_collide_is_refused():
    with pytest.raises(
        kr.DataError, match=r"Row 1 .* the sum 2.5 .* Pass logits through"
    ):
        kr.Report(
            ("a", "b"), np.array([0, 1]), np.array([[1, 0], [3, -0.5]]), ("x", "y")
        )
    with pytest.raises(kr.DataError, match="received twice: a"):
        kr.Report(("a", "a"), np.array([0]), np.eye(2)[:1], ("x",))


def test_labels_of_a_small_type_are_counted_right():
    n = 100
    labels = np.arange(n, dtype="uint8")
    names = tuple(map(str, range(n)))
    report = kr.Report(names, labels, np.eye(n), names)
    np.testing.assert_array_equal(report.confusion, np.eye(n))


def test_class_names_that_are_numbers_are_matched_by_name_too(small, pixels):
    folders = sorted(map(str, range(12)))  # "0", "1", "10", "11", "2", …
    model = small(class_names=folders)
    data = kr.ImageData.from_arrays(pixels[0][:3], ["0", "1", "2"])
    report = kr.evaluate(model, data)
    assert [report.class_names[label] for label in report.labels] == ["0", "1", "2"]
    turned = small(class_names=["1", "0"])
    two = kr.ImageData.from_arrays(pixels[0][:2], ["0", "1"])
    assert list(kr.evaluate(turned, two).labels) == [1, 0]


def test_whether_classes_are_named_is_saved_with_the_model(small, tmp_path):
    for model, named in ((small(3), False), (small(class_names=["0", "1"]), True)):
        model.save(tmp_path / "model.keras")
        assert kr.load(tmp_path / "model.keras").named == named
