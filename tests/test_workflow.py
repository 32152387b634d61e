"""The main job in processes of its own, as a user runs it."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import kerasresnet as kr
train = kr.ImageData.from_folder(sys.argv[1])
model = kr.build_classifier(
    num_classes=5, weights=None, input_shape=(32, 32, 3), backbone="resnet18"
)
kr.fit(model, train, epochs=1, verbose=0)
model.save(sys.argv[2])
print(kr.predict(model, sys.argv[3], top=2)[0])
"""


def kerasresnet(*words):
    return subprocess.run(
        [sys.executable, "-m", "kerasresnet", *map(str, words)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["frobnicate"], 2),
        (["train", "absent"], 1),
    ],
)
def test_exit_codes(words, code):
    answer = kerasresnet(*words)
    assert answer.returncode == code
    assert "Traceback" not in answer.stderr


def test_a_model_trained_in_one_process_answers_the_same_in_another(
    flower_folder, flowers, tmp_path
):
    model, photo = tmp_path / "model.keras", flowers.paths[0]
    first = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(flower_folder), str(model), str(photo)],
        capture_output=True,
        text=True,
        check=True,
    )
    source, answers = first.stdout.strip().splitlines()[-1].split(": ", 1)
    second = kerasresnet("predict", model, photo, "--top", 2)
    assert second.returncode == 0, second.stderr
    assert second.stderr == ""
    assert second.stdout.split()[0] == source == str(photo)
    for name_and_share in answers.split(", "):
        assert all(word in second.stdout for word in name_and_share.split())


def test_a_reader_that_has_enough_is_no_error():
    code = "import sys; from kerasresnet.cli import main; sys.exit(main(['doctor']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, errors = process.communicate()
    assert errors == b""
