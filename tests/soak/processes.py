"""One of two processes that train together is killed: the other ends, and both resume.

    python -m tests.soak processes

A run is right when the process that is left ends with an error within two minutes and both, started again, end with
the losses of a run of one process.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine_jax.writer import read_metrics
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.runs import TINY, launch, two_processes

LIMIT = 120  # seconds that the other process has
EPOCHS = 12

# Which process is killed, the first of them being the coordinator, and after how many rows of metrics.jsonl.
KILLED = ((0, 1), (1, 1), (0, 12), (1, 12), (0, 13), (1, 13), (0, 50), (1, 50))


@dataclass(frozen=True)
class Found:
    """What came of a kill.

    Attributes:
        seconds: until the other process ended.
        failure: what went wrong; None if nothing did.
    """

    seconds: float
    failure: str | None


def run(kills: Sequence[tuple[int, int]] = KILLED) -> list[str]:
    """Tries every kill; returns the failures."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lsp = tiny_lsp(folder / "lsp", count=40)
        arguments = (*TINY, f"--config.data.dir={lsp.path}", f"--config.train.epochs={EPOCHS}")
        alone = launch(*arguments, f"--workdir={folder / 'alone'}")
        assert alone.returncode == 0, alone.stderr
        expected = _losses(folder / "alone")
        for killed, rows in kills:
            place = folder / f"{killed}_{rows}"
            place.mkdir()
            found = killed_and_resumed(arguments, place, killed, rows)
            failure = found.failure
            if failure is None and not np.allclose(_losses(place / "run"), expected, rtol=1e-5):
                failure = "other losses than those of one process"
            kill = f"process {killed} killed after {rows} rows"
            print(f"{kill}: {failure or 'right'}, the other ended after {found.seconds:.0f} s")
            if failure:
                failures.append(f"{kill}: {failure}")
    print(f"processes: {len(kills) - len(failures)} of {len(kills)} right")
    return failures


def killed_and_resumed(arguments: Sequence[object], folder: Path, killed: int, rows: int) -> Found:
    """Starts two processes with the run's folder `folder / "run"`, kills one, and starts both again."""
    arguments = (*arguments, f"--workdir={folder / 'run'}")
    metrics = folder / "run" / "metrics.jsonl"
    with two_processes(arguments, folder) as started:
        while not metrics.exists() or len(metrics.read_text().splitlines()) < rows:
            for process, said in started:
                if process.poll() is not None:
                    return Found(0, f"ended before a kill: {said.read_text()[-2000:]}")
            time.sleep(0.01)
        started[killed][0].kill()
        start = time.monotonic()
        other, said = started[1 - killed]
        while other.poll() is None and time.monotonic() - start < LIMIT:
            time.sleep(0.1)
        seconds = time.monotonic() - start
        if not other.returncode:
            return Found(seconds, f"the other has status {other.returncode}")
        # The line is missing where JAX aborts the process before Python hears of the error.
        if other.returncode == 1 and "start all of them again" not in said.read_text():
            return Found(seconds, f"the other said: {said.read_text()[-2000:]}")
    if (folder / "run" / "results.json").exists():
        return Found(seconds, "finished before the kill")
    with two_processes(arguments, folder) as started:
        for process, said in started:
            if process.wait(timeout=600):
                return Found(seconds, f"not resumed: {said.read_text()[-2000:]}")
    return Found(seconds, None)


def _losses(workdir: Path) -> list[float]:
    rows = read_metrics(workdir / "metrics.jsonl", "stage_1")
    return [row["train/loss"] for row in rows if "train/loss" in row]
