"""Training on images that stay in their files."""

import numpy as np
import pytest

from classify_jax import training
from classify_jax.augment import principal_components
from classify_jax.config import ClassificationConfig
from classify_jax.data import open_folder, prepare
from classify_jax.data.load import load_parts
from classify_jax.train import train_and_evaluate
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.lazy_images import LazyImages
from engine_jax.writer import read_metrics
from tests.classify_jax.image_folder import image_folder
from tests.classify_jax.settings import ONE_VIEW, tiny_config

CHANGES = {"data__balanced": True, "loss__class_weights": "median_frequency"} | ONE_VIEW


def image_set(path):
    counts = {"train/cat": 14, "train/dog": 7}
    counts |= {f"{part}/{label}": 2 for part in ("val", "test") for label in ("cat", "dog")}
    return image_folder(path, counts)


@pytest.fixture
def folder(tmp_path):
    return image_set(tmp_path / "images")


@pytest.fixture(scope="module")
def from_memory(tmp_path_factory):
    """The metrics of a run on the same images in memory."""
    folder = tmp_path_factory.mktemp("data")
    return train_rows(image_set(folder / "images"), folder, "stream")


def config(folder, **changes):
    return tiny_config(data__dataset="folder", data__dir=str(folder), **CHANGES | changes)


def train_rows(folder, tmp_path, placement):
    """The metrics of a run of eight steps with an evaluation after every second one."""
    run = tmp_path / placement
    settings = config(folder, data__placement=placement, train__epochs=4)
    train_and_evaluate(settings, run, pictures=False)
    return read_metrics(run / "metrics.jsonl", training.NAME)


def test_images_in_files_train_as_those_in_memory(from_memory, folder, tmp_path):
    rows = train_rows(folder, tmp_path, "files")
    assert sum("train/loss" in row for row in rows) == 8
    assert rows == from_memory


def test_a_run_that_damaged_files_ended_goes_on_when_they_are_mended(
    from_memory, folder, tmp_path, monkeypatch
):
    errors, kept = training._errors, {}

    def damaged(*arguments):
        """The first evaluation is the last to see whole files."""
        for file in () if kept else (folder / "train" / "dog").iterdir():
            kept[file] = file.read_bytes()
            file.write_bytes(kept[file][:2000])
        return errors(*arguments)

    monkeypatch.setattr(training, "_errors", damaged)
    with pytest.raises(UserError, match=r"^train/dog/\d\d\.png: can't be read as an image"):
        train_rows(folder, tmp_path, "files")
    taken = read_metrics(tmp_path / "files" / "metrics.jsonl", training.NAME)
    assert sum("validation/loss" in row for row in taken) in (1, 2)
    for file, data in kept.items():
        file.write_bytes(data)
    assert train_rows(folder, tmp_path, "files") == from_memory


def test_only_training_images_stay_in_files(folder):
    data = from_mapping(ClassificationConfig, config(folder, data__placement="files")).data
    parts = load_parts(data, 0)
    assert isinstance(parts.train.images, LazyImages)
    assert isinstance(parts.validation.images, np.ndarray)
    assert isinstance(parts.test.images, np.ndarray)
    seen = parts.train.sample(5, 0)
    memory = prepare([r for r in open_folder(folder) if r.split == "train"], data.size)
    np.testing.assert_array_equal(seen.images, memory.sample(5, 0).images)
    assert parts.train.counts.tolist() == memory.counts.tolist() == [14, 7]
    found = principal_components(parts.train.images)
    np.testing.assert_array_equal(found, principal_components(memory.images))


def test_a_damaged_file_ends_training_with_its_name(folder, tmp_path):
    file = folder / "train/dog/03.png"
    file.write_bytes(file.read_bytes()[:2000])
    changed = config(folder, data__placement="files")
    with pytest.raises(UserError, match=r"^train/dog/03\.png: can't be read as an image"):
        train_and_evaluate(changed, tmp_path / "run", pictures=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__dataset": "synthetic"}, "config.data.placement: 'files' .*='synthetic'"),
        ({"data__dataset": "tfds", "data__name": "mnist"}, "config.data.placement: .*='tfds'"),
        ({"data__skip_unreadable": True}, "config.data.skip_unreadable: True with"),
    ],
)
def test_what_files_cannot_give_is_refused(folder, changes, message):
    values = tiny_config(
        **{"data__dataset": "folder", "data__dir": str(folder), "data__placement": "files"}
        | changes
    )
    with pytest.raises(UserError, match=message):
        from_mapping(ClassificationConfig, values)
