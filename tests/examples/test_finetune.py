"""examples/finetune.py end to end, in small: what it writes, refuses, interrupts and resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

import nbgrad
from nbgrad import models

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import finetune
from finetuning import networks, options, report, training

RESULTS = {"checkpoint.safetensors", "confusion.png", "curves.png", "metrics.json",
           "model.safetensors", "predictions.png"}
STAGES = ("--model", "small_cnn", "--freeze", "backbone", "1", "--epochs", "2", "3",
          "--size", "16", "--batch-size", "8", "--threads", "1")
COLOURS = {"blue": (40, 40, 200), "green": (40, 160, 60), "red": (200, 50, 40)}


def paint(folder, count):
    """Photos of noisy colours, a class each, of different shapes."""
    rng = np.random.default_rng(3)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            noise = rng.normal(0, 25, (24 + k, 30, 3))
            picture = (noise + colour).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("photos"), 15)


def run(*arguments):
    """The exit status, with the threads as they were before."""
    threads = numba.get_num_threads()
    try:
        return finetune.main([str(argument) for argument in arguments])
    finally:
        numba.set_num_threads(threads)


def numbers(folder):
    """The course of a training without its times, and the model's arrays."""
    history = json.loads((folder / "metrics.json").read_text())["history"]
    timeless = [{k: v for k, v in entry.items() if "second" not in k} for entry in history]
    model = nbgrad.load(folder / "model.safetensors")
    return timeless, {name: value.numpy().tobytes() for name, value in model.items()}


@pytest.fixture(scope="module")
def uninterrupted(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run("--data", photos, *STAGES, "--out", out) == 0
    return out


def test_everything_is_written_and_agrees(photos, uninterrupted):
    assert {path.name for path in uninterrupted.iterdir()} == RESULTS
    for picture in uninterrupted.glob("*.png"):
        with Image.open(picture) as opened:
            assert min(opened.size) > 300
    metrics = json.loads((uninterrupted / "metrics.json").read_text())
    assert metrics["classes"] == sorted(COLOURS)
    assert metrics["images"] == {"train": 36, "validation": 9}
    assert [entry["stage"] for entry in metrics["history"]] == [0, 0, 1, 1, 1]
    assert np.trace(metrics["confusion"]) / 9 == metrics["validation_accuracy"]
    model = models.small_cnn(uninterrupted / "model.safetensors", num_classes=3)
    assert sum(p.numel() for p in model.parameters()) == metrics["parameters"]


def test_colours_are_learnt(photos, tmp_path, capsys):
    assert run("--data", photos, "--model", "small_cnn", "--epochs", 6, "--size", 16, "--augment",
               "--batch-size", 8, "--out", tmp_path) == 0
    assert "validation accuracy 100.00% (9 of 9 images)" in capsys.readouterr().out


def test_digits_need_no_files(tmp_path, capsys):
    assert run("--model", "small_cnn", "--limit", 60, "--epochs", 1, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "60 images to train and 20 to validate, 10 classes, 32 x 32" in printed
    assert "93,000" not in printed and "94,762 of 94,762 parameters train" in printed


def test_own_validation_folder(tmp_path, capsys):
    paint(tmp_path / "photos" / "train", 3)
    paint(tmp_path / "photos" / "val", 2)
    assert run("--data", tmp_path / "photos", *STAGES, "--out", tmp_path / "out") == 0
    assert "9 images to train and 6 to validate, 3 classes" in capsys.readouterr().out


@pytest.mark.parametrize("augment", [(), ("--augment",)])
def test_frozen_blocks_stay_and_others_move(photos, uninterrupted, tmp_path, augment):
    start = uninterrupted / "model.safetensors"
    before = nbgrad.load(start)
    assert run("--data", photos, *STAGES, *augment, "--weights", start, "--out", tmp_path) == 0
    after = nbgrad.load(tmp_path / "model.safetensors")
    moved = {name for name in before
             if (before[name].numpy() != after[name].numpy()).any()}
    assert moved == {name for name in before if name.startswith(("features.2.", "classifier."))}


@pytest.mark.parametrize("threads", [2])
def test_threads_change_no_number(photos, uninterrupted, tmp_path, threads):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("needs two threads")
    assert run("--data", photos, *STAGES, "--threads", threads, "--out", tmp_path) == 0
    assert numbers(tmp_path) == numbers(uninterrupted)


def interrupt(monkeypatch, at):
    """Press Ctrl-C before the `at`-th time that the training looks."""
    looks = iter(range(at))

    def check(self):
        if next(looks, None) is None:
            raise training.Interrupted

    monkeypatch.setattr(training.Interruption, "check", check)


@pytest.mark.parametrize("at", [0, 3, 8, 11, 14, 16, 20, 25, 28, 31, 33, 38])
def test_resuming_gives_the_numbers_of_an_uninterrupted_run(
        photos, uninterrupted, tmp_path, capsys, monkeypatch, at):
    with monkeypatch.context() as patch:
        interrupt(patch, at)
        assert run("--data", photos, *STAGES, "--out", tmp_path) == 130
    assert f"go on with --resume {tmp_path}" in capsys.readouterr().out
    assert run("--resume", tmp_path) == 0
    assert numbers(tmp_path) == numbers(uninterrupted)


def test_resuming_goes_on_with_the_same_random_numbers(photos, tmp_path, monkeypatch):
    """MobileNetV2 has dropout, which draws from the global generator."""
    recipe = ("--data", photos, "--weights", "none", "--freeze", "backbone", "--epochs", 2,
              "--size", 32, "--batch-size", 8, "--limit", 24)
    assert run(*recipe, "--out", tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        assert run(*recipe, "--out", tmp_path / "parts") == 130
    assert run("--resume", tmp_path / "parts") == 0
    assert numbers(tmp_path / "parts") == numbers(tmp_path / "whole")


def test_a_finished_training_is_reported_again(uninterrupted, capsys):
    before = numbers(uninterrupted)
    assert run("--resume", uninterrupted / "checkpoint.safetensors") == 0
    assert numbers(uninterrupted) == before


def test_ctrl_c(photos, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, finetune.__file__, "--data", photos, "--model", "small_cnn",
               "--epochs", "100000", "--threads", "1", "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        deadline = time.monotonic() + 120
        while not (out / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and not errors
    assert f"interrupted and saved; go on with --resume {out}" in printed
    assert nbgrad.load(out / "checkpoint.safetensors")["progress"]["history"]


def test_ctrl_c_during_the_imports(tmp_path):
    (tmp_path / "tqdm.py").write_text("import os, signal, time\n"
                                      "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    result = subprocess.run([sys.executable, finetune.__file__], capture_output=True, timeout=60,
                            env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (result.returncode, result.stdout, result.stderr) == (130, b"", b"")


def epochs(folder):
    return len(nbgrad.load(folder / "checkpoint.safetensors")["progress"]["history"])


def test_a_diverged_epoch_is_not_saved(photos, tmp_path, capsys, monkeypatch):
    scores = iter([(0.5, 0.9), (0.6, 0.8), (float("nan"), 0.3)])
    monkeypatch.setattr(training, "score", lambda *_: next(scores))
    assert run("--data", photos, *STAGES, "--out", tmp_path) == 2
    assert "the loss is nan in epoch 1 of stage 2: try a lower --lr" in capsys.readouterr().err
    assert epochs(tmp_path) == 2


def test_one_step_diverges(tmp_path, capsys):
    """The weights are lost after the last loss that training sees."""
    assert run("--model", "small_cnn", "--limit", 60, "--epochs", 1, "--lr", "1e30",
               "--out", tmp_path) == 2
    assert capsys.readouterr().err.startswith("finetune.py: the loss is ")
    assert not list(tmp_path.iterdir())


def test_a_training_without_any_loss_is_drawn():
    entry = dict.fromkeys(("stage", "loss", "accuracy", "validation_loss",
                           "validation_accuracy"), 0)
    report._curves([entry, entry])


def test_other_results_are_kept(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = ("--data", photos, "--model", "small_cnn", "--size", 16, "--batch-size", 8)
    first, second = (f"runs/small_cnn-{photos.name}{end}" for end in ("", "-2"))
    for number, folder in ((1, first), (2, second), (1, first), (2, second)):
        assert run(*recipe, "--epochs", number) == 0
        printed = capsys.readouterr().out
        assert f"{folder}/  model.safetensors" in printed
        assert (f"{first} holds another training: this one goes to {second}" in printed) == (
            number == 2)
    assert [epochs(Path(folder)) for folder in (first, second)] == [1, 2]
    (Path(first) / "checkpoint.safetensors").unlink()
    assert run(*recipe, "--epochs", 2, "--seed", 1) == 0
    assert "this one goes to " + first + "-3" in capsys.readouterr().out

    assert run(*recipe, "--epochs", 2, "--out", second, "--threads", 1) == 0
    assert run(*recipe, "--epochs", 3, "--out", second) == 2
    assert run("--resume", second, "--out", first) == 2
    assert capsys.readouterr().err == "".join(
        f"finetune.py: {folder} holds another training: go on with that by --resume, or choose "
        "another --out\n" for folder in (second, first))


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A folder of things that are wrong."""
    root = tmp_path_factory.mktemp("broken")
    paint(root / "empty class", 2)
    (root / "empty class" / "yellow").mkdir()
    damaged = paint(root / "damaged image", 2) / "red" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    paint(root / "single", 1)
    (root / "lonely").mkdir()
    (paint(root / "rainbow", 2) / "red").rename(root / "lonely" / "red")
    paint(root / "odd" / "train", 1)
    paint(root / "odd" / "val", 1)
    (root / "odd" / "val" / "red").rename(root / "odd" / "val" / "rad")
    (root / "notes.txt").write_text("buy milk")
    nbgrad.save(models.resnet18().state_dict(), root / "resnet18.safetensors")
    nbgrad.save(models.small_cnn(width=8).state_dict(), root / "narrow.safetensors")
    return root


@pytest.mark.parametrize(("arguments", "message"), [
    (["--data", "{broken}/nowhere"], "nowhere is not a folder"),
    (["--data", "{broken}/empty class"], "yellow has no images"),
    (["--data", "{broken}/damaged image"], "1.png cannot be read as an image"),
    (["--data", "{broken}/single"], "blue has one image, and two are needed"),
    (["--data", "{broken}/lonely"], "lonely has one class (red), and two are needed"),
    (["--data", ""], "--data: '' is not a path"),
    (["--resume", ""], "--resume: '' is not a path"),
    (["--data", "{broken}/odd"], "train/ and val/ have different classes (rad, red)"),
    (["--weights", "{broken}/nowhere.pth"], "nowhere.pth: there is no such file"),
    (["--weights", "{broken}"], "broken0: that is a folder; name a file in it"),
    (["--weights", "{broken}/notes.txt"], "is a text file, not a checkpoint"),
    (["--model", "mobilenet_v2", "--weights", "{broken}/resnet18.safetensors"],
     "is not a checkpoint of mobilenet_v2: 312 of 312 tensors are missing, and 122 belong to "
     "something else (such as conv1.weight)"),
    (["--weights", "{broken}/narrow.safetensors"],
     "is not a checkpoint of small_cnn: size mismatch for features.0.0.weight"),
    (["--resume", "{broken}"], "there is no"),
    (["--resume", "{broken}/resnet18.safetensors"], "is not a checkpoint of finetune.py"),
    (["--resume", "{whole}", "--lr", "0.5"],
     "--resume goes on with the options it began with, and --lr was 0.05 0.05, not 0.5 0.5"),
    (["--freeze", "4"], "--freeze 4: small_cnn has 3 blocks"),
    (["--freeze", "some"], "'some' is not backbone, none or a number of blocks"),
    (["--freeze", "backbone", "2", "--lr", "1", "2", "3"], "--lr has 3 values"),
    (["--lr", "0"], "'0' is not a number above 0"),
    (["--lr", "nan"], "'nan' is not a number above 0"),
    (["--epochs", "1.5"], "'1.5' is not a whole number from 1 up"),
    (["--momentum", "0", "--nesterov"], "--nesterov needs a --momentum above 0"),
    (["--momentum", "2"], "'2' is not a number from 0 to below 1"),
    (["--momentum", "nan"], "'nan' is not a number from 0 to below 1"),
    (["--weight-decay", "inf"], "'inf' is not a number from 0 up"),
    (["--size", "100000"], "--size 100000: a batch of 64 such images takes"),
    (["--limit", "9"], "--limit 9: 10 classes need 10 images at least"),
    (["--threads", "4096"], "this machine has"),
    (["--lr", "1e30", "--limit", "60"], "the loss is"),
    (["--speed", "9"], "unrecognized arguments: --speed 9"),
])
def test_one_clear_line(broken, uninterrupted, tmp_path, capsys, arguments, message):
    given = [a.format(broken=broken, whole=uninterrupted) for a in arguments]
    if not {"--model", "--resume"} & set(given):
        given += ["--model", "small_cnn"]
    assert run(*given, *([] if "--resume" in given else ["--out", tmp_path / "out"])) == 2
    error = capsys.readouterr().err
    assert error.startswith("finetune.py: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("name", networks.PLANS)
def test_blocks_and_head_are_the_model(name):
    network = networks.Network(name, 5, "none")
    network.model.eval()
    x = nbgrad.randn(2, 3, 32, 32)
    with nbgrad.no_grad():
        y = network.head(nbgrad.nn.Sequential(*network.blocks)(x))
        np.testing.assert_array_equal(y.numpy(), network.model(x).numpy())


@pytest.mark.parametrize(("given", "expected"), [
    ({}, [("backbone", 10, 0.05), ("6", 10, 0.01)]),
    ({"weights": "none"}, [("none", 10, 0.05)]),
    ({"model": "small_cnn"}, [("none", 10, 0.05)]),
    ({"freeze": ("none",)}, [("none", 10, 0.01)]),
    ({"epochs": (3,)}, [("backbone", 3, 0.05), ("6", 3, 0.01)]),
    ({"freeze": ("backbone", "3", "none"), "epochs": (4, 2, 1), "lr": (0.1,)},
     [("backbone", 4, 0.1), ("3", 2, 0.1), ("none", 1, 0.1)]),
])
def test_stages(given, expected):
    assert options.complete(given).stages == expected
