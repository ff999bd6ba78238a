"""TFDS's sets are read without TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from classify_jax.data import open_folder
from engine_jax.images import decode_rgb
from tests.classify_jax.image_folder import image_folder

# Run in an interpreter of its own, where TensorFlow can't be found even if it is installed.
_PROGRAM = """
import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: (
    None if name.split(".")[0] in ("tensorflow", "torch") else find_spec(name, *args)
)

import classify_jax.data
assert "tensorflow_datasets" not in sys.modules, "importing the package imports TFDS"

from classify_jax.data.tfds_sets import tfds, tfds_records
from engine_jax.images import decode_rgb

name, source, data_dir, label = sys.argv[1:]


class Pets(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    url_infos = None

    def _info(self):
        kind = tfds.features.ClassLabel(names=["cat", "dog"])
        features = {"image": tfds.features.Image(shape=(None, None, 3)), label: kind}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        if source == "offline":
            raise ConnectionError("no such host")
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        for i, path in enumerate(sorted(Path(source, split).rglob("*.png"))):
            yield i, {"image": path.read_bytes(), label: path.parent.name}


try:
    records = tfds_records(name, data_dir)
except ValueError as error:
    sys.exit(f"{type(error).__name__}: {error}")
assert "tensorflow" not in sys.modules
print(json.dumps([[r.split, r.label, decode_rgb(r.read(), r.name).tobytes().hex()] for r in records]))
"""


def through_tfds(name: str, source: Path, data_dir: Path, label: str = "label"):
    arguments = [name, str(source), str(data_dir), label]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return found, done.stderr


def test_a_set_of_tfds_is_read_with_its_parts(tmp_path):
    counts = {"train/cat": 2, "train/dog": 3, "test/cat": 1, "test/dog": 1}
    folder = image_folder(tmp_path / "pets", counts)
    found, stderr = through_tfds("pets", folder, tmp_path / "tfds")
    assert found is not None, stderr
    expected = [
        [r.split, r.label, decode_rgb(r.read(), r.name).tobytes().hex()]
        for r in open_folder(folder)
    ]
    assert found == expected


def test_a_run_takes_a_set_that_was_prepared_before(tmp_path):
    """By its name and its folder, in a program that doesn't know how it was made."""
    folder = image_folder(
        tmp_path / "pets", {"train/cat": 5, "train/dog": 5, "test/cat": 2, "test/dog": 1}
    )
    found, stderr = through_tfds("pets", folder, tmp_path / "tfds")
    assert found is not None, stderr
    program = (
        "import sys; from tests.classify_jax.settings import tiny_config; "
        "from classify_jax.config import SCHEMA; from classify_jax.data.load import load_parts; "
        "from engine_jax.config import from_mapping; "
        "config = tiny_config(data__dataset='tfds', data__name='pets', data__dir=sys.argv[1]); "
        "parts = load_parts(from_mapping(SCHEMA.config, config).data, 0); "
        "print(parts.sizes(), parts.class_names, parts.test.labels.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "tfds")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sizes = {"train": 8, "validation": 2, "test": 3}
    assert done.stdout.strip() == f"{sizes} ('cat', 'dog') [0, 0, 1]"


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("nothing_of_this_name", "label", "UserError: config.data.name: TFDS has no 'nothing_of"),
        ("pets", "kind", "UserError: config.data.name: TFDS's pets holds image, kind"),
    ],
)
def test_a_set_that_cannot_be_used_gets_one_line(tmp_path, name, label, message):
    found, stderr = through_tfds(name, tmp_path, tmp_path / "tfds", label)
    assert found is None
    assert message in stderr


def test_a_set_that_cannot_be_fetched_gets_one_line(tmp_path):
    found, stderr = through_tfds("pets", Path("offline"), tmp_path / "tfds")
    assert found is None
    assert "UserError: config.data.name: TFDS can't fetch 'pets' (no such host)" in stderr


def test_published_sets_find_their_checksums(tmp_path):
    """TFDS looks for them with a library that it doesn't ask pip for."""
    program = (
        "import sys; from engine_jax.tfds_source import tfds; "
        "print(len(tfds.builder('mnist', data_dir=sys.argv[1]).url_infos))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4
