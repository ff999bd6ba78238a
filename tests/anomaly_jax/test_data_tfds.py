"""The TFDS builder gives what the direct way gives, without TensorFlow."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomaly_jax.data import open_category
from tests.anomaly_jax.mvtec_folder import save, tarred, tiny_mvtec

# Answers requests in an interpreter of its own, where TensorFlow can't be found even if it is installed.
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

digest = lambda read: read and hashlib.sha256(read()).hexdigest()
for line in sys.stdin:
    name, source, data_dir = json.loads(line)
    config = name if name == "hazelnut" else tfds.core.BuilderConfig(name=name)
    found, said = None, ""
    try:
        records = prepared_records(MvtecAd(config=config, source=source or None, data_dir=data_dir))
        found = [[r.name, r.split, r.defect, digest(r.read), digest(r.read_mask)] for r in records]
    except ValueError as error:
        said = f"{type(error).__name__}: {error}"
    assert "tensorflow" not in sys.modules
    print("ANSWER", json.dumps([found, said]), flush=True)
"""


class Interpreter:
    """One that runs the program; what isn't an answer in its output is TFDS's."""

    def __init__(self):
        command = [sys.executable, "-c", _PROGRAM]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)

    def through_tfds(self, name: str, source: Path | str, data_dir: Path):
        """The records, or None, and the error, or ""."""
        print(json.dumps([name, str(source), str(data_dir)]), file=self.process.stdin, flush=True)
        assert self.process.stdout is not None
        answers = (line for line in self.process.stdout if line.startswith("ANSWER "))
        return json.loads(next(answers, "ANSWER null").removeprefix("ANSWER "))


@pytest.fixture(scope="module")
def interpreters():
    """Two of them: what one prepares the other finds."""
    both = Interpreter(), Interpreter()
    yield both
    for interpreter in both:
        interpreter.process.communicate()
        assert interpreter.process.returncode == 0


def summary(path: Path):
    def digest(read):
        return read and hashlib.sha256(read()).hexdigest()

    return [
        [r.name, r.split, r.defect, digest(r.read), digest(r.read_mask)]
        for r in open_category(path)
    ]


def test_a_category_through_tfds_is_the_category(interpreters, tmp_path):
    first, second = interpreters
    folder = tiny_mvtec(tmp_path / "nuts", suffix=".bmp")
    shutil.rmtree(folder / "ground_truth/crack")
    found, said = first.through_tfds("nuts", folder, tmp_path / "tfds")
    assert found is not None, said
    assert found == summary(folder)
    assert [row[4] is None for row in found[5:]] == 5 * [True] + 3 * [False]
    again, said = second.through_tfds("nuts", folder, tmp_path / "tfds")
    assert again == found, said
    save(folder / "train/good/000.bmp", np.zeros((40, 32, 3), np.uint8))
    found, said = first.through_tfds("nuts", folder, tmp_path / "tfds")
    assert found is None
    assert f"UserError: {tmp_path}/tfds/mvtec_ad/nuts/1.0.0: was prepared from other" in said


def test_the_published_archive_from_the_manual_directory(interpreters, tmp_path):
    through_tfds = interpreters[0].through_tfds
    found, said = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is None
    assert "UserError: Manual directory" in said
    assert "hazelnut.tar.xz" in said
    manual = tmp_path / "tfds/downloads/manual"
    manual.mkdir(parents=True)
    (manual / "wood.zip").write_bytes(b"")
    found, said = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is None
    assert "found none of hazelnut, hazelnut.tar.xz, hazelnut.tar, hazelnut.zip" in said
    folder = tiny_mvtec(tmp_path / "hazelnut")
    tarred(folder, manual / "hazelnut.tar.xz", "hazelnut")
    found, said = through_tfds("hazelnut", "", tmp_path / "tfds")
    assert found is not None, said
    assert found == summary(folder)
