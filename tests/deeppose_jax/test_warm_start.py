"""Runs that go on from a trained model, `config.start`."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from flax import nnx

from deeppose_jax import load, save
from deeppose_jax.cascade import Cascade
from deeppose_jax.config import SCHEMA, StartConfig
from deeppose_jax.initial_weights import check_started, started_weights
from deeppose_jax.pose_model import PoseModel
from deeppose_jax.skeleton import LSP
from deeppose_jax.skeletons import FLIC
from deeppose_jax.stages import network_of, stage_network
from deeppose_jax.train import train_and_evaluate
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from engine_jax.run_folder import RunFolder
from engine_jax.state import abstract_model, variables_by_name
from engine_jax.writer import read_metrics
from tests.deeppose_jax.cascades import demo_settings, random_cascade


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model of two stages with random weights, the second a shared refiner."""
    file = tmp_path_factory.mktemp("model") / "two_stages.safetensors"
    save(random_cascade("shared"), file)
    return file


def settings(form, start, stages=2, rate=1e-3):
    """Those of the model's cascade, for a run of seconds on rendered people."""
    config = demo_settings(form)
    once = replace(config.train, epochs=1, batch_size=8)
    optimizer = replace(config.optimizer, learning_rate=rate, weight_decay=0.0)
    return replace(
        config,
        stages=stages,
        start=start,
        data=replace(config.data, dir="", train=16, validation=8, test=8),
        evaluation=replace(config.evaluation, batch_size=8, train_images=8, bootstrap=10),
        train=once,
        optimizer=optimizer,
        refiner=replace(config.refiner, train=once, optimizer=optimizer),
    )


def run(config, workdir):
    return train_and_evaluate(to_mapping(config), workdir, pictures=False)


def arrays(model):
    """Of each stage, by name."""
    stages = (variables_by_name(network_of(stage)) for stage in model.cascade.stages)
    return [{name: np.asarray(array) for name, array in stage.items()} for stage in stages]


def test_a_kept_stage_stays_and_the_next_one_begins_with_the_source(file, tmp_path):
    """The second stage is trained at a rate of almost nothing, which leaves its parameters where they began."""
    config = settings("shared", StartConfig(str(file), keep=1), rate=1e-12)
    results = run(config, tmp_path / "run")
    assert [stage["epochs"] for stage in results["stages"]] == [0, 1]
    (kept, begun), (first, second) = (arrays(load(place)) for place in (file, tmp_path / "run"))
    assert kept.keys() == first.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array, err_msg=name)
    statistics = [name for name in begun if name.endswith((".mean", ".var"))]
    assert statistics
    assert begun.keys() == second.keys()
    for name, array in begun.items():
        moved = np.abs(second[name] - array).max()
        assert (moved > 1e-6) == (name in statistics), (name, moved)


def test_a_run_takes_a_further_stage_on_a_finished_run(file, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    untrained = run(settings("shared", StartConfig(str(file), keep=2)), first)
    assert untrained["images_per_second"] == 0
    config = settings("shared", StartConfig(str(first), keep=2), stages=3)
    results = run(config, second)
    assert [stage["epochs"] for stage in results["stages"]] == [0, 0, 1]
    assert results["images_per_second"] > 0
    assert [stage["pdj"] for stage in results["stages"][:2]] == [
        stage["pdj"] for stage in untrained["stages"]
    ]
    rows = [read_metrics(second / "metrics.jsonl", f"stage_{number}") for number in (1, 2, 3)]
    assert [len(of_stage) > 0 for of_stage in rows] == [False, False, True]
    # The kept stages' checkpoints are what a run that is started again takes, whatever became of the source.
    shutil.rmtree(first / "checkpoints" / "stage_2")
    shutil.copytree(second / "checkpoints" / "stage_3", first / "checkpoints" / "stage_2")
    (second / "results.json").unlink()
    again = run(config, second)
    assert [stage["pdj"] for stage in again["stages"]] == [s["pdj"] for s in results["stages"]]


def test_networks_of_a_joint_each_are_taken_whole(tmp_path):
    model = random_cascade("per_joint")
    save(model, tmp_path / "model.safetensors")
    config = settings("per_joint", StartConfig(str(tmp_path / "model.safetensors"), keep=2))
    for number, (found, expected) in enumerate(
        zip(started_weights(config, LSP), arrays(model), strict=True), start=1
    ):
        build = partial(stage_network, config.stage(number), LSP.num_joints)
        check_started(variables_by_name(abstract_model(build)), found, number)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_kept_networks_of_a_joint_each_stay_as_they_are(tmp_path):
    """Both stages are kept, and nothing is trained."""
    source = random_cascade("per_joint")
    save(source, tmp_path / "model.safetensors")
    start = StartConfig(source=str(tmp_path / "model.safetensors"), keep=2)
    run(settings("per_joint", start), tmp_path / "run")
    for before, after in zip(arrays(source), arrays(load(tmp_path / "run")), strict=True):
        assert before.keys() == after.keys()
        for name, array in before.items():
            np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_a_kept_stage_may_have_begun_with_published_weights(tmp_path):
    """A run that goes on from it names no file of weights, and isn't asked for one."""
    start = StartConfig(source=str(tmp_path / "model.safetensors"), keep=1)
    config = settings("shared", StartConfig(), stages=1)
    model = replace(config.model, backbone="mobilenet_v1_050", top_down=0)
    began = replace(config, model=replace(model, weights="published.safetensors"))
    network = stage_network(began.stage(1), LSP.num_joints, rngs=nnx.Rngs(0))
    network.eval()
    save(PoseModel(began, LSP, Cascade([network], began.cascade, LSP)), start.source)
    (taken,) = started_weights(replace(config, model=model, start=start), LSP)
    for name, array in variables_by_name(network).items():
        np.testing.assert_array_equal(taken[name], array, err_msg=name)


def test_what_a_run_cannot_start_from_is_said_before_training(file, tmp_path):
    form = "shared"
    wider = settings(form, StartConfig(str(file)))
    compact = replace(wider.model.compact, widths=(8, 8))
    for config, said in (
        (replace(wider, model=replace(wider.model, compact=compact)), "backbone"),
        (settings(form, StartConfig(str(file), keep=3), stages=3), "two_stages.safetensors has 2"),
        (
            replace(
                settings(form, StartConfig(str(file), keep=1)),
                model=replace(wider.model, input_size=48),
            ),
            "input_size: 32 there, 48 here",
        ),
        (settings(form, StartConfig(str(tmp_path / "nothing"))), "nothing"),
    ):
        with pytest.raises(UserError, match=said):
            run(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_contradictions_are_named():
    config = demo_settings("shared")
    with pytest.raises(UserError, match=r"config.start.keep: 1 without config.start.source"):
        replace(config, start=StartConfig("", keep=1))
    with pytest.raises(UserError, match=r"config.start.keep: 3 with config.stages=2.*at most 2"):
        replace(config, start=StartConfig("a", keep=3))
    published = replace(config.model, backbone="resnet18", weights="resnet18.pth")
    with pytest.raises(UserError, match=r"config\.start\.source"):
        replace(config, model=published, start=StartConfig("a"))


def test_a_saved_model_names_no_folder_of_its_source(tmp_path):
    model = random_cascade("shared")
    model.settings = replace(model.settings, start=StartConfig("/home/somebody/run", keep=1))
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").settings.start == StartConfig("run", keep=1)


def test_a_model_of_other_joints_gives_its_backbones(file):
    config = settings("shared", StartConfig(str(file)))
    assert [stage.keys() for stage in started_weights(config, LSP)] == [
        stage.keys() for stage in arrays(load(file))
    ]
    for number, taken in enumerate(started_weights(config, FLIC), start=1):
        build = partial(stage_network, config.stage(number), FLIC.num_joints)
        new = variables_by_name(abstract_model(build))
        assert taken.keys() == {name for name in new if name.startswith("backbone.")}
        check_started(new, taken, number)
    with pytest.raises(UserError, match=r"config.start.keep: 1, but .* is of other joints"):
        started_weights(settings("shared", StartConfig(str(file), keep=1)), FLIC)


@pytest.mark.parametrize(
    ("stages", "grows"),
    [(1, ("train.epochs",)), (2, ("refiner.train.epochs",)), (3, ())],
)
def test_the_last_stage_of_a_run_may_be_given_more_epochs(stages, grows, tmp_path):
    """Those before it not, whose errors it was trained on."""
    config = settings("shared", StartConfig(), stages=stages)
    longer = replace(config.train, epochs=2)
    changed = {
        "train.epochs": replace(config, train=longer),
        "refiner.train.epochs": replace(config, refiner=replace(config.refiner, train=longer)),
    }
    folder = RunFolder(tmp_path / "run")
    folder.start(SCHEMA, config)
    folder.stop()
    for name, given in changed.items():
        if name in grows:
            folder.check(SCHEMA, given)
            assert folder.grows(SCHEMA, given)
        else:
            with pytest.raises(UserError, match=f"config.{name}: 1 there, 2 here"):
                folder.check(SCHEMA, given)
    assert not folder.grows(SCHEMA, config)
