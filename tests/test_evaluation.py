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
    kr.fine_tune(model, flowers, from_stage="conv1", epochs=8, learning_rate=3e-3)
    shuffled = kr.make_dataset(flowers, training=True, image_size=(32, 32))
    assert kr.evaluate(model, shuffled).accuracy == kr.evaluate(model, flowers).accuracy


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
    with pytest.raises(kr.DataError, match="1 labels but 0 sources"):
        kr.Report(("a", "b"), np.array([1]), np.eye(2)[:1], ())


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
