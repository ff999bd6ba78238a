"""Training on images that stay in their files."""

import io
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from deeppose_jax.data import Part, Parts, Record, open_lsp, prepare
from deeppose_jax.data.load import load_parts
from deeppose_jax.skeleton import LSP
from deeppose_jax.train import train, train_and_evaluate
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from engine_jax.lazy_images import LazyImages
from engine_jax.writer import read_metrics
from tests.deeppose_jax.cascades import demo_settings
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended


@pytest.fixture
def config(tmp_path):
    """Two stages of a few steps on small folders, in files; the second is trained on training images' errors."""
    lsp, extended = (
        tiny_lsp(tmp_path / "lsp", count=20),
        tiny_lsp_extended(tmp_path / "lspet", count=9),
    )
    values = demo_settings("shared")
    once = replace(values.train, epochs=1, batch_size=8)
    paths = {"dir": str(lsp.path), "extended_dir": str(extended.path)}
    return replace(
        values,
        data=replace(
            values.data, dataset="lsp_and_extended", validation=2, placement="files", **paths
        ),
        evaluation=replace(values.evaluation, every=1, batch_size=8, train_images=4, bootstrap=10),
        train=once,
        refiner=replace(values.refiner, train=once, measured_on="train"),
    )


def placed(config, placement, **changes):
    return replace(config, data=replace(config.data, placement=placement, **changes))


def test_images_in_files_train_as_those_in_memory(config, tmp_path):
    found = {}
    for placement in ("stream", "files"):
        run = tmp_path / placement
        values = to_mapping(placed(config, placement))
        results = train_and_evaluate(values, run, pictures=False)
        rows = [read_metrics(run / "metrics.jsonl", stage) for stage in ("stage_1", "stage_2")]
        assert [sum("train/loss" in row for row in stage) for stage in rows] == [2, 2]
        found[placement] = rows, results["mean_pose"]
    assert found["files"] == found["stream"]


def test_parts_are_those_in_memory_and_only_training_images_stay_in_files(config):
    memory, files = (load_parts(placed(config, where).data, 0) for where in ("device", "files"))
    assert isinstance(files.train.poses.canvases, LazyImages)
    assert files.train.names == memory.train.names
    assert (files.added, memory.added) == (9, 9)
    for name in ("train", "validation", "test"):
        expected, poses = (getattr(parts, name).poses for parts in (memory, files))
        whole = jax.tree.map(lambda array: array[:], poses)
        jax.tree.map(np.testing.assert_array_equal, whole, expected)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(files.test.poses))


def test_images_that_are_turned_by_their_exif_data_are_the_same_in_files():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # shown turned by 90 degrees
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    joints = np.linspace([3, 3], [35, 60], 14)
    records = [Record("a", buffer.getvalue, joints, np.ones(14, bool))] * 2
    memory, files = (prepare(records, 32, "joints", in_files=lazy)[0] for lazy in (False, True))
    assert memory.labelled.all()
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda array: array[:], files), memory)


def test_a_damaged_file_ends_training_with_its_name(config, tmp_path):
    file = tmp_path / "lspet" / "images" / "im00007.jpg"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"^im00007\.jpg: can't be read as an image"):
        train_and_evaluate(to_mapping(config), tmp_path / "run", pictures=False)
    assert (tmp_path / "run" / "config.json").exists()
    file.write_bytes(b"")  # Without a size nothing begins.
    with pytest.raises(UserError, match=r"^im00007\.jpg: can't be read as an image"):
        train_and_evaluate(to_mapping(config), tmp_path / "other", pictures=False)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "synthetic"}, "config.data.placement: 'files' .*'synthetic'"),
        ({"skip_unreadable": True}, "config.data.skip_unreadable: True with"),
        ({"dir": ""}, "config.data.dir: '' with config.data.placement='files'"),
        ({"extended_dir": ""}, "config.data.extended_dir: '' with config.data.placement='files'"),
    ],
)
def test_what_files_cannot_give_is_refused(config, changes, message):
    with pytest.raises(UserError, match=message):
        load_parts(placed(config, "files", **changes).data, 0)
    with pytest.raises(UserError, match="skip_unreadable: got True with in_files=True"):
        prepare(open_lsp(config.data.dir), 16, in_files=True, skip_unreadable=True)


@pytest.mark.parametrize(("in_files", "placement"), [(False, "files"), (True, "device")])
def test_a_programs_images_are_where_the_config_has_them(config, tmp_path, in_files, placement):
    part, lazy = (
        Part(*prepare(open_lsp(config.data.dir), 48, in_files=stay)) for stay in (False, in_files)
    )
    values = to_mapping(placed(config, placement))
    where = "files" if in_files else "memory"
    with pytest.raises(UserError, match=f"placement: '{placement}', but .* are in {where}"):
        train(Parts(lazy, part, part), LSP, values, tmp_path / "run")
