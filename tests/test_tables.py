"""Tables of photos are read as they are meant, or refused with what is wrong."""

import pytest
from PIL import Image

import kerasresnet as kr


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        Image.new("RGB", (9, 9), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(folder, text, name="photos.csv"):
    (folder / name).write_text(text, "utf-8")
    return folder / name


class Frame:
    """What pandas and polars frames have in common."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._columns[name]


# Round trip ------------------------------------------------------------------------------


def test_a_set_survives_its_table(flowers, tmp_path):
    flowers.to_csv(tmp_path / "flowers.csv")
    again = kr.ImageData.from_csv(tmp_path / "flowers.csv")
    assert again.paths == flowers.paths
    assert again.class_names == flowers.class_names
    assert again.labels.tolist() == flowers.labels.tolist()
    assert again.parts is None


def test_a_table_beside_its_photos_can_be_moved_with_them(folder):
    data = kr.ImageData.from_paths(folder)
    data.to_csv(folder / "list.csv")
    assert (folder / "list.csv").read_text("utf-8").splitlines()[1] == "0.png"
    moved = folder.rename(folder.with_name("moved"))
    again = kr.ImageData.from_csv(moved / "list.csv", label_column=None)
    assert [path.name for path in again.paths] == [p.name for p in data.paths]
    assert again.labels is None


def test_parts_survive_their_table(flowers, tmp_path):
    train, held_out, test = flowers.split(0.2, 0.2)
    whole = kr.ImageData.combine(train=train, validation=held_out, test=test)
    whole.to_csv(tmp_path / "divided.csv")
    for part, again in zip(
        (train, held_out, test),
        kr.ImageData.from_csv(tmp_path / "divided.csv").split(),
        strict=True,
    ):
        assert again.paths == part.paths
        assert again.labels.tolist() == part.labels.tolist()


def test_images_in_memory_have_no_table(pixels, tmp_path):
    with pytest.raises(kr.DataError, match="no path that could be written"):
        kr.ImageData.from_arrays(*pixels).to_csv(tmp_path / "a.csv")


# Reading ------------------------------------------------------------------------------------


def test_columns_root_and_names_can_be_chosen(folder):
    file = written(folder / "..", "label,file\nb,0.png\na,1.png\nb,2.png\n")
    data = kr.ImageData.from_csv(
        file, image_column="file", root=folder, class_names=["b", "a", "c"]
    )
    assert data.paths == tuple(folder / f"{i}.png" for i in range(3))
    assert data.labels.tolist() == [0, 1, 0]
    assert data.counts() == {"b": 2, "a": 1, "c": 0}


def test_numbers_are_names_in_the_order_of_their_values(folder):
    file = written(folder, "image_path,label\n0.png,10\n1.png,2\n2.png,1\n")
    data = kr.ImageData.from_csv(file)
    assert data.class_names == ("1", "2", "10")
    assert data.labels.tolist() == [2, 1, 0]


def test_what_spreadsheets_write_is_read(folder):
    text = '\ufeffimage_path,label\r\n0.png,"red, dark"\r\n\r\n1.png, red \r\n'
    data = kr.ImageData.from_csv(written(folder, text))
    assert data.class_names == ("red", "red, dark")


def test_semicolons_part_cells_and_empty_rows_are_passed_over(folder):
    text = "image_path;label\r\n0.png;red, dark\r\n;\r\n1.png;red\r\n ; \r\n"
    data = kr.ImageData.from_csv(written(folder, text))
    assert data.class_names == ("red", "red, dark")
    assert len(data) == 2


def test_paths_of_a_table_in_a_parent_folder_are_relative_to_it(folder, monkeypatch):
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    kr.ImageData.from_paths(folder).to_csv("../list.csv")
    assert "\n0.png\n" in (folder / "list.csv").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty. Its first line must name the columns"),
        ("image_path,label\n", "lists no image"),
        ("path,label\n0.png,a\n", "no column 'image_path', but path, label"),
        ("image_path,class\n0.png,a\n", "no column 'label', but image_path, class"),
        ("image_path,label\n0.png\n", "Line 2 of .* has 1 cell, but there are 2"),
        (
            "image_path,label\n0.png,a\n1.png, \n",
            "Row 2 of .* nothing in column 'label'",
        ),
        ("image_path,label\n9.png,a\n", "1 of 1 photos .* are not there: .*9.png"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(folder, text, message):
    with pytest.raises(kr.DataError, match=message):
        kr.ImageData.from_csv(written(folder, text))


def test_a_file_that_is_no_table_is_refused(folder):
    with pytest.raises(kr.DataError, match="cannot be read as a CSV file"):
        kr.ImageData.from_csv(folder / "0.png")
    with pytest.raises(kr.DataError, match=r"absent\.csv does not exist\. Expected"):
        kr.ImageData.from_csv(folder / "absent.csv")


# Data frames -----------------------------------------------------------------------------------


def test_a_data_frame_is_read_like_a_table(folder):
    frame = Frame(
        image_path=["0.png", "1.png"], label=["b", "a"], part=["test", "train"]
    )
    data = kr.ImageData.from_dataframe(frame, root=folder)
    assert data.labels.tolist() == [1, 0]
    train, test = data.split()
    assert (train.paths[0].name, test.paths[0].name) == ("1.png", "0.png")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_frames_of_both_libraries_are_read(folder, library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({"image_path": ["0.png", "1.png"], "label": [3, 1]})
    data = kr.ImageData.from_dataframe(frame, root=folder)
    assert data.class_names == ("1", "3")


@pytest.mark.parametrize("nothing", [None, float("nan"), ""])
def test_a_cell_that_holds_nothing_is_refused(folder, nothing):
    frame = Frame(image_path=["0.png", "1.png"], label=["b", nothing])
    with pytest.raises(kr.DataError, match="Row 2 of the data frame has nothing"):
        kr.ImageData.from_dataframe(frame, root=folder)


def test_what_is_no_frame_is_refused():
    with pytest.raises(kr.DataError, match=r"Expected a data frame .* received dict"):
        kr.ImageData.from_dataframe({"image_path": []})
