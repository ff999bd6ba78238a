"""The TFDS builders give what the direct way gives, without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeppose_jax.data import open_lsp, open_lsp_extended, prepare
from tests.deeppose_jax.lsp_folder import tiny_lsp, tiny_lsp_extended

# Run in an interpreter of its own, where TensorFlow can't be found even if it is installed.
_PROGRAM = """
import sys
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: (
    None if name.split(".")[0] in ("tensorflow", "torch") else find_spec(name, *args)
)

import deeppose_jax.data
assert "tensorflow_datasets" not in sys.modules, "importing the package imports TFDS"

import numpy as np
from deeppose_jax.data import prepare
from deeppose_jax.data.tfds_builders import Lsp, LspExtended, prepared_records

kind, labels, source, data_dir, out = sys.argv[1:]
source = source or None
if kind == "lsp":
    builder = Lsp(config=labels, source=source, data_dir=data_dir)
else:
    builder = LspExtended(source=source, data_dir=data_dir)
try:
    records = prepared_records(builder)
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
poses, names = prepare(records, 48)
assert "tensorflow" not in sys.modules
optional = {}
if records[0].occluded is not None:
    optional["occluded"] = np.stack([record.occluded for record in records])
np.savez(
    out,
    names=names,
    canvases=poses.canvases,
    joints=np.stack([record.joints for record in records]),
    labelled=np.stack([record.labelled for record in records]),
    **optional,
)
"""


def through_tfds(kind: str, labels: str, source: Path | str, tmp_path: Path):
    out = tmp_path / "out.npz"
    out.unlink(missing_ok=True)
    arguments = [kind, labels, str(source), str(tmp_path / "tfds"), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    return (np.load(out) if out.exists() else None), done.stderr


def check_same(found, records) -> None:
    poses, names = prepare(records, 48)
    assert found["names"].tolist() == names
    np.testing.assert_array_equal(found["canvases"], poses.canvases)
    for field in ("joints", "labelled", "occluded"):
        if getattr(records[0], field) is not None:
            expected = np.stack([getattr(record, field) for record in records])
            np.testing.assert_array_equal(found[field], expected)
            assert found[field].dtype == expected.dtype


@pytest.mark.parametrize("labels", ["pc", "oc"])
def test_lsp_through_tfds_is_lsp(tmp_path, labels):
    folder = tiny_lsp(tmp_path / "lsp")
    found, stderr = through_tfds("lsp", labels, folder.path, tmp_path)
    assert found is not None, stderr
    check_same(found, open_lsp(folder.path, "PC" if labels == "pc" else "OC"))
    again, stderr = through_tfds("lsp", labels, folder.path, tmp_path)
    assert again is not None, stderr
    np.testing.assert_array_equal(again["joints"], found["joints"])


def test_lsp_extended_from_the_manual_directory(tmp_path):
    folder = tiny_lsp_extended(tmp_path / "tfds/downloads/manual/lspet_dataset")
    found, stderr = through_tfds("lspet", "", "", tmp_path)
    assert found is not None, stderr
    check_same(found, open_lsp_extended(folder.path))


def test_what_cannot_be_prepared_is_a_user_error(tmp_path):
    _, stderr = through_tfds("lsp", "pc", "", tmp_path)
    (line,) = [line for line in stderr.splitlines() if "UserError: Manual directory" in line]
    assert "lsp_dataset.zip" in line
    first, second = tiny_lsp(tmp_path / "first"), tiny_lsp(tmp_path / "second", seed=1)
    found, stderr = through_tfds("lsp", "pc", first.path, tmp_path)
    assert found is not None, stderr
    found, stderr = through_tfds("lsp", "pc", second.path, tmp_path)
    assert found is None
    assert f"was prepared from other joints than {second.path} holds" in stderr
