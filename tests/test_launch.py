import json

import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import TINY, launch


@pytest.fixture
def lsp(tmp_path):
    return tiny_lsp(tmp_path / "lsp", count=20).path


def error_of(done):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.data.folder=x"],
            "--config.data.folder: no such field; config.data has canvas, dataset, dir",
        ),
        (
            ["--config.seed.more=1"],
            "--config.seed.more: no such field; config.seed is a single value",
        ),
        (["--config.train.epochs=many"], "--config.train.epochs=many: invalid literal for int()"),
        (["--config.train.epochs=0"], "config.train.epochs: 0 is out of range; accepted: >= 1"),
        (
            ["--config.model.alexnet.norm=group"],
            "config.model.alexnet.norm: 'group' is not one of lrn, batch, none",
        ),
        (["--frobnicate=1"], "Unknown command line flag 'frobnicate'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--config=configs/nothing.py"], "'configs/nothing.py' is not a file"),
        (["--config=configs/pose.py:best"], "unknown preset 'best'; accepted: demo, report"),
        (["--config.data.dir=/nowhere"], "/nowhere: not found"),
        (
            ["--config.train.batch_size=30"],
            "config.train.batch_size: 30 is more than the 6 training images",
        ),
        (["--config.model.input_size=16"], "too small for this AlexNet"),
    ],
)
def test_bad_flags_and_fields_get_one_line(arguments, message, lsp, tmp_path):
    done = launch(*TINY, f"--config.data.dir={lsp}", f"--workdir={tmp_path / 'run'}", *arguments)
    assert message in error_of(done)


@pytest.mark.parametrize(
    ("preset", "arguments", "message"),
    [
        ("best", [], "unknown preset 'best'; accepted: demo, base"),
        (
            "demo",
            ["--config.model.norm=group"],
            "config.model.norm: 'group' is not one of none, batch",
        ),
        ("large", ["--config.data.dataset=mvtec", "--config.data.dir=/nowhere"], "/nowhere"),
    ],
)
def test_anomaly_detection_is_launched_alike(preset, arguments, message, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    done = launch(*arguments, workdir, preset=preset, config="configs/anomaly.py")
    assert message in error_of(done)


def test_debug_shows_the_traceback(tmp_path):
    done = launch("--config.data.dir=/nowhere", f"--workdir={tmp_path}", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_workdir_of_another_config_is_refused(lsp, tmp_path):
    arguments = (
        *TINY,
        f"--config.data.dir={lsp}",
        "--config.train.epochs=1",
        f"--workdir={tmp_path / 'run'}",
    )
    assert launch(*arguments).returncode == 0
    assert "config.seed: 0 there, 5 here" in error_of(launch(*arguments, "--config.seed=5"))


def empty(lsp):
    for path in lsp.rglob("*.*"):
        path.unlink()


def reshaped(lsp):
    savemat(lsp / "joints.mat", {"joints": loadmat(lsp / "joints.mat")["joints"][:, :13]})


def missing_image(lsp):
    (lsp / "images" / "im0007.jpg").unlink()


def unreadable(lsp):
    (lsp / "images" / "im0003.jpg").write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("damage", "message"),
    [(empty, "joints.mat"), (reshaped, "13"), (missing_image, "19"), (unreadable, "im0003.jpg")],
)
def test_a_damaged_data_set_gets_one_line(damage, message, lsp, tmp_path):
    damage(lsp)
    done = launch(*TINY, f"--config.data.dir={lsp}", f"--workdir={tmp_path / 'run'}")
    assert message in error_of(done)


def test_unreadable_images_are_skipped_where_asked(lsp, tmp_path):
    unreadable(lsp)
    done = launch(
        *(*TINY, f"--config.data.dir={lsp}", "--config.train.epochs=1"),
        *("--config.data.skip_unreadable=True", f"--workdir={tmp_path / 'run'}"),
    )
    assert done.returncode == 0, done.stderr
    assert "im0003.jpg" in done.stderr
    splits = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]
    assert sum(splits.values()) == 19


def test_the_run_folder_has_a_default_name(lsp, tmp_path):
    arguments = (*TINY, f"--config.data.dir={lsp}", "--config.train.epochs=1")
    done = launch(*arguments, preset="report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "runs" / "pose-report" / "plots" / "poses_test.png") as picture:
        assert picture.size[0] >= 1000
