"""Labels that look wrong: the published counts, found again when planted, nothing leaks."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.labelling import (
    LabelIssue,
    LabelIssues,
    confident_joint,
    estimated_errors,
    label_issues,
    suspicious,
)

EXACT = {"precision": "float32", "verbose": 0, "cache": "memory"}


def drawn(seed, count=80, classes=4):
    """Probabilities that follow the true classes mostly, and labels given."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    scores = rng.dirichlet(np.ones(classes), count) + 1.5 * np.eye(classes)[true]
    labels = np.where(rng.random(count) < 0.2, rng.integers(0, classes, count), true)
    return scores / scores.sum(axis=1, keepdims=True), labels


def naive_joint(scores, labels):
    """Northcutt et al. 2021, equation 1 and its thresholds, one image after the other."""
    classes = range(scores.shape[1])
    means = {}
    for j in classes:
        own = [row[j] for row, label in zip(scores, labels, strict=True) if label == j]
        means[j] = sum(own) / len(own) if own else float("inf")
    joint = [[0 for _ in classes] for _ in classes]
    for row, label in zip(scores, labels, strict=True):
        confident = [j for j in classes if row[j] >= means[j]]
        if confident:
            joint[label][max(confident, key=lambda j: row[j])] += 1
    return joint


@pytest.mark.parametrize("seed", range(8))
def test_the_confident_joint_is_the_published_one(seed):
    scores, labels = drawn(seed)
    assert confident_joint(scores, labels).tolist() == naive_joint(scores, labels)


@pytest.mark.parametrize("seed", range(8))
def test_the_number_of_errors_is_that_off_the_calibrated_joint(seed):
    scores, labels = drawn(seed)
    joint = naive_joint(scores, labels)
    wrong = 0.0
    for i, row in enumerate(joint):
        scale = sum(label == i for label in labels) / sum(row)
        wrong += sum(scale * count for j, count in enumerate(row) if j != i)
    assert estimated_errors(scores, labels) == round(wrong)


def test_a_class_without_labels_is_never_suggested():
    scores, labels = drawn(0)
    wide = np.column_stack([0.9 * scores, np.full(len(labels), 0.1)])
    joint = confident_joint(wide, labels)
    assert joint[:, -1].sum() == joint[-1].sum() == 0
    np.testing.assert_array_equal(joint[:-1, :-1], confident_joint(scores, labels))


def test_no_label_is_wrong_where_all_images_are_alike():
    labels = np.arange(30) % 3
    for scores in (np.full((30, 3), 1 / 3), np.tile([0.1, 0.2, 0.7], (30, 1))):
        assert confident_joint(scores, labels).sum() == 30
    assert not len(suspicious(np.full((30, 3), 1 / 3), labels))
    assert not len(suspicious(np.eye(3)[labels], labels))


@pytest.mark.parametrize("seed", range(4))
def test_the_suspicious_are_least_sure_of_their_label_and_surer_of_another(seed):
    scores, labels = drawn(seed)
    found = suspicious(scores, labels)
    own = scores[np.arange(len(labels)), labels]
    assert len(found) <= estimated_errors(scores, labels)
    assert (np.diff(own[found]) >= 0).all()
    assert (scores[found].max(axis=1) > own[found]).all()
    others = np.setdiff1d(np.flatnonzero(scores.argmax(axis=1) != labels), found)
    assert own[others].min(initial=1) >= own[found].max()


def test_the_order_of_the_images_does_not_matter():
    scores, labels = drawn(1)
    order = np.random.default_rng(0).permutation(len(labels))
    again = suspicious(scores[order], labels[order])
    np.testing.assert_array_equal(order[again], suspicious(scores, labels))


def planted(coloured, count=6, seed=0):
    images, true = coloured
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(true), count, replace=False)
    labels = true.copy()
    labels[wrong] = (true[wrong] + rng.integers(1, 3, count)) % 3
    names = ("blue", "green", "red")
    return kr.ImageData.from_arrays(images, labels, class_names=names), wrong


def test_planted_errors_are_found_with_their_right_classes(small, coloured):
    data, wrong = planted(coloured)
    model = small(class_names=data.class_names)
    before = [np.array(weight) for weight in model.get_weights()]
    found = label_issues(model, data, **EXACT)
    assert {one.source for one in found.issues} == {f"image {i}" for i in wrong}
    for one in found.issues:
        row = int(one.source.split()[1])
        assert one.suggestion == data.class_names[coloured[1][row]]
        assert one.label == data.class_names[data.labels[row]]
        assert one.given_probability < one.probability
    assert found.images == 60
    assert all(map(np.array_equal, before, model.get_weights()))


def test_copies_of_an_image_do_not_vouch_for_each_other(small, coloured):
    data, wrong = planted(coloured)
    images, labels = (np.concatenate([one] * 2) for one in (data.images, data.labels))
    twice = kr.ImageData.from_arrays(images, labels, class_names=data.class_names)
    found = label_issues(small(class_names=data.class_names), twice, **EXACT)
    both = {f"image {i}" for i in (*wrong, *(wrong + 60))}
    assert {one.source for one in found.issues} == both


def test_the_probabilities_are_those_of_cross_validation(small, coloured):
    data, _ = planted(coloured)
    model = small(class_names=data.class_names)
    found = label_issues(model, data, k=3, seed=1, **EXACT)
    report = kr.cross_validate(model, data, k=3, seed=1, **EXACT).report
    assert found.agreement == report.accuracy
    rows = suspicious(report.probabilities, report.labels)
    assert [one.source for one in found.issues] == [f"image {i}" for i in rows]
    for one, row in zip(found.issues, rows, strict=True):
        assert one.probability == report.probabilities[row].max()
        assert one.given_probability == report.probabilities[row, report.labels[row]]


def test_a_dataset_is_looked_through_in_its_own_order(small, coloured):
    data, wrong = planted(coloured)
    batches = tf.data.Dataset.from_tensor_slices((data.images, data.labels)).batch(7)
    found = label_issues(small(class_names=data.class_names), batches, **EXACT)
    assert {one.source for one in found.issues} == {f"image {i}" for i in wrong}
    assert not found.files


def test_photos_that_cannot_be_read_are_skipped_if_that_is_wanted(
    small, flower_folder, tmp_path
):
    photos = sorted(flower_folder.glob("*/*.jpg"))
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    data = kr.ImageData.from_folder(flower_folder)
    paths = (tmp_path / "bad.jpg", *photos)
    data = replace(data, paths=paths, labels=np.array([0, *data.labels]))
    model = small(class_names=data.class_names)
    found = label_issues(model, data, k=2, on_error="skip", **EXACT)
    assert found.images == 30
    assert found.files
    with pytest.raises(kr.DataError, match=r"bad\.jpg"):
        label_issues(model, data, k=2, **EXACT)


def issues_of(count, name="a<b>.jpg"):
    one = LabelIssue(name, "cat & dog", "dog", 0.75, 0.125)
    return LabelIssues((one,) * count, 1000, ("cat & dog", "dog"), 0.9, files=True)


def test_issues_read_as_a_table_of_the_first_twenty():
    lines = str(issues_of(23)).split("\n")
    agrees = "wrong to a head that agrees with 90.0% of them"
    assert lines[0] == f"23 labels of 1,000 look {agrees}"
    assert lines[2].split() == ["a<b>.jpg", "cat", "&", "dog", "12.5%", "dog", "75.0%"]
    assert len(lines) == 23
    assert lines[-1] == "and 3 more"
    assert str(issues_of(1)).startswith(f"1 label of 1,000 looks {agrees}\n")
    assert str(issues_of(0)) == f"0 labels of 1,000 look {agrees}"
    assert "<table" not in issues_of(0)._repr_html_()


def test_html_shows_names_as_they_are():
    html = issues_of(1)._repr_html_()
    assert "a&lt;b&gt;.jpg" in html
    assert "cat &amp; dog" in html
    assert "<b>" not in html


def test_wrong_arguments_are_refused(small, coloured):
    data, _ = planted(coloured)
    model = small(class_names=data.class_names)
    with pytest.raises(ValueError, match="k must be a whole number of at least 2"):
        label_issues(model, data, k=1, **EXACT)
    with pytest.raises(kr.DataError, match="no labels"):
        label_issues(model, kr.ImageData.from_arrays(data.images), **EXACT)
