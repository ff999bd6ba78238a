"""The packaged pose model's scores on LSP's test half are those of its card.

    REAL_DATA=FOLDER python -m tests.soak card

FOLDER holds lsp/. A score is right within .15 percent, what the order of summation may change.
"""

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from unittest import mock

from deeppose_jax import evaluate
from deeppose_jax.pose_model import PRETRAINED
from engine_jax import cli

CARD = PRETRAINED.with_name("README.md")
TOLERANCE = 0.15  # percent


def run(row: str = "all", images: str = "1001:2000", data: Path | None = None) -> list[str]:
    """Compares the card's row with what `evaluate` finds on these images; returns what differs."""
    lsp = Path(os.environ["REAL_DATA"] if data is None else data) / "lsp"
    stated, found = _stated(row), _scores(lsp, images)
    print(f"card, {row}: {stated}; found {found}", flush=True)
    return [
        f"card, {row}: {there}, found {here}"
        for there, here in zip(stated, found, strict=True)
        if abs(there - here) > TOLERANCE
    ]


def _stated(row: str) -> list[float]:
    found = re.search(rf"^\| {row} \| (.*) \|$", CARD.read_text(), re.M)
    assert found is not None, row
    return [float(cell) for cell in found[1].split(" | ")]


def _scores(lsp: Path, images: str) -> list[float]:
    """In the order of the card's columns."""
    files = ["--joints", str(lsp / "joints.mat"), "--image-folder", str(lsp / "images")]
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["evaluate", *files, "--images", images, "--json"]),
        contextlib.redirect_stdout(said),
    ):
        cli.run(evaluate.main, evaluate.parser())
    scores = json.loads(said.getvalue())
    pcp = [scores[kind]["four_limbs"] for kind in ("pcp_strict", "pcp_loose")]
    return pcp + [scores["pdj"][threshold]["total"] for threshold in ("0.1", "0.2", "0.5")]
