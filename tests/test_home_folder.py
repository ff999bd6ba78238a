"""~ is the home folder in every path that a user gives; shells leave it to programs in --workdir=~/run."""

import shutil
import sys

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import anomaly_jax
import classify_jax
import deeppose_jax
from anomaly_jax.data import open_category
from anomaly_jax.predict import parser as anomaly_parser
from classify_jax.data import open_folder as open_classes
from convnets_jax import state_dict
from deeppose_jax.data import open_folder as open_poses
from engine_jax.errors import UserError
from engine_jax.prediction import rgb_arrays
from launch_jax import config_files, train
from tests.anomaly_jax.mvtec_folder import tiny_mvtec
from tests.anomaly_jax.settings import tiny_config
from tests.classify_jax.image_folder import image_folder
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import ROOT

EXTENDED = {"data.dataset": "lsp_and_extended", "data.validation": 1}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home folder, and another one to be in."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert list((tmp_path / "here").iterdir()) == []  # No folder named "~".


def test_data_configs_weights_and_images_are_read_there(home):
    tiny_lsp(home / "lsp", count=8)
    tiny_mvtec(home / "nuts")
    image_folder(home / "pets", {"cat": 3, "dog": 3})
    shutil.copy(ROOT / "configs" / "pose.py", home / "mine.py")
    safetensors.numpy.save_file({"a": np.ones(2, np.float32)}, home / "w.safetensors")
    Image.new("RGB", (4, 3)).save(home / "photo.png")
    assert len(open_poses("~/lsp")[1]) == 8
    assert len(open_category("~/nuts")) == 13
    assert len(open_classes("~/pets")) == 6
    assert config_files.read("~/mine.py:small")[1].preset == "small"
    assert state_dict.read("~/w.safetensors").keys() == {"a"}
    assert rgb_arrays(["~/photo.png"])[0].shape == (3, 4, 3)


@pytest.mark.parametrize("package", [deeppose_jax, anomaly_jax, classify_jax])
def test_runs_are_read_there(package, home):
    with pytest.raises(UserError) as caught:
        package.load("~/run")
    assert str(caught.value) == f"{home}/run: not a run's folder (no config.json)"


@pytest.mark.parametrize(
    ("config", "fields", "named"),
    [
        ("pose", {"data.dataset": "lsp", "data.dir": "~/a"}, "a"),
        ("pose", {**EXTENDED, "data.dir": "~/lsp", "data.extended_dir": "~/a"}, "a"),
        ("pose", {"data.dataset": "coco", "data.coco.train": "~/a", "data.coco.test": "~/b"}, "a"),
        ("pose", {"start.source": "~/a"}, "a"),
        ("anomaly", {"data.dataset": "mvtec", "data.dir": "~/a"}, "a"),
        ("anomaly", {"start": "~/a"}, "a"),
        ("classify", {"data.dataset": "folder", "data.dir": "~/a"}, "a"),
        ("classify:transfer", {"model.weights": "~/a"}, "a"),
    ],
)  # fmt: skip
def test_fields_of_a_configuration_name_paths_there(config, fields, named, home):
    tiny_lsp(home / "lsp", count=8)
    changes = [f"--config.{name}={value}" for name, value in fields.items()]
    small = [] if config.startswith("pose") else ["--config.train.batch_size=1"]
    with pytest.raises(UserError) as caught:
        train.launch("launch.py", [f"--config={config}", "--workdir=~/run", *changes, *small])
    assert str(home / named) in str(caught.value)
    assert not (home / "run").exists()


def test_the_runs_folder_and_the_output_are_there(home, monkeypatch):
    folder = tiny_mvtec(home / "bolts", train=6)
    config = tiny_config(
        data__dataset="mvtec", data__dir="~/bolts", train__epochs=1, data__validation=0.2
    )
    anomaly_jax.train.train_and_evaluate(config, "~/run", pictures=False)
    assert (home / "run" / "results.json").exists()
    image = f"~/bolts/test/good/{next((folder / 'test/good').iterdir()).name}"
    monkeypatch.setattr(sys, "argv", ["predict", image, "--workdir=~/run", "--out=~/out"])
    anomaly_jax.predict.main(anomaly_parser().parse_args())
    assert (home / "out" / "predictions.json").exists()
