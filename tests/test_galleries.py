import numpy as np
import pytest
from drawing import drawn, report_of, texts, titles

import kerasresnet as kr
from kerasresnet.explanation import overlaid


def test_images_are_titled_with_their_class(flowers):
    figure = kr.plot_images(flowers, n=5, seed=1)
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert sorted(titles) == sorted(flowers.class_names)
    assert drawn(figure).std() > 0


def test_unlabelled_images_are_titled_with_their_source(pixels):
    figure = kr.plot_images(kr.ImageData.from_arrays(pixels[0]), n=2)
    assert all(a.get_title().startswith("image ") for a in figure.axes if a.images)


def test_predictions_are_titled_with_label_and_probability(small, flowers, pixels):
    model = small(class_names=flowers.class_names)
    for images in (flowers.take(5), pixels[0][:5]):
        predictions = kr.predict(model, images)
        figure = kr.plot_predictions(predictions, n=4)
        titles = [axis.get_title() for axis in figure.axes if axis.images]
        expected = [f"{p.label}\n{p.probability:.0%}" for p in predictions[:4]]
        assert titles == expected


def test_wrong_answers_are_marked_by_colour_and_true_name(small, flowers):
    model = small(class_names=flowers.class_names)
    predictions = kr.predict(model, flowers.take(6))
    labels = [p.label for p in predictions]
    labels[1], labels[4] = "roses of another class", "$x$"
    figure = kr.plot_predictions(predictions, labels=labels)
    for axis, p, label in zip(figure.axes, predictions, labels, strict=False):
        title, sure = axis.get_title().replace(r"\$", "$"), f"{p.probability:.0%}"
        assert all(len(line) <= 28 for line in title.split("\n"))
        if label == p.label:
            assert (title, axis.title.get_color()) == (f"{label}\n{sure}", "black")
            continue
        assert axis.title.get_color() == "#D55E00"
        assert title.startswith(p.label)
        assert f"{label[-12:]})" in title
        assert title.endswith(sure)
    with pytest.raises(kr.DataError, match="6 predictions but 5 labels"):
        kr.plot_predictions(predictions, labels=labels[1:])


def test_no_predictions_and_no_images_are_refused(flowers):
    with pytest.raises(kr.DataError, match="no prediction to draw"):
        kr.plot_predictions([])
    with pytest.raises(ValueError, match="n must be at least 1, received 0"):
        kr.plot_predictions([], n=0)
    with pytest.raises(kr.DataError, match="no image to draw"):
        kr.plot_images(kr.ImageData.from_paths([]))


def test_long_names_keep_their_end(small, flowers, pixels):
    model = small(class_names=["x" * 60 + name for name in flowers.class_names])
    figure = kr.plot_predictions(kr.predict(model, pixels[0][:1]))
    title = figure.axes[0].get_title().split("\n")[0]
    assert len(title) == 28
    assert title.startswith("…")


def below(figure):
    return [texts(axis)[0] for axis in figure.axes if axis.images]


def test_mistakes_are_drawn_with_both_names_and_where_they_are_from(small, flowers):
    report = kr.evaluate(small(class_names=flowers.class_names), flowers)
    figure = kr.plot_mistakes(report, n=4)
    for title, path, mistake in zip(
        titles(figure), below(figure), report.mistakes[:4], strict=True
    ):
        assert title.startswith(mistake.predicted)
        assert f"(true: {mistake.label})" in title
        assert title.endswith(f"{mistake.probability:.0%}")
        assert mistake.source.endswith(path.removeprefix("…"))
    count = len(report.mistakes)
    assert figure.get_suptitle() == f"{count} mistakes among 30 images"
    assert drawn(figure).std() > 0


def test_mistakes_in_arrays_are_found_in_the_data(pixels):
    images, _ = pixels
    report = report_of([[8, 1], [1, 0]])
    for data in (images, (images, report.labels), kr.ImageData.from_arrays(images)):
        figure = kr.plot_mistakes(report, data)
        for axis, name in zip(figure.axes, below(figure), strict=False):
            row = int(name.removeprefix("image "))
            assert (axis.images[0].get_array()[0, 0] == images[row][0, 0]).all()


def test_mistakes_whose_image_is_not_known_are_refused(pixels):
    report = report_of([[8, 1], [2, 0]])
    with pytest.raises(kr.DataError, match="image 8 is no file"):
        kr.plot_mistakes(report)
    with pytest.raises(kr.DataError, match="image 10 is not in the data"):
        kr.plot_mistakes(report, pixels[0])
    with pytest.raises(ValueError, match="n must be at least 1, received 0"):
        kr.plot_mistakes(report, pixels[0], 0)


def test_no_mistake_is_said():
    figure = kr.plot_mistakes(report_of([[2, 0], [0, 1]]))
    assert figure.get_suptitle() == "no mistake among 3 images"
    assert drawn(figure).std() > 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_photo_stands_beside_its_heat_map(small, flowers, count):
    model = small(class_names=flowers.class_names)
    heat_maps = kr.grad_cam(model, list(flowers.paths[:count]))
    figure = kr.plot_grad_cam(heat_maps)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 2 * count
    for photo, map_, one in zip(shown[::2], shown[1::2], heat_maps, strict=True):
        assert (photo.images[0].get_array() == one.image).all()
        assert (map_.images[0].get_array() == overlaid(one)).all()
        assert one.source.endswith(photo.get_title())
        assert map_.get_title() == f"{one.label}\n{one.probability:.0%}, conv5"
    assert figure.axes[-1].get_ylabel() == "evidence, 1 = most"
    assert drawn(figure).std() > 0


def test_one_heat_map_is_drawn_as_a_list_of_one(small, pixels):
    one = kr.grad_cam(small(), pixels[0][0])
    assert (drawn(kr.plot_grad_cam(one)) == drawn(kr.plot_grad_cam([one]))).all()


def test_without_evidence_an_overlay_is_the_photo_in_gray():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), "uint8")
    values = np.zeros((8, 9), "float32")
    values[3, 4] = 1
    found = overlaid(kr.HeatMap("x", "cat", 0.5, "conv5", values, image))
    coloured = found.max(axis=-1) > found.min(axis=-1)
    np.testing.assert_array_equal(coloured, values > 0)
    gray = image @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found[0, :, 0], gray[0], atol=0.51)


def test_look_alikes_are_drawn_with_class_similarity_and_path(small, flowers):
    found = kr.look_alikes(small(), flowers.paths[0].read_bytes(), flowers, n=3)
    figure = kr.plot_look_alikes(found)
    expected = [f"{found[0].label}\nidentical"]
    expected += [f"{one.label}\nsimilarity {one.similarity:.2f}" for one in found[1:]]
    assert titles(figure) == expected
    for path, one in zip(below(figure), found, strict=True):
        assert one.source.endswith(path.removeprefix("…"))
    assert drawn(figure).std() > 0


def test_nothing_to_explain_is_refused():
    with pytest.raises(kr.DataError, match="no heat map to draw"):
        kr.plot_grad_cam([])
    with pytest.raises(kr.DataError, match="no look-alike to draw"):
        kr.plot_look_alikes([])


def test_a_picture_given_as_bytes_is_drawn_and_not_to_know_is_not_wrong(small, flowers):
    model = small(class_names=flowers.class_names)
    held = kr.ImageData.from_images([path.read_bytes() for path in flowers.paths[:2]])
    model.threshold = 1.0
    predictions = kr.predict(model, held)
    assert [p.label for p in predictions] == ["unknown"] * 2
    figure = kr.plot_predictions(predictions, labels=["daisy", "daisy"])
    assert {axis.title.get_color() for axis in figure.axes if axis.images} == {
        "#666666"
    }
