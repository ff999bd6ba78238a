"""The model that comes with the package."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import deeppose_jax
from deeppose_jax import evaluate
from deeppose_jax.pose_model import PRETRAINED
from engine_jax import cli

CARD = PRETRAINED.with_name("README.md")


def test_it_is_small_and_predicts_in_the_images_pixels():
    assert PRETRAINED.stat().st_size < 16 * 2**20
    model = deeppose_jax.load()
    # The joints of a whole grey picture are somewhere in it.
    (pose,) = model.predict([np.full((90, 60, 3), 128, np.uint8)])
    assert pose.joints.shape == (14, 2)
    assert (pose.joints > -20).all()
    assert (pose.joints < 110).all()
    assert model.settings.data.dir == model.settings.data.extended_dir == ""


def test_its_scores_are_those_of_its_card(real_data: Path, monkeypatch, capsys):
    lsp = real_data / "lsp"
    arguments = ["--joints", lsp / "joints.mat", "--image-folder", lsp / "images"]
    monkeypatch.setattr(
        sys, "argv", ["evaluate", *map(str, arguments), "--images", "1001:2000", "--json"]
    )
    cli.run(evaluate.main, evaluate.parser())
    found = json.loads(capsys.readouterr().out)
    row = re.search(r"^\| all \| (.*) \|$", CARD.read_text(), re.M)
    assert row is not None
    stated = [float(cell) for cell in row[1].split(" | ")]
    scores = [found["pcp_strict"]["four_limbs"], found["pcp_loose"]["four_limbs"]]
    scores += [found["pdj"][threshold]["total"] for threshold in ("0.1", "0.2", "0.5")]
    assert scores == [pytest.approx(value, abs=0.15) for value in stated]
