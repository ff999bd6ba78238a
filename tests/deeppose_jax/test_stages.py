"""Cascades trained by launch.py: resumption, several devices, and the same poses from the saved run."""

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from scipy.io import loadmat

from deeppose_jax import load, metrics, report
from deeppose_jax.config import SCHEMA
from deeppose_jax.data import open_lsp, prepare
from deeppose_jax.data.splits import splits
from deeppose_jax.evaluate import load_joints, load_predictions
from deeppose_jax.skeleton import LSP
from deeppose_jax.train import train_and_evaluate
from engine_jax.config import to_mapping
from engine_jax.run_folder import RunFolder
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import REFINERS, ROOT, TINY, command, environment, launch_here
from tests.deeppose_jax.test_train import losses, stage_arrays

SHARED = (
    "--config.refiner.form=shared",
    "--config.stages=3",
    "--config.refiner.joints_per_image=3",
)


@pytest.fixture(scope="module")
def lsp(tmp_path_factory):
    return tiny_lsp(tmp_path_factory.mktemp("data") / "lsp", count=40)


@pytest.fixture(scope="module")
def arguments(lsp):
    return (*TINY, *REFINERS, f"--config.data.dir={lsp.path}")


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    """Three stages with shared refiners, never stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    done = launch_here(*arguments, *SHARED, f"--workdir={workdir}", pictures=True)
    assert done.returncode == 0, done.stderr
    return workdir


def test_results_hold_an_entry_poses_and_pictures_for_each_stage(finished, lsp):
    results = json.loads((finished / "results.json").read_text())
    stages = results["stages"]
    assert [stage["stage"] for stage in stages] == [1, 2, 3]
    for stage in stages:
        assert stage["epochs"] == 2
        assert {"pcp_strict", "pcp_loose", "pdj", "intervals", "parameters"} <= stage.keys()
        assert len(losses(finished, f"stage_{stage['stage']}")) == 2 * (16 // 8)
    joints, labelled = load_joints(lsp.path / "joints.mat")
    scored = {f"stage_{stage['stage']}": stage for stage in stages}
    for name, expected in (scored | {"mean_pose": results["mean_pose"]}).items():
        pred = load_predictions(finished / "predictions" / f"{name}.mat", slice(20, 40), 40)
        score = metrics.score(pred, joints[20:], labelled[20:], LSP)
        assert score["pdj"] == {t: pytest.approx(row) for t, row in expected["pdj"].items()}
    pictures = {path.name for path in (finished / "plots").iterdir()}
    assert {
        *("stages.png", "scores.png", "stage_2_crops.png", "stage_3_crops.png"),
        *("stage_2_displacements.png", "stage_3_displacements.png", "stage_3_loss.png"),
    } <= pictures


def test_results_are_there_before_anything_is_drawn_and_pictures_are_drawn_again(
    finished, tmp_path, monkeypatch
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    pictures = {path.name for path in (workdir / "plots").iterdir()}
    written = [*sorted((workdir / "predictions").iterdir()), workdir / "results.json"]
    expected = [path.read_bytes() for path in written]
    for path in written:
        path.unlink()
    shutil.rmtree(workdir / "plots")
    config = to_mapping(RunFolder(finished).read_settings(SCHEMA))

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report, "drawing", killed)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config, workdir)
    results = json.loads((workdir / "results.json").read_text())
    assert results == json.loads(expected[-1])
    # MATLAB's files begin with the time.
    found = [loadmat(path)["pred"] for path in written[:-1]]
    for pred, path in zip(found, sorted((finished / "predictions").iterdir()), strict=True):
        np.testing.assert_array_equal(pred, loadmat(path)["pred"])
    assert train_and_evaluate(config, workdir) == results
    assert not any((workdir / "plots").iterdir())
    train_and_evaluate(config, workdir, redraw=True)
    assert {path.name for path in (workdir / "plots").iterdir()} == pictures


def test_a_loaded_cascade_predicts_what_training_evaluated(finished, lsp):
    """Stage by stage, the poses of the training part that the next stage's displacements were measured on."""
    config = RunFolder(finished).read_settings(SCHEMA)
    records = open_lsp(lsp.path)
    chosen = splits(len(records), "official", validation=4)["train"]
    poses, _ = prepare([records[i] for i in chosen], config.data.canvas)
    found = load(finished).cascade.predict(poses.canvases, poses.boxes)
    assert len(found) == 3
    for number, stage in enumerate(found[:2], 1):
        with np.load(finished / "checkpoints" / f"stage_{number}" / "train_poses.npz") as held:
            np.testing.assert_allclose(stage.joints, held["joints"], atol=1e-3)
            np.testing.assert_allclose(stage.boxes, held["boxes"], atol=1e-3)


def test_a_run_killed_in_its_second_stage_ends_with_the_same_parameters(
    finished, arguments, tmp_path
):
    workdir = tmp_path / "killed"
    started = command(*arguments, *SHARED, f"--workdir={workdir}")
    process = subprocess.Popen(started, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    metrics = workdir / "metrics.jsonl"
    while not (metrics.exists() and '"part": "stage_2"' in metrics.read_text()):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    resumed = launch_here(*arguments, *SHARED, f"--workdir={workdir}")
    assert resumed.returncode == 0, resumed.stderr
    assert "stage_1: finished at epoch 2" in resumed.stderr
    for stage in ("stage_1", "stage_2", "stage_3"):
        assert losses(workdir, stage) == losses(finished, stage)
        expected, found = stage_arrays(finished, stage), stage_arrays(workdir, stage)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
