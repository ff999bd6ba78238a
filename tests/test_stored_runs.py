"""Runs that earlier versions wrote are loaded, and predict what they predicted then.

tests/stored_runs/format_N/ holds a finished run of each task, without the files that `load` doesn't read, and what the
version that wrote it predicted for `picture()`. `python -m tests.make_stored_runs FOLDER` writes them for the format of
today; those of earlier formats are never written again.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import anomaly_jax
import classify_jax
import deeppose_jax
from anomaly_jax.config import SCHEMA as ANOMALY
from classify_jax.config import SCHEMA as CLASSIFY
from deeppose_jax.config import SCHEMA as POSE

STORED = Path(__file__).parent / "stored_runs"
FORMATS = sorted(path.name for path in STORED.iterdir())


def picture():
    """A picture of 60 x 48 pixels."""
    y, x = np.mgrid[0:60, 0:48]
    return np.stack([(5 * x + 3 * y) % 256, (x * y) % 256, (255 - 4 * x) % 256], -1).astype(
        np.uint8
    )


def predictions(folder):
    """What the runs in a folder predict for the picture; coordinates in parts of its height."""
    image = picture()
    (pose,) = deeppose_jax.load(folder / "pose").predict([image])
    (found,) = anomaly_jax.load(folder / "anomaly").predict([image])
    (shown,) = classify_jax.load(folder / "classify").predict([image])
    return {
        "pose": {"joints": (pose.joints / 60).tolist()},
        "anomaly": {
            "pred_score": found.pred_score,
            "pred_label": found.pred_label,
            "anomaly_map": found.anomaly_map[::6, ::6].tolist(),
        },
        "classify": {"label": shown.label, "probabilities": shown.probabilities.tolist()},
    }


@pytest.fixture(scope="module", params=FORMATS)
def stored(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / request.param
    shutil.copytree(STORED / request.param, folder)
    return folder


def test_predictions_are_those_of_the_version_that_wrote_the_run(stored):
    expected = json.loads((stored / "expected.json").read_text())
    found = predictions(stored)
    assert found.keys() == expected.keys()
    for task, values in expected.items():
        for name, value in values.items():
            if isinstance(value, str | bool):
                assert found[task][name] == value
            else:
                np.testing.assert_allclose(found[task][name], value, atol=1e-5, err_msg=name)


def test_reading_a_run_writes_nothing(stored):
    """Neither locks nor logs, and it leaves what another process may still be writing."""
    for part in stored.glob("*/checkpoints/*/*/*"):
        if part.name.isdecimal():
            shutil.copytree(part, part.with_name("99.orbax-checkpoint-tmp"), dirs_exist_ok=True)

    def held():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in stored.rglob("*")}

    before = held()
    assert any("orbax-checkpoint-tmp" in path.name for path in before)
    predictions(stored)
    assert held() == before


def test_todays_format_is_among_them():
    """A new format needs a run of its own here, before the next one is made."""
    formats = {f"format_{schema.format}" for schema in (POSE, ANOMALY, CLASSIFY)}
    assert formats <= set(FORMATS)
