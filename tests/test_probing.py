"""The exact linear probe: the model itself gives the solution's probabilities."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

import kerasresnet as kr
from kerasresnet.solutions import probabilities
from kerasresnet.solving import solve_path

EXACT = {"precision": "float32", "verbose": 0}


@pytest.fixture
def parts(coloured):
    """40 images to train on and 20 held out; a fifth of the labels are wrong."""
    images, labels = coloured
    rng = np.random.default_rng(2)
    labels = np.where(rng.random(60) < 0.8, labels, rng.integers(0, 3, 60))
    return (images[:40], labels[:40]), (images[40:], labels[40:])


@pytest.mark.core
def test_the_model_gives_the_probabilities_of_the_solution(small, parts):
    model = small(3)
    train, held_out = parts
    found = kr.probe(model, train, held_out, **EXACT)
    features = [
        kr.extract_features(model, images, **EXACT) for images, _ in (train, held_out)
    ]
    path = solve_path(features[0], train[1], classes=3, penalties=found.penalties)
    solved = path[found.penalties.index(found.penalty)]
    expected = probabilities(solved, features[1])
    np.testing.assert_allclose(
        model.predict(held_out[0], verbose=0), expected, atol=1e-5
    )
    report = kr.evaluate(model, held_out)
    assert report.accuracy == pytest.approx(found.accuracy)
    assert report.accuracy_interval == pytest.approx(found.accuracy_interval)


def test_it_is_the_logistic_regression_of_scikit_learn(small, parts):
    model, (train, held_out) = small(3), parts
    found = kr.probe(model, train, held_out, penalties=[1e-2], **EXACT)
    features = kr.extract_features(model, train[0], **EXACT).astype("float64")
    centred = features - features.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean())
    oracle = LogisticRegression(C=1 / (40 * found.penalty), tol=1e-8, max_iter=10_000)
    oracle.fit(centred / scale, train[1])
    np.testing.assert_allclose(
        model.predict(train[0], verbose=0),
        oracle.predict_proba(centred / scale),
        atol=1e-4,
    )


def test_the_penalty_with_the_lowest_loss_is_chosen(small, parts):
    train, held_out = parts
    found = kr.probe(small(3), train, held_out, **EXACT)
    assert found.loss == min(found.losses)
    assert found.penalties == tuple(sorted(found.penalties, reverse=True))
    model = small(3)
    kr.probe(model, train, held_out, penalties=[found.penalty], **EXACT)
    loss = keras.losses.sparse_categorical_crossentropy(
        held_out[1], model.predict(held_out[0], verbose=0)
    )
    assert float(np.mean(loss)) == pytest.approx(found.loss, rel=1e-4)


def test_only_the_head_changes_and_the_same_data_gives_the_same_head(small, parts):
    models = [small(3), small(3, seed=5)]
    models[1].set_weights(
        [*models[0].get_weights()[:-2], *models[1].get_weights()[-2:]]
    )
    before = models[0].get_weights()
    for model in models:
        kr.probe(model, *parts, **EXACT)
    after = [model.get_weights() for model in models]
    for k, (one, other, then) in enumerate(zip(*after, before, strict=True)):
        np.testing.assert_array_equal(one, other)
        assert np.array_equal(one, then) == (k < len(before) - 2)
    assert not models[0].compiled


def test_without_validation_data_folds_choose(small, parts):
    model = small(3)
    found = kr.probe(model, parts[0], folds=4, **EXACT)
    assert (found.folds, found.images, found.accuracy) == (4, 40, None)
    assert 1e-8 < found.penalty < 1
    assert "chosen by 4 folds" in str(found)


@pytest.mark.parametrize("held_out", [True, False])
def test_a_dataset_is_solved_like_its_arrays(small, parts, held_out):
    models = [small(3), small(3)]
    one_hot = [(images, np.eye(3)[labels]) for images, labels in parts]
    datasets = [tf.data.Dataset.from_tensor_slices(each).batch(16) for each in one_hot]
    of_arrays = kr.probe(models[0], *parts[: 1 + held_out], **EXACT)
    of_datasets = kr.probe(models[1], *datasets[: 1 + held_out], **EXACT)
    if held_out:
        np.testing.assert_allclose(of_datasets.losses, of_arrays.losses, rtol=1e-4)
    assert of_datasets.images == of_arrays.images


def test_a_weight_of_two_counts_as_two_images(small, parts):
    (images, labels), held_out = parts
    twice = labels == 1
    models = [small(3), small(3)]
    double = np.concatenate([images, images[twice]]), np.append(labels, labels[twice])
    settings = {"penalties": [1e-3], **EXACT}
    kr.probe(models[0], (images, labels), held_out, class_weight={1: 2.0}, **settings)
    kr.probe(models[1], double, held_out, **settings)
    np.testing.assert_allclose(
        *(model.predict(held_out[0], verbose=0) for model in models), atol=1e-4
    )


def test_names_of_the_data_come_with_the_head(small, flowers):
    train, held_out = flowers.split(0.3, duplicates="exact")
    model = small(5)
    found = kr.probe(model, train, held_out, verbose=0)
    assert model.class_names == flowers.class_names
    assert f"linear probe on {len(train)} images" in str(found)
    low, high = found.accuracy_interval
    assert low <= found.accuracy <= high


def test_fine_tuning_that_is_worse_than_the_probe_says_so(small, parts, caplog):
    model, (train, held_out) = small(3), parts
    found = kr.probe(model, train, held_out, **EXACT)
    wrong = (train[0], (train[1] + 1) % 3)
    kr.fine_tune(model, wrong, held_out, epochs=1, learning_rate=1e-5, verbose=0)
    assert "Fine-tuning did not improve" in caplog.text
    assert kr.evaluate(model, held_out).accuracy == pytest.approx(found.accuracy)


def test_the_end_of_the_range_is_said(small, parts, caplog):
    kr.probe(small(3), *parts, penalties=[100.0, 10.0, 1.0], **EXACT)
    assert "The best penalty, 1, is the last that was tried" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"penalties": [0.0]}, "penalties that are positive"),
        ({"penalties": []}, "penalties that are positive"),
        ({"folds": 1}, "folds must be a whole number of at least 2"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_what_cannot_be_solved_is_refused(small, parts, wrong, match):
    with pytest.raises(ValueError, match=match):
        kr.probe(small(3), parts[0], verbose=0, **wrong)


def test_a_head_with_hidden_units_is_refused(small, parts):
    with pytest.raises(ValueError, match=r"without hidden units; the model has \[7\]"):
        kr.probe(small(3, hidden_units=(7,)), *parts)


def test_fewer_images_than_folds_are_refused(small, parts):
    images, labels = parts[0]
    dataset = tf.data.Dataset.from_tensor_slices((images[:3], labels[:3])).batch(3)
    with pytest.raises(kr.DataError, match="3 images are too few for 5 folds"):
        kr.probe(small(3), dataset, verbose=0)
