"""What is no file, or another one than its name says, in place of people's data, in all tasks."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from scipy.io import savemat

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts as anomaly_parts
from classify_jax.config import ClassificationConfig
from classify_jax.data.load import load_parts as class_parts
from convnets_jax import state_dict
from deeppose_jax import evaluate
from deeppose_jax.cascade import StagePoses
from deeppose_jax.data.load import load_parts as pose_parts
from deeppose_jax.previous_stage import cached_poses
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.prediction import rgb_arrays
from engine_jax.run_folder import RunFolder, Schema
from engine_jax.writer import MetricsWriter
from launch_jax import config_files
from tests.anomaly_jax.mvtec_folder import tiny_mvtec
from tests.anomaly_jax.settings import tiny_config as anomaly_config
from tests.classify_jax.image_folder import image_folder
from tests.classify_jax.settings import tiny_config as class_config
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.settings import settings as pose_settings

LIMIT = 20.0  # seconds after which a reader counts as hanging

# The folder of a data set, and what reads it as a run does.
Case = tuple[Path, Callable[[], Any]]


def pose(folder: Path, labels: str = "PC") -> Case:
    where = tiny_lsp(folder / "data", count=8).path
    small = {"data__validation": 2, "data__canvas": 16, "data__labels": labels}
    config = pose_settings(data__dir=str(where), **small).data
    return where, lambda: pose_parts(config, 0)


def anomaly(folder: Path) -> Case:
    where = tiny_mvtec(folder / "data")
    values = anomaly_config(data__dataset="mvtec", data__dir=str(where))
    config = from_mapping(AnomalyConfig, values).data
    return where, lambda: anomaly_parts(config, 32, 0)


def classes(folder: Path) -> Case:
    where = image_folder(folder / "data", {"cat": 5, "dog": 5})
    values = class_config(data__dataset="folder", data__dir=str(where))
    config = from_mapping(ClassificationConfig, values).data
    return where, lambda: class_parts(config, 0)


def scored(folder: Path) -> Case:
    """What `deeppose_jax.evaluate` reads."""
    where = tiny_lsp(folder / "data", count=4).path
    savemat(where / "pred.mat", {"pred": np.ones((2, 14, 4))})
    files = [f"--joints={where}/joints.mat", f"--predictions={where}/pred.mat"]
    arguments = [*files, "--images=1:2", f"--image-folder={where}/images"]
    return where, lambda: evaluate.main(evaluate.parser().parse_args(arguments))


def given(read: Callable[[Path], Any], folder: Path) -> Case:
    """A program that is given a single file."""
    (folder / "data").mkdir()
    return folder / "data", lambda: read(folder / "data" / "file")


@dataclass(frozen=True)
class Settings:
    task: Literal["toy"] = "toy"


TOY = Schema("toy", Settings)


def begun(folder: Path) -> Case:
    """A run's folder, in which the run goes on."""
    run = RunFolder(folder / "data")

    def go_on() -> None:
        run.start(TOY, Settings())
        run.read_results()
        with MetricsWriter(run.metrics, "net"):
            pass

    run.start(TOY, Settings())
    run.stop()
    return run.path, go_on


FILES = [
    (pose, "joints.mat"),
    (pose, "images/im0002.jpg"),
    (partial(pose, labels="OC"), "joints_observer_centric.mat"),
    (scored, "joints.mat"),
    (scored, "pred.mat"),
    (scored, "images/im0002.jpg"),
    (anomaly, "train/good/001.png"),
    (anomaly, "ground_truth/crack/001_mask.png"),
    (classes, "cat/01.png"),
    # Of a whole data set, an archive.
    (pose, ""),
    (anomaly, ""),
    (classes, ""),
    (partial(given, state_dict.read), "file"),
    (partial(given, lambda path: config_files.read(str(path))), "file"),
    (partial(given, lambda path: rgb_arrays([path])), "file"),
    (begun, "config.json"),
    (begun, "metrics.jsonl"),
    (begun, "results.json"),
    (begun, "log.txt"),
]
IDS = [f"{getattr(case, 'func', case).__name__}-{i}-{name}" for i, (case, name) in enumerate(FILES)]


@contextmanager
def not_opened(pipe: Path) -> Iterator[None]:
    """Inside, nothing may wait for the other end of a pipe, which after the limit lets it go on."""
    hung = threading.Event()

    def release() -> None:
        hung.set()
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))

    timer = threading.Timer(LIMIT, release)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    assert not hung.is_set()


def replaced(path: Path) -> Path:
    """A path at which there is nothing any more."""
    if path.exists():
        path.rename(path.with_name("moved"))
    return path


def refused(read: Callable[[], Any], path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read()
    message = str(caught.value)
    # A mask is named by its image.
    assert path.stem.removesuffix("_mask") in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("case", "name"), FILES, ids=IDS)
def test_a_pipe_is_one_line_and_never_waited_for(case, name, tmp_path):
    folder, read = case(tmp_path)
    pipe = replaced(folder / name)
    os.mkfifo(pipe)
    with not_opened(pipe):
        refused(read, pipe)


@pytest.mark.parametrize(("case", "name"), FILES, ids=IDS)
@pytest.mark.parametrize("target", ["/dev/zero", "itself"])
def test_a_device_and_an_endless_link_are_one_line(case, name, target, tmp_path):
    folder, read = case(tmp_path)
    path = replaced(folder / name)
    path.symlink_to(path if target == "itself" else target)
    if target == "itself" and name in ("metrics.jsonl", "results.json"):
        read()  # As where there is no such file yet.
    else:
        refused(read, path)


@pytest.mark.parametrize("case", [pose, anomaly, classes])
def test_a_folder_that_holds_itself_is_read_once(case, tmp_path):
    folder, read = case(tmp_path)
    expected = read().sizes()
    for below in [path for path in folder.rglob("*") if path.is_dir()]:
        (below / "again").symlink_to(folder)
    assert read().sizes() == expected


def test_damaged_poses_of_a_stage_are_made_again_where_a_pipe_is(tmp_path, caplog):
    pipe = tmp_path / "train_poses.npz"
    os.mkfifo(pipe)
    poses = StagePoses(np.ones((3, 14, 2)), None, np.ones((3, 1, 4)))
    with not_opened(pipe):
        assert cached_poses(pipe, 3, lambda: poses) is poses
    assert "train_poses.npz: damaged (neither a file nor a folder); made again" in caplog.text


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (pose, "images/im0002.jpg"),
        (scored, "images/im0002.jpg"),
        (anomaly, "train/good/001.png"),
        (anomaly, "ground_truth/crack/001_mask.png"),
        (classes, "cat/01.png"),
        (partial(given, lambda path: rgb_arrays([path])), "file"),
    ],
    ids=["pose", "evaluate", "anomaly", "mask", "classes", "predict"],
)
def test_postscript_named_as_an_image_starts_no_program(case, name, tmp_path, monkeypatch):
    mark, ghostscript = tmp_path / "started", tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {mark}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Where Pillow keeps what it found.
    folder, read = case(tmp_path)
    Image.new("RGB", (40, 40)).save(folder / name, "EPS")
    message = refused(read, folder / name)
    assert "can't be read as an image; accepted: PNG, JPEG, BMP, TIFF, WEBP" in message
    assert not mark.exists()
    # Pillow left to itself starts it.
    with Image.open(folder / name) as image, pytest.raises(OSError, match=r"."):
        image.load()
    assert mark.exists()
