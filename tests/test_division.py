"""Parts of a set: nothing lost, nothing twice, and what belongs together stays so."""

import shutil

import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr


@pytest.fixture
def numbered():
    """Images that tell their own row: 60 of class a, 30 of b, 10 of c, mixed up."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    images = np.arange(100, 200, dtype="uint8").repeat(8 * 8 * 3).reshape(-1, 8, 8, 3)
    return kr.ImageData.from_arrays(images, labels, class_names=["a", "b", "c"])


def noise(seed, size=(40, 30)):
    return Image.fromarray(coarse(seed).repeat(5, 0).repeat(3, 1)).resize(size)


def coarse(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 9, 3), "uint8")


@pytest.fixture
def folder(tmp_path):
    """Two classes of 20 photos that all differ."""
    for number in range(40):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(number).save(path)
    return tmp_path / "photos"


def names(data):
    return {path.name for path in data.paths}


# split ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fractions", [(0.2,), (0.1, 0.1), (0.3, 0.3, 0.3)])
def test_a_split_gives_each_image_with_its_label_to_exactly_one_part(
    numbered, fractions
):
    parts = numbered.split(*fractions)
    assert len(parts) == len(fractions) + 1
    rows = np.concatenate([part.rows for part in parts])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    for part in parts:
        np.testing.assert_array_equal(part.labels, numbered.labels[part.rows])
        np.testing.assert_array_equal(np.sort(part.rows), part.rows)
        assert part.class_names == numbered.class_names
        assert min(part.counts().values()) >= 1


def test_a_split_keeps_the_share_of_every_class_on_average(numbered):
    held_out = [numbered.split(0.2, seed=seed)[1].counts() for seed in range(20)]
    for name, expected in (("a", 12), ("b", 6), ("c", 2)):
        assert abs(np.mean([counts[name] for counts in held_out]) - expected) < 1


def test_a_split_is_decided_by_its_seed_alone(numbered):
    def held_out(seed):
        return numbered.split(0.3, seed=seed)[1].rows.tolist()

    np.random.seed(1)  # noqa: NPY002 - must make no difference
    first = held_out(0)
    np.random.seed(2)  # noqa: NPY002
    assert held_out(0) == first
    assert len({tuple(held_out(seed)) for seed in range(5)}) == 5


def test_photos_are_split_as_arrays_are(flowers):
    train, validation = flowers.split(0.2)
    assert set(train.paths) | set(validation.paths) == set(flowers.paths)
    assert not set(train.paths) & set(validation.paths)
    for part in (train, validation):
        for path, label in zip(part.paths, part.labels, strict=True):
            assert path.parent.name == part.class_names[label]


def test_new_and_renamed_photos_move_none_of_the_old_ones(folder):
    train, held_out = kr.ImageData.from_folder(folder).split(0.3)
    for number in range(60, 90):
        noise(number).save(folder / "ab"[number % 2] / f"0{number}.png")
    (folder / "a" / "00.png").rename(folder / "a" / "zz.png")
    shutil.move(folder, folder.with_name("moved"))
    more = kr.ImageData.from_folder(folder.with_name("moved")).split(0.3)
    for before, after in zip((train, held_out), more, strict=True):
        assert names(before) - {"00.png"} <= names(after)
    assert ("zz.png" in names(more[0])) == ("00.png" in names(train))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_and_nearly_the_same_photos_stay_together(folder, seed):
    for number in range(10):
        whole = folder / "ab"[number % 2] / f"{number:02}.png"
        shutil.copy(whole, whole.with_name(f"{number:02} copy.png"))
        noise(number).save(
            whole.with_name(f"{number:02}.jpg"), quality=95, subsampling=0
        )
    for part in kr.ImageData.from_folder(folder).split(0.4, seed=seed):
        held = names(part)
        for number in range(10):
            kin = {f"{number:02}{end}" for end in (".png", " copy.png", ".jpg")}
            assert kin <= held or not kin & held


def test_with_exact_duplicates_alone_no_photo_is_looked_at(folder, monkeypatch):
    data = kr.ImageData.from_folder(folder)
    monkeypatch.setattr("kerasresnet.index.look_at", None)
    assert len(data.split(0.2, duplicates="exact")) == 2
    with pytest.raises(ValueError, match="Unknown duplicates 'some'"):
        data.split(0.2, duplicates="some")


@pytest.mark.parametrize("groups", [lambda i: i // 4, lambda i: f"person {i % 9}"])
def test_members_of_a_group_stay_together(numbered, groups):
    named = [groups(i) for i in range(100)]
    train, held_out = numbered.split(0.3, groups=named)
    sides = [{named[row] for row in part.rows} for part in (train, held_out)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(named)


def test_groups_of_another_number_are_refused(numbered):
    with pytest.raises(kr.DataError, match="There are 100 images but 3 groups"):
        numbered.split(0.2, groups=[1, 2, 3])


def test_unreadable_photos_are_split_like_others(folder):
    (folder / "a" / "bad.png").write_bytes(b"no image")
    (folder / "a" / "gone.png").symlink_to(folder / "nowhere.png")
    parts = kr.ImageData.from_folder(folder).split(0.2)
    assert sum(len(part) for part in parts) == 42


def test_a_part_can_be_split_again(numbered):
    rest, test = numbered.split(0.2)
    train, validation = rest.split(0.25)
    rows = np.concatenate([part.rows for part in (train, validation, test)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    assert 8 <= len(validation) <= 32
    assert 8 <= len(rest.split(0.2)[1]) <= 32


def test_a_class_too_small_to_be_split_is_refused(folder):
    (folder / "zinnia").mkdir()
    noise(99).save(folder / "zinnia" / "only.png")
    with pytest.raises(kr.DataError, match="Class 'zinnia' has 1 image, too few for 2"):
        kr.ImageData.from_folder(folder).split(0.2)


@pytest.mark.parametrize("fractions", [(), (0,), (1.0,), (0.5, 0.5), (-0.1,), (20,)])
def test_fractions_that_leave_nothing_are_refused(numbered, fractions):
    with pytest.raises(ValueError, match="must be positive and sum to less than 1"):
        numbered.split(*fractions)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_seed_that_is_no_whole_number_is_refused(numbered, seed):
    with pytest.raises(ValueError, match=f"seed must be at least 0, received {seed}"):
        numbered.split(0.2, seed=seed)


# Parts that are known already -----------------------------------------------------------


def test_parts_know_their_names_and_can_be_told_apart_again(numbered, folder):
    assert [part.parts[0] for part in numbered.split(0.2, 0.1)] == [
        "train",
        "validation",
        "test",
    ]
    assert len(numbered.split(0.2, 0.2, 0.2)) == 4
    train, held_out = kr.ImageData.from_folder(folder).split(0.2)
    both = kr.ImageData.combine(validation=held_out, train=train)
    assert [part.paths for part in both.split()] == [train.paths, held_out.paths]
    (again,) = train.split()
    assert again.paths == train.paths


def test_what_is_divided_is_not_divided_over_it(folder):
    train, held_out = kr.ImageData.from_folder(folder).split(0.2)
    both = kr.ImageData.combine(train=train, test=held_out)
    with pytest.raises(kr.DataError, match="divided already: test, train"):
        both.split(0.2)
    with pytest.raises(kr.DataError, match="divided already"):
        both.k_folds(2)


def test_only_photos_of_the_same_classes_are_put_together(folder, numbered):
    data = kr.ImageData.from_folder(folder)
    other = kr.ImageData.from_folder(folder, class_names=["b"])
    with pytest.raises(kr.DataError, match="different classes"):
        kr.ImageData.combine(train=data, test=other)
    with pytest.raises(kr.DataError, match="Only photo files"):
        kr.ImageData.combine(train=numbered)
    with pytest.raises(kr.DataError, match="no part to put together"):
        kr.ImageData.combine()
    bare = kr.ImageData.from_paths(folder)
    assert kr.ImageData.combine(train=bare).labels is None


# k_folds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 5])
def test_every_image_is_held_out_exactly_once(numbered, k):
    pairs = numbered.k_folds(k)
    assert len(pairs) == k
    held_out = np.concatenate([held.rows for _, held in pairs])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(100))
    for train, held in pairs:
        rows = np.concatenate([train.rows, held.rows])
        np.testing.assert_array_equal(np.sort(rows), np.arange(100))
        for name, total in numbered.counts().items():
            assert abs(held.counts()[name] - total / k) <= 1


def test_folds_keep_groups_together_and_follow_the_seed(numbered):
    named = [i // 4 for i in range(100)]
    for train, held in numbered.k_folds(3, groups=named):
        assert not {named[i] for i in train.rows} & {named[i] for i in held.rows}
    first = [numbered.k_folds(3, seed=s)[0][1].rows.tolist() for s in (0, 0, 1)]
    assert first[0] == first[1] != first[2]


def test_folds_need_enough_pictures_and_a_sensible_number(numbered):
    with pytest.raises(kr.DataError, match="1 pictures that differ, too few for 5"):
        numbered.k_folds(5, groups=[0] * 100)
    for k in (1, 0, 2.5):
        with pytest.raises(ValueError, match=f"at least 2, received {k}"):
            numbered.k_folds(k)


# shard and without ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 100, 101])
def test_shards_are_the_whole_together(numbered, count):
    shards = [numbered.shard(index, count) for index in range(count)]
    rows = np.concatenate([shard.rows for shard in shards])
    np.testing.assert_array_equal(np.sort(rows), np.arange(100))
    assert np.ptp([len(shard) for shard in shards]) <= 1


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 2), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(numbered, index, count):
    with pytest.raises(
        ValueError, match=f"0 <= index < count, received {index}, {count}"
    ):
        numbered.shard(index, count)


def test_images_are_left_out_by_path_source_or_finding(folder, numbered):
    (folder / "a" / "bad.png").write_bytes(b"no image")
    data = kr.ImageData.from_folder(folder)
    good = data.without(data.check().unreadable)
    assert names(data) - names(good) == {"bad.png"}
    assert good.labels.tolist() == [0] * 20 + [1] * 20
    assert len(data.without([data.paths[0], str(data.paths[5])])) == 39
    assert numbered.without(["image 7"]).rows.tolist() == [*range(7), *range(8, 100)]
    assert data.without([]) is data


def test_what_is_not_there_cannot_be_left_out(numbered):
    with pytest.raises(
        kr.DataError, match="1 of the images to leave out are not among"
    ):
        numbered.without(["image 100"])
    with pytest.raises(kr.DataError, match="none is left"):
        numbered.without(numbered.sources)
    with pytest.raises(ValueError, match="Expected a list of images"):
        numbered.without("image 3")


# take ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 33, 99])
def test_take_is_exact_and_in_proportion(numbered, n):
    few = numbered.take(n)
    assert len(few) == n == len(set(few.rows.tolist()))
    np.testing.assert_array_equal(few.labels, numbered.labels[few.rows])
    np.testing.assert_array_equal(np.sort(few.rows), few.rows)
    if n >= 3:
        shares = np.array(list(few.counts().values()))
        assert np.abs(shares - n * np.array([0.6, 0.3, 0.1])).max() < 1
        assert shares.min() >= 1


def test_take_is_decided_by_its_seed(numbered):
    first = [numbered.take(20, seed=seed).rows.tolist() for seed in range(4)]
    assert first == [numbered.take(20, seed=seed).rows.tolist() for seed in range(4)]
    assert len({tuple(rows) for rows in first}) == 4


def test_take_of_all_or_more_is_the_whole(numbered):
    assert numbered.take(100) is numbered
    assert numbered.take(101) is numbered


def test_take_of_unlabelled_photos_keeps_their_order(flowers):
    few = kr.ImageData.from_paths(flowers.paths).take(7)
    assert len(few) == 7
    assert list(few.paths) == sorted(few.paths)


@pytest.mark.parametrize("n", [0, -3])
def test_take_of_nothing_is_refused(numbered, n):
    with pytest.raises(ValueError, match=f"positive number of images, received {n}"):
        numbered.take(n)
