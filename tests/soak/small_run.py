"""A classification run that takes seconds, started as a user starts it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine_jax.writer import read_metrics
from tests.checkpoints import last_arrays
from tests.deeppose_jax.runs import ROOT, command, environment

PART = "classifier"
SMALL = (
    *("--config.data.rendered=200", "--config.data.size=36", "--config.model.name=lenet5"),
    *("--config.model.input_size=32", "--config.train.batch_size=8", "--config.train.patience=0"),
    *("--config.evaluation.batch_size=8", "--config.evaluation.bootstrap=20"),
    "--config.evaluation.every=1",
)


def start(
    workdir: Path,
    epochs: int,
    *arguments: object,
    preexec: Callable[[], None] | None = None,
) -> subprocess.Popen:
    """Begins or resumes the run."""
    changes = (*SMALL, f"--config.train.epochs={epochs}", f"--workdir={workdir}", *arguments)
    return subprocess.Popen(
        command(*changes, preset="demo", config="configs/classify.py"),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=preexec,
    )


def finish(workdir: Path, epochs: int, *arguments: object) -> tuple[int, str]:
    """Begins or resumes the run and waits for its end: the exit status, and what it said."""
    process = start(workdir, epochs, *arguments)
    said = process.communicate()[1]
    return process.returncode, said


def outcome(workdir: Path) -> tuple[list[float], dict[str, np.ndarray]]:
    """All training losses, and the arrays of the last checkpoint but for the seconds."""
    rows = read_metrics(workdir / "metrics.jsonl", PART)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    return losses, last_arrays(workdir / "checkpoints" / PART)


def same(found: Path, expected: Path) -> bool:
    """Whether two runs took the same steps, bit for bit."""
    (losses, arrays), (other_losses, others) = outcome(found), outcome(expected)
    return (
        losses == other_losses
        and arrays.keys() == others.keys()
        and all(np.array_equal(array, others[name]) for name, array in arrays.items())
    )
