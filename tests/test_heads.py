import logging
from dataclasses import replace

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.heads import HeadScore, HeadSweep, sweep_heads
from kerasresnet.intervals import wilson_interval

QUICK = {"epochs": 2, "batch_size": 16, "precision": "float32", "verbose": 0}
LINEAR = {"hidden_units": ((),), "dropout": (0.0,), "learning_rates": (1e-2,)}


@pytest.fixture(scope="module")
def parts(coloured):
    """Training and validation images, 42 and 18; every third label is another class."""
    images, labels = coloured
    labels = np.where(np.arange(60) % 7 == 0, (labels + 1) % 3, labels)
    return (images[:42], labels[:42]), (images[42:], labels[42:])


@pytest.fixture(scope="module")
def model(small):
    """For sweeps that may leave any head in it."""
    return small(3)


@pytest.fixture(scope="module")
def linear(model, parts):
    """The sweep of one head, which others are compared with."""
    return sweep_heads(model, *parts, **LINEAR, **QUICK)


@pytest.fixture(scope="module")
def many(small, parts):
    """A sweep of four heads; the best epoch of some is not their last."""
    model = small(3, pooling="max", dropout=0.5)
    every = {"hidden_units": ((), (8,)), "learning_rates": (0.3, 3e-3)}
    settings = {**QUICK, **every, "dropout": (0.5,), "epochs": 6}
    return sweep_heads(model, *parts, **settings)


def head_of(model):
    return [
        weight
        for layer in model.layers
        if layer.name.startswith(("hidden", "predictions"))
        for weight in layer.get_weights()
    ]


def bytes_of(model):
    return [weight.tobytes() for weight in model.get_weights()]


def test_a_head_is_trained_among_others_as_it_is_alone_until_its_best_epoch(
    small, parts, many
):
    assert len(many.candidates) == 4
    assert any(score.epoch < 6 for score in many.candidates)
    best, *_, last = many.candidates
    for score in (best, last):
        own = {
            "hidden_units": (score.hidden_units,),
            "dropout": (score.dropout,),
            "learning_rates": (score.learning_rate,),
            "epochs": score.epoch,
        }
        model = small(3, pooling="max")
        alone = sweep_heads(model, *parts, **{**QUICK, **own})
        assert alone.best == replace(score, loss=alone.best.loss)
        assert alone.best.loss == pytest.approx(score.loss, rel=1e-5)
        if score is best:
            pairs = zip(head_of(alone.model), head_of(many.model), strict=True)
            for one, other in pairs:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_head_is_trained_as_fit_trains_it(model, parts):
    balance = {"sampling": "balanced"}
    settings = {**LINEAR, "hidden_units": ((8,),), **QUICK, "epochs": 1}
    sweep = sweep_heads(model, *parts, **settings, **balance)
    unmoved = {**settings, "learning_rates": (1e-30,)}  # gives the first weights
    model = sweep_heads(model, *parts, **unmoved).model
    run = {"epochs": 1, "batch_size": 16, "precision": "float32", "verbose": 0}
    kr.fit(model, parts[0], learning_rate=1e-2, **run, **balance)
    for one, other in zip(head_of(model), head_of(sweep.model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_table_says_what_the_model_then_reaches(parts, many):
    report = kr.evaluate(many.model, parts[1])
    assert report.accuracy == pytest.approx(many.best.accuracy, abs=1e-12)
    assert report.accuracy_interval == many.best.interval
    own = report.probabilities[np.arange(18), report.labels].astype("float64")
    assert -np.log(own).mean() == pytest.approx(many.best.loss, rel=1e-3)
    ranks = [(score.accuracy, -score.loss) for score in many.candidates]
    assert ranks == sorted(ranks, reverse=True)


def test_a_head_of_the_same_shape_goes_into_the_model_itself(small, parts, caplog):
    model = small(3, hidden_units=(8,), dropout=0.5)
    kr.set_trainable(model, "conv5")
    before = model.get_layer("conv5_block1_1_conv").get_weights()
    shape = {"hidden_units": ((8,),), "dropout": (0.5,)}
    with caplog.at_level(logging.INFO, "kerasresnet"):
        sweep = sweep_heads(model, *parts, learning_rates=(0.02,), **shape, **QUICK)
    assert sweep.model is model
    assert "The best head is now the model's: hidden_units=(8,)" in caplog.text
    assert len(model.trainable_weights) == 4
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    after = model.get_layer("conv5_block1_1_conv").get_weights()
    np.testing.assert_array_equal(before[0], after[0])


def test_a_head_of_another_shape_goes_into_a_new_model(small, flowers, caplog):
    model = small()
    kr.compile_classifier(model, optimizer="sgd", label_smoothing=0.1)
    before = [model.optimizer, *bytes_of(model)]
    parts = flowers.split(0.4)
    shape = {"hidden_units": ((8,),), "dropout": (0.5,)}
    with caplog.at_level(logging.INFO, "kerasresnet"):
        sweep = sweep_heads(model, *parts, learning_rates=(0.02,), **shape, **QUICK)
    assert [model.optimizer, *bytes_of(model)] == before
    assert not model.named
    assert "is in a new model" in caplog.text
    assert sweep.model.class_names == flowers.class_names
    assert bytes_of(sweep.model)[:-4] == bytes_of(model)[:-2]
    assert isinstance(sweep.model.optimizer, keras.optimizers.SGD)
    assert float(sweep.model.optimizer.learning_rate) == pytest.approx(0.02)
    assert sweep.model.loss.label_smoothing == 0.1
    assert sweep.model.get_config()["dropout"] == 0.5
    kr.fit(sweep.model, parts[0], epochs=1, verbose=0)
    assert len(sweep.model.trainable_weights) == 4
    assert bytes_of(sweep.model)[-1] != before[-1]


def datasets(parts, turn):
    return [
        kr.make_dataset(
            kr.ImageData.from_arrays(*part), image_size=(32, 32), batch_size=16
        ).map(turn)
        for part in parts
    ]


def assert_same_scores(found, expected):
    assert found.best == replace(expected.best, loss=found.best.loss)
    assert found.best.loss == pytest.approx(expected.best.loss, rel=1e-5)


def test_a_dataset_is_swept_as_arrays_are(model, parts, linear):
    rows = datasets(parts, lambda x, y: (x, keras.ops.one_hot(y, 3)))
    found = sweep_heads(model, *rows, cache=False, **LINEAR, **QUICK)
    assert_same_scores(found, linear)


def test_weights_of_a_dataset_count_as_those_of_classes(model, parts):
    shares = keras.ops.array([3.0, 1.0, 0.5])
    whole = datasets(parts, lambda x, y: (x, y[:, None], keras.ops.take(shares, y)))
    found, expected = (
        sweep_heads(model, *given, class_weight=weights, **LINEAR, **QUICK)
        for given, weights in ((whole, None), (parts, {0: 3.0, 2: 0.5}))
    )
    assert_same_scores(found, expected)


def test_features_beyond_the_limit_are_held_for_the_sweep(
    model, parts, linear, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path))
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "1e-8")
    found = sweep_heads(model, *parts, **LINEAR, **QUICK)
    assert found.candidates == linear.candidates
    assert caplog.text.count("They are not kept") == 1
    with pytest.raises(kr.CacheError, match="more than the"):
        sweep_heads(model, *parts, cache=tmp_path, **LINEAR, **QUICK)


def test_features_in_bfloat16_give_about_the_same(model, parts, linear):
    settings = {**LINEAR, **QUICK, "precision": "bfloat16"}
    found = sweep_heads(model, *parts, **settings)
    assert found.best.loss == pytest.approx(linear.best.loss, rel=0.1)
    assert found.best.loss != linear.best.loss


def test_a_head_that_diverges_is_last_and_harms_no_other(model, parts, linear, caplog):
    rates = {**LINEAR, "learning_rates": (1e38, 1e-2)}
    sweep = sweep_heads(model, *parts, **rates, **QUICK)
    assert sweep.candidates[0].learning_rate == 1e-2
    assert np.isnan(sweep.candidates[1].accuracy)
    assert sweep.candidates[1].epoch == 0
    assert "1 of 2 heads diverged: hidden_units=(), dropout=0.0" in caplog.text
    assert "diverged" in str(sweep)
    assert linear.best.loss == pytest.approx(sweep.best.loss, rel=1e-5)


def test_if_all_diverge_the_model_is_as_before(small, parts):
    model = small(3)
    before = bytes_of(model)
    with pytest.raises(kr.DivergenceError, match=r"Try lower learning_rates .* 1e\+38"):
        sweep_heads(model, *parts, **{**LINEAR, "learning_rates": (1e38,)}, **QUICK)
    assert bytes_of(model) == before
    assert not model.compiled


def a_score(hits, images=100, **settings):
    score = HeadScore(
        hidden_units=(),
        dropout=0.0,
        learning_rate=1e-3,
        accuracy=hits / images,
        interval=wilson_interval(hits, images),
        loss=0.25,
        epoch=7,
        parameters=6147,
    )
    return replace(score, **settings)


def test_the_table_is_aligned_and_says_what_may_be_chance():
    scores = a_score(90, hidden_units=(256, 64)), a_score(88), a_score(20)
    shown = str(HeadSweep(scores, model=None, images=100))
    table = shown.splitlines()[:4]
    assert len({len(line) for line in table}) == 1
    assert "256 64" in table[1]
    assert "90.0%  82.6% to 94.5%  0.2500      7       6,147" in table[1]
    assert "the first 2 overlap" in " ".join(shown.split())
    assert "no more than chance" in shown


def test_what_is_no_chance_is_not_called_so():
    sweep = HeadSweep((a_score(90), a_score(20)), model=None, images=100)
    assert "chance" not in str(sweep)
    assert str(sweep).endswith("Measured on 100 validation images.")
    assert repr(sweep) == "HeadSweep(2 heads, best accuracy 0.9000)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_units": ()}, "hidden_units is empty, so that there is no head"),
        ({"hidden_units": (256,)}, r"Pass \(\(256,\),\) for one head"),
        ({"hidden_units": 256}, "hidden_units must be a sequence, received 256"),
        ({"hidden_units": ((0,),)}, "hidden_units must be positive integers"),
        ({"learning_rates": ()}, "learning_rates is empty"),
        ({"learning_rates": 1e-3}, "learning_rates must be a sequence"),
        ({"learning_rates": (-1.0,)}, "learning_rates must be positive"),
        ({"learning_rates": ("high",)}, "learning_rates must be positive"),
        ({"learning_rates": (1e-3, 1e-3)}, "asked for twice: hidden_units=\\(\\)"),
        ({"dropout": (1.0,)}, "dropout must be at least 0 and below 1"),
        ({"dropout": ("half",)}, "dropout must hold shares"),
        (
            {"learning_rates": np.geomspace(1e-5, 1, 60)},
            "These are 240 combinations, more than the 200",
        ),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"precision": "float16"}, "Unknown precision 'float16'"),
        ({"cache": "disk"}, "cache must be 'auto'"),
        ({"sampling": "all"}, "Unknown|must be"),
    ],
)
def test_arguments_that_cannot_work_are_refused(linear, parts, arguments, message):
    with pytest.raises(ValueError, match=message):
        sweep_heads(linear.model, *parts, **arguments)


def test_validation_is_needed(small, parts):
    with pytest.raises(
        ValueError, match="validation is needed, since heads are ranked"
    ):
        sweep_heads(small(3), parts[0], None)


def test_what_cannot_be_compiled_anew_is_refused_before_the_work(small):
    def unregistered(y, p):
        return keras.ops.mean(p)

    model = small(3)
    model.compile("adam", unregistered)
    nowhere = kr.ImageData(tuple("abc"), np.arange(3), (__file__,) * 3)
    with pytest.raises(ValueError, match="cannot make anew"):
        sweep_heads(model, nowhere, nowhere)
