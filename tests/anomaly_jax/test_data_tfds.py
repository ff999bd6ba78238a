"""The TFDS builder gives what the direct way gives, without TensorFlow."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from anomaly_jax.data import open_category
from tests.anomaly_jax.mvtec_folder import save, tarred, tiny_mvtec

# Run in an interpreter of its own, where TensorFlow can't be found even if it is installed.
_PROGRAM = """
import hashlib
import json
import sys
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: (
    None if name.split(".")[0] in ("tensorflow", "torch") else find_spec(name, *args)
)

import anomaly_jax.data
assert "tensorflow_datasets" not in sys.modules, "importing the package imports TFDS"

from anomaly_jax.data.tfds_builders import MvtecAd, prepared_records, tfds

name, source, data_dir = sys.argv[1:]
config = name if name == "hazelnut" else tfds.core.BuilderConfig(name=name)
try:
    records = prepared_records(MvtecAd(config=config, source=source or None, data_dir=data_dir))
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
assert "tensorflow" not in sys.modules
digest = lambda read: read and hashlib.sha256(read()).hexdigest()
print(json.dumps([[r.name, r.split, r.defect, digest(r.read), digest(r.read_mask)] for r in records]))
"""


def through_tfds(name: str, source: Path | str, data_dir: Path):
    arguments = [name, str(source), str(data_dir)]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return found, done.stderr


def summary(path: Path):
    def digest(read):
        return read and hashlib.sha256(read()).hexdigest()

    return [
        [r.name, r.split, r.defect, digest(r.read), digest(r.read_mask)]
        for r in open_category(path)
    ]


def test_a_category_through_tfds_is_the_category(tmp_path):
    folder = tiny_mvtec(tmp_path / "nuts", suffix=".bmp")
    shutil.rmtree(folder / "ground_truth/crack")
    found, stderr = through_tfds("nuts", folder, tmp_path / "tfds")
    assert found is not None, stderr
    assert found == summary(folder)
    assert [row[4] is None for row in found[5:]] == 5 * [True] + 3 * [False]
    again, stderr = through_tfds("nuts", folder, tmp_path / "tfds")
    assert again == found, stderr
    save(folder / "train/good/000.bmp", np.zeros((40, 32, 3), np.uint8))
    found, stderr = through_tfds("nuts", folder, tmp_path / "tfds")
    assert found is None
    assert f"UserError: {tmp_path}/tfds/mvtec_ad/nuts/1.0.0: was prepared from other" in stderr


def test_the_published_archive_from_the_manual_directory(tmp_path):
    found, stderr = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is None
    assert "UserError: Manual directory" in stderr
    assert "hazelnut.tar.xz" in stderr
    manual = tmp_path / "tfds/downloads/manual"
    manual.mkdir(parents=True)
    (manual / "wood.zip").write_bytes(b"")
    found, stderr = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is None
    assert "found none of hazelnut, hazelnut.tar.xz, hazelnut.tar, hazelnut.zip" in stderr
    folder = tiny_mvtec(tmp_path / "hazelnut")
    tarred(folder, manual / "hazelnut.tar.xz", "hazelnut")
    found, stderr = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is not None, stderr
    assert found == summary(folder)
