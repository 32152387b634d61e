"""The command line, called as a function; `test_workflow` calls it as a process."""

import csv
import io
import json
import logging
import os
import shutil
from pathlib import Path

import keras
import pytest

import kerasresnet as kr
from kerasresnet import arguments, classifier, cli, demo, runs
from kerasresnet.augmentation import PRESETS


@pytest.fixture(autouse=True)
def _unchanged_process(monkeypatch):
    """`main` owns its process; the tests do not."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: None)


@pytest.fixture
def model_file(small, flowers, tmp_path):
    path = tmp_path / "model.keras"
    small(class_names=flowers.class_names).save(path)
    return path


def test_without_a_command_the_help_is_printed(capsys):
    assert cli.main([]) == 2
    assert "predict" in capsys.readouterr().out


def test_wrong_usage_exits_with_two():
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train"])
    assert stopped.value.code == 2


def test_train_writes_a_run_and_says_where(
    small, flower_folder, tmp_path, monkeypatch, capsys
):
    def build(class_names, **settings):
        return small(len(class_names), class_names=class_names, **settings)

    monkeypatch.setattr(runs, "build_classifier", build)
    monkeypatch.chdir(tmp_path)
    options = [
        "--weights",
        "none",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--fine-tune-epochs",
        "0",
    ]
    assert cli.main(["train", str(flower_folder), *options]) == 0
    printed = capsys.readouterr().out
    assert "index: ImageData(30 images, 5 classes" in printed
    assert f"results: {tmp_path / 'runs' / 'flower_photos-1'}" in printed
    assert (tmp_path / "runs" / "flower_photos-1" / "model.keras").is_file()
    assert "fine-tune" not in printed


def test_check_says_what_is_wrong_and_whether_training_would_stop(
    flower_folder, tmp_path, capsys
):
    assert cli.main(["check", str(flower_folder)]) == 0
    assert "Every image can be read." in capsys.readouterr().out
    folder = tmp_path / "photos"
    shutil.copytree(flower_folder, folder)
    (folder / "roses" / "bad.jpg").write_bytes(b"no image")
    table = tmp_path / "findings.csv"
    assert cli.main(["check", str(folder), "--csv", str(table)]) == 1
    printed = capsys.readouterr().out
    assert "1 image cannot be read:" in printed
    assert f"all findings: {table}" in printed
    assert "not_images" in table.read_text("utf-8")


def test_a_table_of_photos_is_taken_for_a_folder(flowers, tmp_path, capsys):
    flowers.to_csv(tmp_path / "flowers.csv")
    assert cli.main(["check", str(tmp_path / "flowers.csv")]) == 0
    assert "30 images in 5 classes" in capsys.readouterr().out


def test_photos_that_cannot_be_read_stop_or_are_skipped(
    model_file, flower_folder, tmp_path, capsys
):
    folder = tmp_path / "photos"
    shutil.copytree(flower_folder, folder)
    (folder / "roses" / "bad.jpg").write_bytes(b"no image")
    out = ["--out", str(tmp_path / "run"), "--weights", "none"]
    assert cli.main(["train", str(folder), *out]) == 1
    assert "bad.jpg cannot be read" in capsys.readouterr().err
    for command in ("evaluate", "predict"):
        arguments = [command, str(model_file), str(folder)]
        assert cli.main(arguments) == 1
        assert cli.main([*arguments, "--on-error", "skip"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 30


def test_evaluate_prints_and_writes_the_report(
    model_file, flower_folder, tmp_path, capsys
):
    out = tmp_path / "report"
    assert (
        cli.main(["evaluate", str(model_file), str(flower_folder), "--out", str(out)])
        == 0
    )
    printed = capsys.readouterr().out
    assert "of 30 images" in printed
    assert (out / "report.txt").read_text("utf-8").strip() in printed
    assert (out / "confusion.png").is_file()


def test_evaluate_prints_alone_without_a_folder(model_file, flower_folder, capsys):
    assert cli.main(["evaluate", str(model_file), str(flower_folder)]) == 0
    assert "results:" not in capsys.readouterr().out


def predict(model_file, capsys, *arguments):
    assert cli.main(["predict", str(model_file), *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_predict_prints_the_same_answers_in_every_form(
    model_file, flower_folder, flowers, capsys
):
    photos = [flowers.paths[3], flower_folder / "roses"]
    answers = kr.predict(kr.load(model_file), [photos[0], *flowers.paths[12:18]], top=2)
    table = predict(model_file, capsys, *photos, "--top", 2).splitlines()
    rows = list(
        csv.reader(
            io.StringIO(
                predict(model_file, capsys, *photos, "--top", 2, "--output", "csv")
            )
        )
    )
    lines = predict(
        model_file, capsys, *photos, "--top", 2, "--output", "jsonl"
    ).splitlines()
    assert rows[0] == ["source", "label_1", "probability_1", "label_2", "probability_2"]
    assert len(table) == len(lines) == len(rows) - 1 == len(answers) == 7
    for answer, text, row, line in zip(answers, table, rows[1:], lines, strict=True):
        record = json.loads(line)
        assert text.startswith(f"{answer.source}  {answer.label}")
        assert (
            row[:2]
            == [record["source"], record["label"]]
            == [answer.source, answer.label]
        )
        assert float(row[2]) == pytest.approx(record["probability"], abs=1e-6)


def test_predict_knows_the_imagenet_network_by_name(
    small, flowers, monkeypatch, capsys
):
    monkeypatch.setattr(classifier, "imagenet_classifier", lambda: small(3))
    assert predict("imagenet", capsys, flowers.paths[0], "--top", 1)


def test_demo_hands_its_options_on(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        demo, "run_demo", lambda folder, **rest: seen.update(rest, folder=folder)
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--seed", "3", "--weights", "none"]) == 0
    assert seen["folder"] == tmp_path / "kerasresnet-demo-1"
    assert (seen["seed"], seen["weights"], seen["verbose"]) == (3, "none", 2)


def test_doctor_prints_a_line_for_each_finding(capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("tensorflow") for line in lines)
    assert any(line.startswith("gpu") for line in lines)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train absent", "absent does not exist"),
        ("evaluate absent.keras {photos}", "There is no file absent.keras. Expected"),
        ("predict {model} absent.jpg", "There is no file absent.jpg"),
        ("predict {model} {empty}", "There is no image in"),
        (
            "train {photos} --weights absent.h5 --out {empty}/run",
            "absent.h5 does not exist",
        ),
        ("train {photos} --out {photos}", "exists and is not empty"),
    ],
)
def test_a_failed_job_is_one_line_and_exits_with_one(
    line, reason, model_file, flower_folder, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    words = line.format(
        model=model_file, photos=flower_folder, empty=tmp_path / "empty"
    )
    assert cli.main(words.split()) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("kerasresnet: error: ")
    assert reason in printed.err
    assert "Traceback" not in printed.err


def test_a_stopped_job_says_so(monkeypatch, capsys):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._COMMANDS, "doctor", stop)
    assert cli.main(["doctor"]) == 1
    assert "stopped" in capsys.readouterr().err


def test_only_the_notes_of_the_start_are_kept_off_the_screen(capfd):
    with cli._without_startup_notes():
        os.write(2, b"I0000 00:00:1 port.cc:153] oneDNN is on\nreal trouble\n")
    assert capfd.readouterr().err == "real trouble\n"


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 0",
        "--epochs x",
        "--fine-tune-epochs -1",
        "--validation 0",
        "--validation 1.5",
        "--dropout 1",
        "--learning-rate nan",
        "--image-size 20",
        "--from-stage conv9",
        "--hidden-units 0",
    ],
)
def test_numbers_out_of_range_are_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "photos", *words.split()])
    assert stopped.value.code == 2
    assert words.split()[0] in capsys.readouterr().err


def test_the_stages_of_the_command_line_are_those_of_the_network():
    assert kr.STAGES[:-1] == arguments._STAGES


def test_the_presets_of_the_command_line_are_those_of_augmentation():
    assert tuple(PRESETS) == arguments._PRESETS
    parse = arguments.build_parser().parse_args
    assert parse(["train", "photos", "--augment"]).augmentation == "light"
    strong = parse(["train", "photos", "--augmentation", "strong"])
    assert strong.augmentation == "strong"


def test_defaults_of_the_command_line_are_those_of_the_run():
    options = arguments.build_parser().parse_args(["train", "photos"])
    settings = runs.RunSettings()
    for name, value in vars(settings).items():
        assert getattr(options, name) == value


def test_a_job_that_failed_leaves_no_empty_folder(flower_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(flower_folder), "--weights", "absent.h5"]
    assert cli.main(words) == 1
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_cache_is_shown_and_cleared(small, pixels, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "cache"))
    assert cli.main(["cache"]) == 0
    assert "0 B of 20 GB, 0 entries" in capsys.readouterr().out
    kr.extract_features(small(), pixels[0], precision="float32", verbose=0)
    assert cli.main(["cache", "show"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.split()[2] == "10"
    assert line.endswith("avg_pool  32 x 32     float32")
    assert cli.main(["cache", "clear", "--dir", str(tmp_path / "cache")]) == 0
    assert "of features removed" in capsys.readouterr().out
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("word", "cache"),
    [("auto", "auto"), ("memory", "memory"), ("off", False), ("a/b", Path("a/b"))],
)
def test_the_cache_of_a_run_is_chosen_by_a_word(word, cache):
    options = arguments.build_parser().parse_args(["train", "photos", "--cache", word])
    assert options.cache == cache
