"""The TFDS builders give what the direct way gives, without TensorFlow."""

import subprocess
import sys

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

for kind, labels, source, data_dir, out in zip(*[iter(sys.argv[1:])] * 5):
    source = source or None
    try:
        if kind == "lsp":
            builder = Lsp(config=labels, source=source, data_dir=data_dir)
        else:
            builder = LspExtended(source=source, data_dir=data_dir)
        records = prepared_records(builder)
    except ValueError as error:
        print(f"{out}: {type(error).__name__}: {error}")
        continue
    poses, names = prepare(records, 48)
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
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """LSP as `lsp` and, with other joints, as `other`; LSP Extended where TFDS looks for it."""
    folder = tmp_path_factory.mktemp("tfds")
    tiny_lsp(folder / "lsp")
    tiny_lsp(folder / "other", seed=1)
    tiny_lsp_extended(folder / "extended/downloads/manual/lspet_dataset")
    return folder


@pytest.fixture(scope="module")
def through_tfds(folder):
    """A function that gives what TFDS made, or None, and its error; all is made in one process."""
    lsp = str(folder / "lsp")
    requests = {
        "missing": ("lsp", "pc", ""),
        "pc": ("lsp", "pc", lsp),
        "pc again": ("lsp", "pc", lsp),
        "of other joints": ("lsp", "pc", str(folder / "other")),
        "oc": ("lsp", "oc", lsp),
        "oc again": ("lsp", "oc", lsp),
        "extended": ("lspet", "", ""),
    }
    arguments = []
    for name, request in requests.items():
        place = "extended" if request[0] == "lspet" else "here"
        arguments += [*request, str(folder / place), str(folder / f"{name}.npz")]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    def found(name):
        out = folder / f"{name}.npz"
        said = [line for line in done.stdout.splitlines() if line.startswith(f"{out}: ")]
        return (np.load(out) if out.exists() else None), "\n".join(said)

    return found


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
def test_lsp_through_tfds_is_lsp(labels, folder, through_tfds):
    found, said = through_tfds(labels)
    assert found is not None, said
    check_same(found, open_lsp(folder / "lsp", labels.upper()))
    again, said = through_tfds(f"{labels} again")
    assert again is not None, said
    np.testing.assert_array_equal(again["joints"], found["joints"])


def test_lsp_extended_from_the_manual_directory(folder, through_tfds):
    found, said = through_tfds("extended")
    assert found is not None, said
    check_same(found, open_lsp_extended(folder / "extended/downloads/manual/lspet_dataset"))


def test_what_cannot_be_prepared_is_a_user_error(folder, through_tfds):
    found, said = through_tfds("missing")
    assert found is None
    assert "UserError: Manual directory" in said
    assert "lsp_dataset.zip" in said
    found, said = through_tfds("of other joints")
    assert found is None
    assert f"was prepared from other joints than {folder / 'other'} holds" in said
