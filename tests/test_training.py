import logging

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.decoding import read_image


def as_arrays(data, size=(32, 32)):
    images = np.stack([read_image(data.photo(i), size) for i in range(len(data))])
    return images, np.asarray(data.labels)


@pytest.mark.parametrize("batch_size", [pytest.param(8, marks=pytest.mark.core), 30])
def test_folder_arrays_and_dataset_train_to_the_same_weights(
    small, flowers, batch_size
):
    sources = [flowers, as_arrays(flowers)]
    if batch_size == 30:  # a dataset draws an order of its own
        sources.append(
            kr.make_dataset(flowers, training=True, image_size=(32, 32), seed=4)
        )
    models = [small(class_names=flowers.class_names) for _ in sources]
    histories = [
        kr.fit(model, source, epochs=2, seed=4, batch_size=batch_size)
        for model, source in zip(models, sources, strict=True)
    ]
    for model, history in zip(models[1:], histories[1:], strict=True):
        np.testing.assert_allclose(
            history.history["loss"], histories[0].history["loss"], rtol=1e-5
        )
        np.testing.assert_allclose(
            model.get_weights()[-1], models[0].get_weights()[-1], rtol=1e-5
        )


def test_one_hot_and_integer_labels_train_to_the_same_weights(small, pixels):
    images, labels = pixels
    integers, one_hot = small(), small()
    kr.fit(integers, (images, labels), epochs=2)
    kr.fit(one_hot, (images, np.eye(5)[labels]), epochs=2)
    np.testing.assert_array_equal(integers.get_weights()[-1], one_hot.get_weights()[-1])


def test_one_hot_datasets_train_too(small, pixels):
    images, labels = pixels
    data = kr.ImageData.from_arrays(images, labels)
    rows = kr.make_dataset(data, image_size=(32, 32)).map(
        lambda x, y: (x, keras.ops.one_hot(y, 5))
    )
    history = kr.fit(small(), rows, rows, epochs=1)
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}


def test_training_learns_the_drawn_flowers(small, flowers):
    model = small()
    history = kr.fine_tune(
        model, flowers, from_stage="conv1", epochs=12, learning_rate=3e-3
    )
    assert history.history["loss"][-1] < 0.6 * history.history["loss"][0]
    assert kr.evaluate(model, flowers).accuracy > 0.5


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(small, flowers):
    losses = [
        kr.fit(
            small(),
            flowers,
            epochs=2,
            seed=seed,
            augmentation=kr.Augmentation(),
            batch_size=8,
        ).history["loss"]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_preset_trains_as_the_augmentation_that_it_stands_for(small, flowers):
    losses = [
        kr.fine_tune(small(), flowers, epochs=1, augmentation=views).history["loss"]
        for views in ("strong", kr.Augmentation.preset("strong"))
    ]
    assert losses[0] == losses[1]


def test_plain_keras_compile_and_fit_work_as_on_any_model(small, flowers):
    model = small()
    dataset = kr.make_dataset(flowers, training=True, image_size=(32, 32))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(dataset, validation_data=dataset, epochs=1)
    assert "val_accuracy" in history.history
    assert len(model.evaluate(dataset)) == 2


def test_a_model_without_names_takes_those_of_the_data(small, flowers, caplog):
    model = small()
    with caplog.at_level(logging.INFO, "kerasresnet"):
        kr.fit(model, flowers, epochs=1)
    assert model.class_names == flowers.class_names
    assert "takes the data's names, in their order: daisy, dandelion" in caplog.text


def test_labels_follow_their_names_when_the_order_differs(
    small, flower_folder, flowers
):
    names = flowers.class_names
    reordered = kr.ImageData.from_folder(flower_folder, class_names=names[::-1])
    one, other = small(class_names=names), small(class_names=names)
    kr.fit(one, flowers, epochs=1, batch_size=30)
    kr.fit(other, reordered, epochs=1, batch_size=30)
    assert kr.evaluate(one, reordered).accuracy == kr.evaluate(one, flowers).accuracy
    np.testing.assert_allclose(
        one.get_weights()[-1], other.get_weights()[-1], rtol=1e-4, atol=1e-6
    )


def test_a_compiled_model_keeps_its_optimizer_and_its_rate(small, pixels):
    model = small()
    kr.compile_classifier(model, optimizer="sgd", learning_rate=0.02)
    optimizer = model.optimizer
    kr.fit(model, pixels, epochs=1)
    assert model.optimizer is optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.02)
    kr.fit(model, pixels, epochs=1, learning_rate=0.005)
    assert model.optimizer is optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.005)


def test_a_rate_replaces_a_schedule(small, pixels):
    model = small()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    kr.compile_classifier(model, learning_rate=schedule)
    kr.fit(model, pixels, epochs=1, learning_rate=0.005)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)


def test_fine_tuning_starts_a_fresh_optimizer_of_the_same_kind(small, pixels):
    model = small()
    kr.compile_classifier(model, optimizer="sgd", label_smoothing=0.1)
    kr.fit(model, pixels, epochs=2)
    kr.fine_tune(model, pixels, epochs=1, learning_rate=0.003)
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert int(model.optimizer.iterations) == 1
    assert float(model.optimizer.learning_rate) == pytest.approx(0.003)
    assert model.loss.label_smoothing == 0.1


def test_an_optimizer_object_and_own_metrics_are_taken_as_they_are(small, pixels):
    model = small()
    optimizer = keras.optimizers.AdamW(0.01)
    top = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top_2")
    kr.compile_classifier(model, optimizer=optimizer, metrics=[top])
    assert model.optimizer is optimizer
    assert "top_2" in kr.fit(model, pixels, epochs=1).history


@pytest.mark.core
def test_callbacks_and_validation_work_as_in_keras(small, flowers):
    train, held_out = flowers.split(0.4)
    stop = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=0)
    history = kr.fit(
        small(), train, held_out, epochs=50, learning_rate=1.0, callbacks=[stop]
    )
    assert isinstance(history, keras.callbacks.History)
    assert len(history.history["val_loss"]) < 50


@pytest.mark.core
@pytest.mark.parametrize("cache", ["auto", "memory", False])
def test_the_cache_changes_nothing_but_the_time(small, flowers, cache):
    oracle = kr.fit(small(), flowers, epochs=2, batch_size=8)
    history = kr.fit(small(), flowers, epochs=2, batch_size=8, cache=cache)
    assert history.history == oracle.history


def test_bad_data_leaves_the_model_as_it_was(small, flowers, pixels):
    model = small()
    kr.fit(model, flowers, epochs=1)
    before = [model.optimizer, model.class_names, *map(bytes, model.get_weights())]
    flags = [layer.trainable for layer in model.layers]
    with pytest.raises(kr.DataError, match=r"scaled to 0..1"):
        kr.fine_tune(model, (pixels[0] / 255.0, pixels[1]))
    after = [model.optimizer, model.class_names, *map(bytes, model.get_weights())]
    assert after == before
    assert [layer.trainable for layer in model.layers] == flags


def test_an_unreadable_photo_stops_training_before_the_first_step(
    small, flower_folder, tmp_path
):
    import shutil

    shutil.copytree(flower_folder, tmp_path / "photos")
    broken = tmp_path / "photos" / "roses" / "broken.jpg"
    broken.write_bytes(b"not a photo")
    data = kr.ImageData.from_folder(tmp_path / "photos")
    model = small()
    with pytest.raises(
        kr.DataError, match=r"1 of 31 images cannot be read:\s+.*broken.jpg"
    ):
        kr.fit(model, data)
    assert not model.compiled
    with pytest.raises(kr.DataError, match=r"broken.jpg cannot be read"):
        kr.fit(model, data, cache=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"precision": "float16"}, "Unknown precision 'float16'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"cache": "disk"}, r"cache must be .* received 'disk'. .* pass './disk'"),
        ({"augmentation": 0.2}, "augmentation must be an Augmentation or the name"),
        ({"augmentation": "stronger"}, "Unknown augmentation 'stronger'.* 'strong'?"),
    ],
)
def test_arguments_that_cannot_work_are_refused(small, pixels, arguments, message):
    with pytest.raises(ValueError, match=message):
        kr.fit(small(), pixels, **arguments)


def test_an_unknown_optimizer_names_the_nearest(small):
    with pytest.raises(ValueError, match=r"'adm'.* Did you mean 'adam'"):
        kr.compile_classifier(small(), optimizer="adm")


def test_data_with_another_number_of_classes_is_refused(small, flowers):
    with pytest.raises(kr.DataError, match=r"5 classes .* but the model has 4 outputs"):
        kr.fit(small(4), flowers)


def test_data_that_lacks_a_class_of_the_model_is_refused(small, flower_folder, flowers):
    some = kr.ImageData.from_folder(flower_folder, class_names=["roses", "tulips"])
    with pytest.raises(kr.DataError, match="no image of daisy, dandelion, sunflowers"):
        kr.fit(small(class_names=flowers.class_names), some)


def test_labels_beyond_the_outputs_are_refused(small, pixels):
    with pytest.raises(
        kr.DataError, match=r"has 5 classes .* but the model has 3 outputs"
    ):
        kr.fit(small(3), pixels)


def test_names_among_the_labels_of_arrays_become_the_models(small, pixels):
    model = small(2)
    kr.fit(model, (pixels[0], ["cat", "dog"] * 5), epochs=1)
    assert model.class_names == ("cat", "dog")


def test_a_schedule_passed_as_a_rate_is_refused_with_the_way_on(small, pixels):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    with pytest.raises(ValueError, match="A schedule goes to compile_classifier"):
        kr.fit(small(), pixels, learning_rate=schedule)


def test_pixels_and_threads_are_let_go_after_training(small, flowers):
    import gc
    import threading

    from kerasresnet.pixels import PixelStore

    model = small()
    threads = []
    for _ in range(3):
        kr.fit(model, flowers, epochs=1)
        kr.predict(model, flowers)
        gc.collect()
        threads.append(threading.active_count())
    held = [thing for thing in gc.get_objects() if isinstance(thing, PixelStore)]
    assert held == []
    assert threads[2] <= threads[1]


def test_a_wrong_stage_is_refused_before_any_photo_is_read(small):
    nowhere = kr.ImageData(tuple("abcde"), np.arange(5), (__file__,) * 5)
    with pytest.raises(ValueError, match="Unknown stage 'conv_5'"):
        kr.fine_tune(small(), nowhere, from_stage="conv_5")


def test_names_on_a_dataset_of_keras_become_the_models(small, flower_folder):
    names = ["tulips", "roses", "daisy"]
    dataset = keras.utils.image_dataset_from_directory(
        flower_folder, image_size=(32, 32), class_names=names, verbose=False
    )
    model = small(3)
    kr.fit(model, dataset, epochs=1)
    assert model.class_names == tuple(names)


def test_a_trained_model_without_names_takes_names_with_a_warning(
    small, pixels, caplog
):
    model = small(2)
    kr.fit(model, (pixels[0], pixels[1] % 2), epochs=1)
    kr.fit(model, (pixels[0], ["cat", "dog"] * 5), epochs=1)
    assert "trained without class names, takes the data's names" in caplog.text


def test_callbacks_know_that_more_accuracy_is_better(small, pixels, tmp_path):
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), monitor="val_accuracy", save_best_only=True
    )
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=0)
    kr.fit(small(), pixels, pixels, epochs=2, callbacks=[best, stop])
    assert kr.load(tmp_path / "best.keras").compiled
