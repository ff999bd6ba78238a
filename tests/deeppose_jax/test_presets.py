"""Presets train: with their stages, data, random changes, update and evaluation, on small images and five joints.

Fewer joints than LSP's because a step of `paper` holds a network for each.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from scipy.io import loadmat

from configs.pose import get_config
from convnets_jax.resnet import ResNetConfig
from deeppose_jax import LSP, load
from deeppose_jax.config import PoseConfig, StageConfig
from deeppose_jax.data import Part
from deeppose_jax.data.load import load_parts
from deeppose_jax.initial_weights import previous_weights
from deeppose_jax.stages import stage_network
from deeppose_jax.train import train, train_and_evaluate
from engine_jax import sharding
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.loop import best_variables
from engine_jax.randomness import key_for
from engine_jax.run_folder import RunFolder
from engine_jax.state import create_state
from engine_jax.writer import read_metrics
from tests.convnets_jax.narrow import narrow
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended
from tests.deeppose_jax.settings import TORSO

LSP_IMAGES, EXTENDED_IMAGES, VALIDATION, TEST, BATCH, EPOCHS = 12, 8, 2, 6, 4, 1


@dataclass(frozen=True)
class Trained:
    """A preset's run, and what it left behind."""

    config: ConfigDict
    settings: PoseConfig
    workdir: Path
    results: dict[str, Any]

    @property
    def stages(self) -> list[StageConfig]:
        return [self.settings.stage(number) for number in range(1, self.settings.stages + 1)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("data")
    tiny_lsp(folder / "lsp", LSP_IMAGES)
    tiny_lsp_extended(folder / "lspet", EXTENDED_IMAGES)
    return {"dir": str(folder / "lsp"), "extended_dir": str(folder / "lspet")}


def small_run(preset: str, folders: dict[str, str]) -> ConfigDict:
    """A preset with smaller images, networks and parts; nothing else is changed."""
    config = get_config(preset)
    config.data.update(folders)
    config.data.canvas = 48
    config.data.validation = VALIDATION
    config.data.train, config.data.test = 12, TEST  # synthetic figures
    for model, size in ((config.model, 32), (config.refiner.model, 32)):
        model.input_size = size
        model.alexnet.widths = (8, 8, 8, 8, 8)
        model.alexnet.first_kernel, model.alexnet.first_stride = 5, 2
        model.compact.widths = (4, 8, 8, 8)[: len(model.compact.widths)]
        model.compact.out_channels = 8
        model.hidden = (16,) * len(model.hidden)
    for group in (config, config.refiner):
        group.train.epochs, group.train.batch_size = EPOCHS, BATCH
    config.evaluation.batch_size = config.evaluation.train_images = 4
    config.evaluation.bootstrap = 10
    return config


def five_joints(part: Part) -> Part:
    """A part of LSP with the joints of TORSO."""
    names = ["head_top" if name == "head" else name for name in TORSO.joints]
    chosen = [LSP.joints.index(name) for name in names]
    poses = part.poses
    poses = replace(poses, joints=poses.joints[:, chosen], labelled=poses.labelled[:, chosen])
    return replace(part, poses=poses)


@pytest.fixture(scope="module", autouse=True)
def narrow_resnet18():
    """A block of a few channels in each of the four stages of ResNet-18, which compiles fast."""
    with narrow("resnet18", ResNetConfig((1, 1, 1, 1), widths=(4, 8, 8, 8))):
        yield


@pytest.fixture(scope="module", params=["demo", "small", "modern", "paper"])
def trained(request, folders, tmp_path_factory) -> Trained:
    config = small_run(request.param, folders)
    settings = from_mapping(PoseConfig, config.to_dict())
    parts = load_parts(settings.data, settings.seed)
    names = ("train", "validation", "test")
    parts = replace(parts, **{name: five_joints(getattr(parts, name)) for name in names})
    workdir = tmp_path_factory.mktemp("runs") / request.param
    results = train(parts, TORSO, config.to_dict(), workdir, pictures=False)
    return Trained(config, settings, workdir, results)


def train_size(config: ConfigDict) -> int:
    own = config.data.train if config.data.dataset == "synthetic" else LSP_IMAGES // 2 - VALIDATION
    return own + (EXTENDED_IMAGES if config.data.dataset == "lsp_and_extended" else 0)


def test_every_stage_is_trained_on_all_images_with_finite_losses(trained):
    size = train_size(trained.config)
    assert trained.results["splits"] == {"train": size, "validation": VALIDATION, "test": TEST}
    assert [entry["stage"] for entry in trained.results["stages"]] == [
        stage.number for stage in trained.stages
    ]
    assert len(trained.stages) == get_config(trained.config.preset).stages > 1
    for stage in trained.stages:
        rows = read_metrics(trained.workdir / "metrics.jsonl", stage.name)
        losses = [row["train/loss"] for row in rows if "train/loss" in row]
        assert len(losses) == EPOCHS * (size // BATCH)
        assert np.isfinite(losses).all()
        evaluated = [row for row in rows if "validation/loss" in row]
        assert len(evaluated) == -(-EPOCHS // trained.settings.evaluation.every)
        assert np.isfinite([row["validation/loss"] for row in evaluated]).all()


def test_every_weight_of_every_stage_has_moved_from_where_it_began(trained):
    before = None
    for stage in trained.stages:
        build = partial(stage_network, stage, TORSO.num_joints)
        everywhere = sharding.replicated(sharding.device_mesh())
        key = key_for(trained.settings.seed, stage.name, "parameters")
        begun = create_state(build, optax.identity(), key, everywhere).variables.by_name()
        if stage.from_previous:
            begun |= previous_weights(begun, before, stage.number)
        best = best_variables(RunFolder(trained.workdir), stage.name, build)
        before = best.by_name()
        still = [name for name, array in before.items() if np.array_equal(array, begun[name])]
        assert still == []


def test_each_stage_moves_the_joints_of_the_one_before(trained):
    folder = trained.workdir / "predictions"
    by_stage = [loadmat(folder / f"{stage.name}.mat")["pred"] for stage in trained.stages]
    assert np.isfinite(by_stage).all()
    assert (np.abs(np.diff(by_stage, axis=0)).mean((1, 2, 3)) > 0.01).all()


def test_the_run_loads_with_the_presets_evaluation_and_its_scales(trained):
    preset = get_config(trained.config.preset)
    model = load(trained.workdir)
    assert model.settings.cascade.flip_test == preset.evaluation.flip_test
    assert len(model.cascade.stages) == preset.stages
    scaled = preset.model.head != "regression"
    assert [factors is not None for factors in model.scale_factors] == [scaled] * preset.stages


@pytest.fixture(scope="module")
def stopped(folders, tmp_path_factory) -> Trained:
    """Stage 1 of `small`, whose loss still falls when its PDJ no longer rises, on LSP and LSP Extended."""
    config = small_run("small", folders)
    config.seed, config.stages = 3, 1
    config.optimizer.learning_rate, config.optimizer.schedule = 0.05, "constant"
    config.train.epochs, config.train.patience = 40, 2
    config.evaluation.every = 1
    config.evaluation.chosen_by = "pdj_0.2"
    settings = from_mapping(PoseConfig, config.to_dict())
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    results = train_and_evaluate(config.to_dict(), workdir, pictures=False)
    return Trained(config, settings, workdir, results)


def test_training_stops_after_evaluations_without_a_better_score(stopped):
    """And keeps the parameters of the highest PDJ on validation images, here not those of the lowest loss."""
    rows = read_metrics(stopped.workdir / "metrics.jsonl", "stage_1")
    rows = [row for row in rows if "validation/loss" in row]
    scores = [row["validation/pdj_0.2"] for row in rows]
    best = int(np.argmax(scores))
    (entry,) = stopped.results["stages"]
    assert (entry["epochs"], entry["best_epoch"]) == (len(rows), best + 1)
    assert len(rows) == best + 1 + stopped.settings.train.patience < stopped.settings.train.epochs
    assert best != int(np.argmin([row["validation/loss"] for row in rows]))


def test_lsp_extended_is_added_to_the_training_images_alone(stopped):
    own = LSP_IMAGES // 2 - VALIDATION
    expected = {"train": own + EXTENDED_IMAGES, "validation": VALIDATION, "test": TEST}
    assert stopped.results["splits"] == expected
    assert stopped.results["dataset"] == "lsp_and_extended"


def test_observer_centric_labels_are_not_mixed_with_lsp_extendeds(folders, tmp_path):
    config = small_run("small", folders)
    config.data.labels = "OC"
    with pytest.raises(UserError, match="'OC', but LSP Extended is labelled person-centric"):
        train_and_evaluate(config.to_dict(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_score_that_validation_images_cannot_show_chooses_nothing(folders, tmp_path):
    config = small_run("demo", folders)
    config.evaluation.chosen_by = "oks_ap"
    with pytest.raises(
        UserError, match=r"'oks_ap' can't be measured .* accepted: loss, pcp_strict"
    ):
        train_and_evaluate(config.to_dict(), tmp_path / "run")
