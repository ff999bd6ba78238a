import json
import signal
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from deeppose_jax import LSP, load
from deeppose_jax.config import SCHEMA
from deeppose_jax.data import open_lsp, prepare
from deeppose_jax.data.parts import Part, Parts
from deeppose_jax.mean_pose import mean_pose_predictions
from deeppose_jax.predictor import Predictor
from deeppose_jax.stages import stage_network
from deeppose_jax.train_step import train_step
from engine_jax import sharding
from engine_jax.checkpoint import steps
from engine_jax.errors import UserError
from engine_jax.feed import make_train_call
from engine_jax.images import decode_rgb
from engine_jax.loop import best_variables
from engine_jax.plan import make_plan
from engine_jax.run_folder import RunFolder
from engine_jax.state import create_state, graph_defs
from engine_jax.writer import read_metrics
from tests.checkpoints import last_arrays
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import TINY, launch, launch_here
from tests.soak.processes import resumed, stopped

EPOCHS = 4


@pytest.fixture(scope="module")
def lsp(tmp_path_factory):
    return tiny_lsp(tmp_path_factory.mktemp("data") / "lsp", count=40)


@pytest.fixture(scope="module")
def arguments(lsp):
    return (*TINY, f"--config.data.dir={lsp.path}", f"--config.train.epochs={EPOCHS}")


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    """A run that was never stopped, on one device."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    done = launch_here(*arguments, f"--workdir={workdir}", pictures=True)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def settings(finished):
    return RunFolder(finished).read_settings(SCHEMA)


def stage_arrays(workdir, stage="stage_1"):
    return last_arrays(workdir / "checkpoints" / stage)


def losses(workdir, stage="stage_1"):
    rows = read_metrics(workdir / "metrics.jsonl", stage)
    return [row["train/loss"] for row in rows if "train/loss" in row]


def test_four_devices_train_as_one(finished, arguments, tmp_path):
    done = launch(*arguments, f"--workdir={tmp_path}", devices=4)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "results.json").read_text())["device"].startswith("4 x")
    expected, found = stage_arrays(finished), stage_arrays(tmp_path)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(losses(tmp_path), losses(finished), rtol=1e-5)


def test_two_processes_train_as_one_device_and_stop_together(finished, arguments, tmp_path):
    """One of them is told to; the short form of `python -m tests.soak processes`."""
    longer = (*arguments, "--config.train.epochs=1000")
    found = stopped(longer, tmp_path, process=1, rows=20, number=signal.SIGTERM)
    assert found.failure is None
    assert found.seconds < 30
    alone = losses(finished)
    np.testing.assert_allclose(losses(tmp_path / "run")[: len(alone)], alone, rtol=1e-5)
    (step, *_) = steps(tmp_path / "run/checkpoints/stage_1/last")
    assert len(losses(tmp_path / "run")) == step


def test_where_one_of_two_processes_is_killed_the_other_ends_and_both_resume(
    finished, arguments, tmp_path
):
    """The short form of `python -m tests.soak processes`."""
    found = stopped(arguments, tmp_path, process=0, rows=7, number=signal.SIGKILL)
    assert found.failure is None
    assert found.seconds < 120
    assert resumed(arguments, tmp_path) is None
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(finished), rtol=1e-5)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["device"].startswith("2 x")


def test_batches_streamed_from_the_host_train_as_those_on_the_device(finished, arguments, tmp_path):
    done = launch_here(
        *arguments, "--config.data.placement=stream", f"--workdir={tmp_path / 'stream'}"
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(losses(tmp_path / "stream"), losses(finished), rtol=1e-6)


def test_results_hold_what_they_promise(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["task"] == "pose"
    assert results["preset"] == "augmented"
    assert results["splits"] == {"train": 16, "validation": 4, "test": 20}
    assert results["seed"] == 0
    assert results["versions"]["jax"] == jax.__version__
    assert results["seconds"] > 0
    assert results["images_per_second"] > 0
    (stage,) = results["stages"]
    for scores in (stage, results["mean_pose"]):
        assert {"four_limbs", "ten_sticks", "torso"} <= scores["pcp_strict"].keys()
        assert scores["pdj"].keys() == {"0.1", "0.2", "0.5"}
        low, high = scores["intervals"]["pdj"]["0.5"]["total"]
        assert low <= scores["pdj"]["0.5"]["total"] <= high
    assert 1 <= stage["best_epoch"] <= stage["epochs"] == EPOCHS
    pictures = {path.name for path in (finished / "plots").iterdir()}
    assert pictures == {
        *("stage_1_loss.png", "stage_1_metrics.png", "scores.png", "pdj.png"),
        *("poses_test.png", "poses_train.png"),
    }


def test_a_finished_run_is_not_trained_again(finished, arguments):
    before = (finished / "metrics.jsonl").read_text()
    again = launch_here(*arguments, f"--workdir={finished}")
    assert again.returncode == 0
    assert "finished" in again.stderr
    assert (finished / "metrics.jsonl").read_text() == before


def test_evaluation_does_not_depend_on_the_batch_size(finished, settings, lsp):
    poses, _ = prepare(open_lsp(lsp.path)[:7], settings.data.canvas)
    variables = best(finished, settings)
    graph = graph_defs(partial(stage_network, settings.stage(1), LSP.num_joints)).evaluate
    runs = []
    for size in (2, 7):
        sized = replace(settings, evaluation=replace(settings.evaluation, batch_size=size))
        predictor = Predictor(graph, sized.stage(1), sized, LSP, sharding.device_mesh(joint=1))
        runs.append(predictor(variables, poses))
    np.testing.assert_allclose(runs[0].joints, runs[1].joints, atol=1e-3)
    np.testing.assert_allclose(runs[0].losses, runs[1].losses, rtol=1e-4)


def best(workdir, settings):
    build = partial(stage_network, settings.stage(1), LSP.num_joints)
    return best_variables(RunFolder(workdir), "stage_1", build)


def test_a_loaded_model_predicts_in_the_images_own_pixels(finished, settings, lsp):
    records = open_lsp(lsp.path)[:3]
    poses, _ = prepare(records, settings.data.canvas)
    graph = graph_defs(partial(stage_network, settings.stage(1), LSP.num_joints)).evaluate
    predictor = Predictor(graph, settings.stage(1), settings, LSP, sharding.device_mesh(joint=1))
    expected = predictor(best(finished, settings), poses).joints
    model = load(finished)
    images = [np.asarray(decode_rgb(record.read(), record.name)) for record in records]
    found = model.predict(images)
    np.testing.assert_allclose([pose.joints for pose in found], expected, atol=1e-3)
    assert found[0].scales is None
    assert model.predict([]) == []
    with pytest.raises(UserError, match=r"images\[0\]: float64"):
        model.predict([images[0] / 255.0])
    with pytest.raises(UserError, match=r"boxes\[0\]: .* x0 < x1"):
        model.predict(images[:1], [(5.0, 3.5, 5.0, 6.5)])


def test_the_train_step_is_traced_once(settings, lsp):
    poses, _ = prepare(open_lsp(lsp.path)[:9], settings.data.canvas)
    traces = []

    def step(state, batch, **keywords):
        traces.append(1)
        return train_step(state, batch, **keywords)

    mesh = sharding.device_mesh()
    everywhere = sharding.replicated(mesh)
    build = partial(stage_network, settings.stage(1), LSP.num_joints)
    optimizer = optax.adam(1e-3)
    state = create_state(build, optimizer, jax.random.key(0), everywhere)
    counted = partial(
        step,
        graphdef=graph_defs(build).train,
        optimizer=optimizer,
        settings=settings,
        skeleton=LSP,
        key=jax.random.key(1),
    )
    plan = make_plan(settings.train, settings.evaluation.every, len(poses), mesh)
    batches = sharding.split(mesh, axis=1)
    call = make_train_call(counted, poses, "device", plan, [0], everywhere, batches)
    for done in range(0, 6, plan.steps_per_call):
        state, _ = call(state, done)
    assert int(state.step) == 6
    assert len(traces) == 1


def test_the_mean_pose_is_drawn_in_each_images_box(lsp):
    """Of the tested data set's images, 0 to 9; what was added to them, 10 to 14, doesn't count."""
    poses, names = prepare(open_lsp(lsp.path), 64)

    def part(first, last):
        return Part(jax.tree.map(lambda array: array[first:last], poses), names[first:last])

    parts = Parts(part(0, 15), part(15, 20), part(20, 40), added=5)
    images = [decode_rgb(record.read(), record.name).size for record in open_lsp(lsp.path)]
    sizes = np.array(images, float)[:, None]  # [n, 1, 2]
    relative = ((lsp.joints + 0.5) / sizes)[:10].mean(0)
    np.testing.assert_allclose(
        mean_pose_predictions(parts).joints, relative * sizes[20:] - 0.5, atol=2e-3
    )
