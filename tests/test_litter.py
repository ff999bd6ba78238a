"""Files that macOS and Windows leave beside people's data are passed over by every reader, without a word."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.data.load import load_parts as anomaly_parts
from classify_jax.config import ClassificationConfig
from classify_jax.data.load import load_parts as class_parts
from deeppose_jax.data.load import load_parts as pose_parts
from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.image_files import image_paths
from engine_jax.prediction import predict_files, prediction_parser
from tests.anomaly_jax.settings import tiny_config as anomaly_config
from tests.classify_jax.settings import tiny_config as class_config
from tests.deeppose_jax.settings import settings as pose_settings
from tests.test_odd_files import anomaly, classes, pose, scored

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._a.png")
FOLDERS = ("__MACOSX", ".Spotlight-V100", "$RECYCLE.BIN", "System Volume Information")


def litter(folder: Path) -> None:
    """In every folder a file beside each one (._im1.jpg), files of the systems, and copies of the data in the systems'
    own folders."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for path in [path for path in place.iterdir() if path.is_file()]:
            (place / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        for name in LITTER:
            (place / name).write_bytes(b"\0\5\x16\7")
    copied = [path for path in folder.rglob("*") if path.is_file()]
    for below in FOLDERS:
        for path in copied:
            copy = folder / below / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def parts_at(task: str, path: Path):
    """The parts of a data set, as a run reads them."""
    where = {"data__dir": str(path)}
    if task == "pose":
        return pose_parts(pose_settings(**where, data__validation=2, data__canvas=16).data, seed=0)
    if task == "anomaly":
        values = anomaly_config(data__dataset="mvtec", **where)
        return anomaly_parts(from_mapping(AnomalyConfig, values).data, 32, 0)
    values = class_config(data__dataset="folder", **where)
    return class_parts(from_mapping(ClassificationConfig, values).data, 0)


def names_of(parts):
    return [list(part.names) for part in (parts.train, parts.validation, parts.test)]


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("case", [pose, anomaly, classes])
def test_data_sets_are_read_as_without_it(case, archive, tmp_path, caplog):
    folder, _ = case(tmp_path)
    expected = names_of(parts_at(case.__name__, folder))
    said = list(caplog.messages)
    caplog.clear()
    litter(folder)
    place = folder
    if archive:
        place = tmp_path / "data.zip"
        with zipfile.ZipFile(place, "w") as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, path.relative_to(tmp_path))
    assert names_of(parts_at(case.__name__, place)) == expected
    assert caplog.messages == said


def test_the_floor_of_evaluate_is_as_without_it(tmp_path, capsys):
    folder, read = scored(tmp_path)
    read()
    expected = capsys.readouterr().out
    assert "mean pose" in expected
    litter(folder)
    read()
    assert capsys.readouterr().out == expected


def test_predict_programs_take_the_images_alone(tmp_path):
    folder = tmp_path / "photos"
    for name in ("1.png", "2.png", "more/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), 9, np.uint8)).save(folder / name)
    litter(folder)
    seen = []

    def predict(model, files, images):
        seen.extend(path.relative_to(folder).as_posix() for path in files)
        return images

    arguments = [str(folder), "--workdir=run", f"--out={tmp_path / 'out'}", "--recursive"]
    args = prediction_parser("any.predict", "A task's program").parse_args(arguments)
    predict_files(args, lambda workdir: None, predict, lambda *_: {})
    assert seen == ["1.png", "2.png", "more/3.png"]
    assert [path.name for path in image_paths([str(folder)])] == ["1.png", "2.png"]


@pytest.mark.parametrize("task", ["pose", "anomaly", "class"])
def test_it_is_no_data_set_and_not_named_as_what_was_found(task, tmp_path):
    litter(tmp_path)
    with pytest.raises(UserError) as caught:
        parts_at(task, tmp_path)
    for name in (*LITTER, *FOLDERS):
        assert name not in str(caught.value)
