"""The command line, called as a function; `test_workflow` calls it as a process."""

import csv
import io
import json
import logging
import os
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import (
    arguments,
    backbones,
    cli,
    demo,
    imagenet,
    jobs,
    runs,
    startup,
    train_arguments,
    upkeep,
)
from kerasresnet.augmentation import PRESETS
from kerasresnet.index import NAME
from kerasresnet.notes import RunSettings, read_settings
from kerasresnet.rules import Facts
from kerasresnet.schedules import WARMUP


@pytest.fixture(autouse=True)
def _unchanged_process(monkeypatch):
    """`main` owns its process; the tests do not."""
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    for name in ("extraction", "precision", "keeping"):
        log = logging.getLogger(f"kerasresnet.{name}")
        monkeypatch.setattr(log, "level", log.level)  # brought back


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


# Training ------------------------------------------------------------------------------------


def facts_of(model, train, validation, precision):
    times = {"trunk_seconds": 1e-4, "step_seconds": dict.fromkeys(kr.STAGES[:-1], 1e-4)}
    return Facts(images=len(train), smallest_class=3, classes=5, image_size=32, **times)


@pytest.fixture
def quick(monkeypatch):
    """The stand-in in ResNet50's place, and the same speed on every machine."""
    small = backbones.BACKBONES["small"]
    monkeypatch.setitem(backbones.BACKBONES, "resnet50", small)
    monkeypatch.setattr(jobs, "measure", facts_of)


SHORT = ["--weights", "none", "--image-size", "32", "--dropout", "0.5"]
TUNED = [*SHORT, "--from-stage", "conv5", "--views", "1", "--epochs"]


@pytest.mark.usefixtures("quick")
def test_train_writes_a_run_and_says_where(
    flower_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(flower_folder), *SHORT, "--from-stage", "none"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    steps = ["index: ImageData(30 images, 5 classes", "check:", "split:", "build:"]
    steps += ["Recipe, predicted to take", "linear probe on", "save:", "evaluate:"]
    steps += ["accuracy", f"results: {tmp_path / 'runs' / 'flower_photos-1'}", "next:"]
    positions = [printed.index(f"\n{step}" if n else step) for n, step in enumerate(steps)]  # fmt: skip
    assert positions == sorted(positions)
    run = tmp_path / "runs" / "flower_photos-1"
    assert (run / "model.keras").is_file()
    assert "Epoch" not in printed
    assert "next: kerasresnet report runs/flower_photos-1\n" in printed
    assert cli.main(["report", "runs/flower_photos-1"]) == 0
    assert capsys.readouterr().out.endswith(f"page: {run / 'report.html'}\n")
    assert (run / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_stopped_goes_on_and_is_done_again(
    flower_folder, tmp_path, monkeypatch, capsys
):
    shutil.copytree(flower_folder, tmp_path / "photos")
    train = ["train", str(tmp_path / "photos"), *TUNED, "2", "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "the cut"
    assert cli.main([*train, str(whole)]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(jobs.Course, "_report_one_class", interrupt)
        assert cli.main([*train, str(cut)]) == 1
    way = f"kerasresnet train --out '{cut}' --resume"
    assert capsys.readouterr().err.endswith(f"stopped. To go on: {way}\n")
    assert cli.main([*train, str(cut)]) == 1
    assert "--resume" in capsys.readouterr().err
    resume = ["train", "--out", str(cut), "--resume"]
    assert cli.main(resume) == 0
    for name in ("history.csv", "report.txt", "settings.json", "split.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    models = [kr.load(folder / "model.keras") for folder in (whole, cut)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert cli.main(resume) == 1
    assert "is finished. There is nothing to go on with" in capsys.readouterr().err

    before = sorted(tmp_path.rglob("*")), os.environ["KERASRESNET_CACHE"]
    assert cli.main(["reproduce", str(cut)]) == 0
    assert "verdict: the same, bit for bit\n" in capsys.readouterr().out
    assert (sorted(tmp_path.rglob("*")), os.environ["KERASRESNET_CACHE"]) == before
    next((tmp_path / "photos" / "roses").iterdir()).write_bytes(b"no image")
    out = ["--out", str(tmp_path / "again")]
    assert cli.main(["reproduce", str(cut), *out]) == 1
    assert "verdict: it cannot come to the same" in capsys.readouterr().out


def interrupt(*arguments):
    raise KeyboardInterrupt


@pytest.mark.usefixtures("quick")
def test_a_second_run_is_kept_where_it_is_wanted(flower_folder, tmp_path, capsys):
    run, again = tmp_path / "run", tmp_path / "again"
    words = ["train", str(flower_folder), *TUNED, "1"]
    assert cli.main([*words, "--out", str(run)]) == 0
    assert cli.main(["reproduce", str(run), "--out", str(again)]) == 0
    assert capsys.readouterr().out.endswith(f"results: {again}\n")
    names = [{path.name for path in folder.iterdir()} for folder in (run, again)]
    assert names[0] == names[1]
    assert {path.name for path in tmp_path.iterdir()} == {"run", "again"}
    assert read_settings(again)[0].cache == "auto"


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_stopped_before_it_begins_leaves_nothing(
    flower_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(jobs, "measure", interrupt)
    out = ["--out", str(tmp_path / "run")]
    assert cli.main(["train", str(flower_folder), *SHORT, *out]) == 1
    assert capsys.readouterr().err == "kerasresnet: stopped\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_time_that_is_too_short_is_said_and_leaves_nothing(
    flower_folder, tmp_path, capsys
):
    words = [*SHORT, "--time-budget", "0.001", "--out", str(tmp_path / "run")]
    assert cli.main(["train", str(flower_folder), *words]) == 1
    assert "is too short" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "required: DIR_OR_CSV"),
        ("--seed 1", "required: DIR_OR_CSV"),
        ("--resume", "argument --resume: expected with --out RUN"),
        (
            "photos --resume --out run --image-size 224 --augment",
            "received --image-size, --augmentation, DIR_OR_CSV, too",
        ),
        ("photos --views 4 --augmentation none", "--views: expected with another"),
        ("photos --from-stage none conv5", "expected stages or none, received both"),
        (
            "photos --from-stage none --epochs 3",
            "argument --epochs: expected without --from-stage none, which trains no stage",
        ),
        (
            "photos --from-stage conv5 conv4 --learning-rate 1 2 3",
            "argument --learning-rate: expected one value for all stages or one for each "
            "of --from-stage conv5 conv4, received 3",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_wrong_usage(words, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *words.split()])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_what_is_given_arrives_in_a_form_that_means_the_same_from_any_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trunk.h5").touch()
    names = [field.name for field in fields(RunSettings)]

    def chosen(text):
        words = ["train", "photos", *text.split()]
        return cli._chosen(arguments.build_parser().parse_args(words), names)

    assert chosen("") == {}
    assert chosen("--weights none --from-stage none") == {"weights": None, "from_stage": ()}  # fmt: skip
    assert chosen("--weights trunk.h5 --cache kept") == {
        "weights": str(tmp_path / "trunk.h5"),
        "cache": tmp_path / "kept",
    }
    assert chosen("--weights imagenet --epochs 2 3 --time-budget 1h") == {
        "weights": "imagenet",
        "epochs": (2, 3),
        "time_budget": "1h",
    }


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
    chosen = []

    def build(backbone):
        chosen.append(backbone)
        return small(3)

    monkeypatch.setattr(imagenet, "imagenet_classifier", build)
    assert predict("imagenet", capsys, flowers.paths[0], "--top", 1)
    assert predict("imagenet", capsys, flowers.paths[0], "--backbone", "resnet18")
    assert chosen == ["resnet50", "resnet18"]


def test_a_backbone_is_for_the_imagenet_network_alone(capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", "model.keras", "photo.jpg", "--backbone", "resnet18"])
    assert "expected with the model imagenet" in capsys.readouterr().err


def test_an_unknown_backbone_names_the_nearest(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "photos", "--backbone", "ResNet18"])
    assert "Did you mean 'resnet18'?" in capsys.readouterr().err


def test_weights_that_nobody_publishes_are_refused_before_photos_are_read(
    flower_folder, capsys
):
    words = ["train", str(flower_folder), "--weights", "imagenet_v2"]
    assert cli.main(words) == 1
    assert "are not published for backbone 'resnet50'" in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "keras", None)
    assert cli.main(["doctor"]) == 1
    assert "cannot be loaded with the backend 'jax'" in capsys.readouterr().err


def test_a_report_on_no_run_says_so(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "There is no run in" in capsys.readouterr().err


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
        ("train absent.csv", "absent.csv does not exist. Expected a CSV file"),
        ("evaluate absent.keras {photos}", "There is no file absent.keras. Expected"),
        ("evaluate imagenet {photos}", "There is no file imagenet. Expected"),
        ("predict {model} absent.jpg", "There is no file absent.jpg"),
        ("predict {model} {empty}", "There is no image in"),
        (
            "train {photos} --weights absent.h5 --out {empty}/run",
            "absent.h5 does not exist",
        ),
        ("train {photos} --out {photos}", "is not empty. Choose another folder"),
        ("train --out {empty} --resume", "settings.json is missing. Expected the"),
        ("reproduce {empty}", "settings.json is missing. Expected the"),
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
    with startup._without_notes():
        os.write(2, b"I0000 00:00:1 port.cc:153] oneDNN is on\nreal trouble\n")
    assert capfd.readouterr().err == "real trouble\n"


@pytest.mark.parametrize(
    "words",
    [
        "--epochs 0",
        "--epochs x",
        "--warmup 1",
        "--layer-decay 0",
        "--layer-decay 1.1",
        "--label-smoothing 1",
        "--time-budget soon",
        "--schedule linear",
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
    assert kr.STAGES[:-1] == train_arguments._STAGES


def test_the_presets_of_the_command_line_are_those_of_augmentation():
    assert tuple(PRESETS) == train_arguments._PRESETS
    parse = arguments.build_parser().parse_args
    assert parse(["train", "photos", "--augment"]).augmentation == "light"
    strong = parse(["train", "photos", "--augmentation", "strong"])
    assert strong.augmentation == "strong"


def test_defaults_that_the_help_tells_are_those_of_a_run(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for field in fields(RunSettings):
        option = f"--{field.name.replace('_', '-')} "
        about = told[told.rindex(option) :].split(" --")[0]
        if field.default not in (None, ()):
            assert f"(default: {field.default:g}" in about if isinstance(field.default, float) else f"(default: {field.default}" in about  # fmt: skip
    assert tuple(WARMUP) == train_arguments._SCHEDULES


def test_a_job_that_failed_leaves_no_empty_folder(flower_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(flower_folder), "--weights", "absent.h5"]
    assert cli.main(words) == 1
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_cache_is_shown_and_cleared(
    small, pixels, flower_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "cache"))
    assert cli.main(["cache"]) == 0
    said = capsys.readouterr().out
    assert "0 B of 20 GB, 0 entries\nwhat was seen of photos: 0 B\n" in said
    assert cli.main(["check", str(flower_folder)]) == 0
    kr.extract_features(small(), pixels[0], precision="float32", verbose=0)
    assert cli.main(["cache", "show"]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.split()[2] == "10"
    seen = upkeep.size_text((tmp_path / "cache" / NAME).stat().st_size)
    assert line.endswith("avg_pool  32 x 32     float32")
    assert cli.main(["cache", "clear", "--dir", str(tmp_path / "cache")]) == 0
    assert f"of features and {seen} of what was seen" in capsys.readouterr().out
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("word", "cache"),
    [("auto", "auto"), ("memory", "memory"), ("off", False), ("a/b", Path("a/b"))],
)
def test_the_cache_of_a_run_is_chosen_by_a_word(word, cache):
    options = arguments.build_parser().parse_args(["train", "photos", "--cache", word])
    assert options.cache == cache


def test_check_tells_of_a_class_without_photos_and_of_all_else(
    flower_folder, tmp_path, capsys
):
    folder = tmp_path / "photos"
    shutil.copytree(flower_folder, folder)
    (folder / "lilies").mkdir()
    shutil.copy(next((folder / "roses").iterdir()), folder / "daisy" / "copy.jpg")
    assert cli.main(["check", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "31 images in 6 classes" in said
    assert "1 group of images that are the same with different labels" in said
    assert "Training would stop:\n  Without an image: lilies\n" in said
    assert cli.main(["train", str(folder), "--weights", "none"]) == 1
    assert "Class 'lilies' in" in capsys.readouterr().err


def test_a_broken_link_in_a_folder_is_treated_like_any_unreadable_photo(
    model_file, flower_folder, tmp_path, capsys
):
    shutil.copytree(flower_folder / "roses", tmp_path / "roses")
    (tmp_path / "roses" / "link.jpg").symlink_to("gone.jpg")
    words = ["predict", str(model_file), str(tmp_path / "roses")]
    assert cli.main(words) == 1
    assert "link.jpg cannot be read: it is a broken link" in capsys.readouterr().err
    assert cli.main([*words, "--on-error", "skip"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.parametrize(
    ("name", "run"), [("my.photos.v2", "my.photos.v2-1"), ("all.csv", "all-1")]
)
def test_a_run_is_named_after_its_folder_or_table(
    name, run, flowers, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if name.endswith("csv"):
        flowers.to_csv(name)
    else:
        shutil.copytree(flowers.paths[0].parents[1], name)
    seen = []

    def stop(data, folder, settings, **rest):
        seen.extend([folder, rest["source"], settings.epochs])
        raise kr.DataError("enough")

    monkeypatch.setattr(runs, "train_run", stop)
    assert cli.main(["train", name, "--epochs", "3"]) == 1
    assert seen == [Path("runs") / run, tmp_path / name, (3,)]


def test_a_line_of_the_log_is_shown_once():
    once = cli._Once()
    records = [
        logging.LogRecord("a", level, "", 0, text, (), None)
        for level, text in ((30, "x"), (30, "x"), (30, "y"), (20, "x"))
    ]
    assert [once.filter(record) for record in records] == [True, False, True, True]


def test_errors_of_a_table_help_without_python(flower_folder, tmp_path, capsys):
    table = tmp_path / "a.csv"
    table.write_text("photo,label\n1.jpg,x\n", "utf-8")
    assert cli.main(["check", str(table)]) == 1
    assert "Rename the column (in Python," in capsys.readouterr().err
