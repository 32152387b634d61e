import io

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr


@pytest.fixture
def model(small):
    return small(class_names=["daisy", "dandelion", "roses", "sunflowers", "tulips"])


def answers(predictions):
    return [p.top for p in predictions]


@pytest.fixture
def photo(flowers, tmp_path):
    """A PNG: of a JPEG file, other than of its pixels, a reduced one would be decoded."""
    with Image.open(flowers.paths[7]) as opened:
        opened.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_every_way_to_pass_a_photo_gives_the_same_answer(model, photo):
    path = photo
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    ways = [
        path,
        str(path),
        path.read_bytes(),
        image,
        np.asarray(image),
        np.asarray(image)[None],
        [path],
        [path.read_bytes()],
        kr.ImageData.from_paths([path]),
        kr.ImageData.from_arrays(np.asarray(image)[None]),
    ]
    for way in ways:
        (prediction,) = kr.predict(model, way)
        (oracle,) = kr.predict(model, path)
        assert prediction.label == oracle.label
        np.testing.assert_allclose(
            [p for _, p in prediction.top], [p for _, p in oracle.top], rtol=1e-5
        )


def test_a_folder_is_read_to_the_bottom_in_order(model, flower_folder, flowers):
    predictions = kr.predict(model, flower_folder)
    assert [p.source for p in predictions] == [str(path) for path in flowers.paths]


@pytest.mark.core
@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_there_is_one_answer_for_each_image_in_order(model, pixels, batch_size):
    images, _ = pixels
    predictions = kr.predict(model, images, batch_size=batch_size)
    assert [p.source for p in predictions] == [f"image {i}" for i in range(10)]
    expected = model.predict(images)
    np.testing.assert_allclose(
        [p.probability for p in predictions], expected.max(axis=1), rtol=1e-5
    )


def test_a_mixed_list_keeps_the_source_of_each(model, photo):
    path = photo
    with Image.open(path) as opened:
        named = opened.copy()
        mixed = [path, path.read_bytes(), opened, np.asarray(named)]
        predictions = kr.predict(model, mixed)
    sources = [p.source for p in predictions]
    assert sources == [str(path), "image 1", str(path), "image 3"]
    assert len(set(answers(predictions))) == 1


def test_top_lists_the_most_probable_first(model, pixels):
    (prediction, *_) = kr.predict(model, pixels[0], top=3)
    shares = [share for _, share in prediction.top]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert prediction.top[0] == (prediction.label, prediction.probability)
    assert len(kr.predict(model, pixels[0], top=99)[0].top) == 5


def test_gray_and_transparent_images_are_answered(model):
    gray = Image.new("L", (50, 40), 120)
    clear = Image.new("RGBA", (50, 40), (255, 255, 255, 0))
    white = Image.new("RGB", (50, 40), "white")
    predictions = kr.predict(
        model, [gray, np.full((40, 50), 120, "uint8"), clear, white]
    )
    found = answers(predictions)
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_photos_are_predicted_in_the_order_of_rows_of_image_data(model, flowers):
    some = flowers.take(7, seed=2)
    predictions = kr.predict(model, some)
    assert [p.source for p in predictions] == list(some.sources)


def test_printing_a_prediction_names_source_and_answers(model, flowers):
    text = str(kr.predict(model, flowers.paths[0], top=2)[0])
    assert text.startswith(f"{flowers.paths[0]}: ")
    assert text.count("%") == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "There is no image to predict"),
        ("absent.jpg", "there is no such file"),
        (b"no image", "An image of 8 bytes cannot be read"),
        (np.zeros((32, 32, 5), "uint8"), "expected .H, W, 3."),
        (np.full((32, 32, 3), 0.5), "scaled to 0..1"),
        (np.full((32, 32, 3), np.nan), "NaN"),
        (np.full((32, 32, 3), 300), "from 300 to 300"),
        ([7], "received int"),
        (7, "received int"),
    ],
)
def test_what_is_no_image_is_refused(model, images, message):
    with pytest.raises(kr.DataError, match=message):
        kr.predict(model, images)


def test_an_empty_folder_is_refused(model, tmp_path):
    with pytest.raises(kr.DataError, match="There is no image in"):
        kr.predict(model, tmp_path)


def test_top_must_be_positive(model, pixels):
    with pytest.raises(ValueError, match="top must be at least 1"):
        kr.predict(model, pixels[0], top=0)


def test_bytes_may_be_of_any_format(model):
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(stream, "WEBP", lossless=True)
    (red,) = kr.predict(model, Image.new("RGB", (40, 40), "red"))
    assert kr.predict(model, stream.getvalue())[0].top == red.top


def test_folders_in_a_list_are_read_too(model, flower_folder, flowers):
    listed = [flower_folder / "roses", flowers.paths[0]]
    sources = [p.source for p in kr.predict(model, listed)]
    assert sources == [*map(str, flowers.paths[12:18]), str(flowers.paths[0])]


def test_a_black_photo_is_a_photo(model):
    black = np.zeros((1, 32, 32, 3), "uint8")
    assert kr.predict(model, black)[0].top == kr.predict(model, black[0])[0].top


@pytest.fixture
def calibrated(model, flowers):
    kr.calibrate(model, flowers)
    return model


def test_a_set_begins_with_the_most_probable_and_is_in_order(calibrated, flowers):
    for prediction in kr.predict(calibrated, flowers, coverage=0.9):
        ranked = [name for name, _ in prediction.top]
        assert prediction.labels == tuple(ranked[: len(prediction.labels)])
        assert prediction.label == ranked[0]
        assert str(prediction).endswith(f"may be {', '.join(prediction.labels)}")


def test_sets_of_the_images_that_calibrated_hold_nine_of_ten(calibrated, flowers):
    predictions = kr.predict(calibrated, flowers, top=1, coverage=0.9)
    truth = [flowers.class_names[label] for label in flowers.labels]
    held = [name in p.labels for name, p in zip(truth, predictions, strict=True)]
    assert np.mean(held) >= 0.9


def test_without_coverage_there_is_no_set(calibrated, pixels):
    assert kr.predict(calibrated, pixels[0])[0].labels is None


def test_sets_need_a_calibrated_model(model, pixels):
    with pytest.raises(ValueError, match=r"Call kr.calibrate.model, validation. first"):
        kr.predict(model, pixels[0], coverage=0.9)
    model.threshold = 0.5
    with pytest.raises(ValueError, match=r"Call kr.calibrate.model, validation. first"):
        kr.predict(model, pixels[0], coverage=0.9)


@pytest.mark.parametrize("coverage", [0, 1, 95])
def test_a_coverage_is_a_share(calibrated, pixels, coverage):
    with pytest.raises(ValueError, match="coverage must be a share between 0 and 1"):
        kr.predict(calibrated, pixels[0], coverage=coverage)


def test_a_damaged_model_has_no_answer(small, pixels):
    model = small()
    kernel = model.get_layer("predictions").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(kr.DataError, match="NaN instead of probabilities"):
        kr.predict(model, pixels[0])
