"""One of two processes that train together is killed or told to stop: the other ends, and both resume.

    python -m tests.soak processes

A run is right when the process that is left ends with an error within two minutes, or after SIGTERM both end within
30 s and say which step is saved; and both, started again, end with the losses of a run of one process.
"""

import re
import signal
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
LIMIT_TOLD = 30
EPOCHS = 24

# Which process gets which signal, the first of them being the coordinator, and after how many rows of metrics.jsonl.
TOLD = (
    *((process, rows, signal.SIGKILL) for rows in (1, 12, 13, 50) for process in (0, 1)),
    *((process, rows, signal.SIGTERM) for rows in (1, 12) for process in (0, 1)),
)


@dataclass(frozen=True)
class Found:
    """What came of a signal.

    Attributes:
        seconds: until the other process ended.
        failure: what went wrong; None if nothing did.
    """

    seconds: float
    failure: str | None


def run(told: Sequence[tuple[int, int, signal.Signals]] = TOLD) -> list[str]:
    """Tries every signal; returns the failures."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lsp = tiny_lsp(folder / "lsp", count=40)
        arguments = (*TINY, f"--config.data.dir={lsp.path}", f"--config.train.epochs={EPOCHS}")
        alone = launch(*arguments, f"--workdir={folder / 'alone'}")
        assert alone.returncode == 0, alone.stderr
        expected = _losses(folder / "alone")
        for process, rows, number in told:
            place = folder / f"{process}_{rows}_{number}"
            place.mkdir()
            found = stopped(arguments, place, process, rows, number)
            failure = found.failure or resumed(arguments, place)
            if failure is None and not np.allclose(_losses(place / "run"), expected, rtol=1e-5):
                failure = "other losses than those of one process"
            what = f"{number.name} to process {process} after {rows} rows"
            print(f"{what}: {failure or 'right'}, the other ended after {found.seconds:.0f} s")
            if failure:
                failures.append(f"{what}: {failure}")
    print(f"processes: {len(told) - len(failures)} of {len(told)} right")
    return failures


def stopped(
    arguments: Sequence[object], folder: Path, process: int, rows: int, number: signal.Signals
) -> Found:
    """Starts two processes with the run's folder `folder / "run"`, and sends one of them a signal."""
    metrics = folder / "run" / "metrics.jsonl"
    with two_processes((*arguments, f"--workdir={folder / 'run'}"), folder) as started:
        while not metrics.exists() or len(metrics.read_text().splitlines()) < rows:
            for each, said in started:
                if each.poll() is not None:
                    return Found(0, f"ended before the signal: {said.read_text()[-2000:]}")
            time.sleep(0.01)
        started[process][0].send_signal(number)
        start = time.monotonic()
        other, said = started[1 - process]
        while other.poll() is None and time.monotonic() - start < LIMIT:
            time.sleep(0.1)
        seconds = time.monotonic() - start
        started[process][0].wait(LIMIT_TOLD)
        texts = [text.read_text() for _, text in started]
        statuses = [each.returncode for each, _ in started]
    if (folder / "run" / "results.json").exists():
        return Found(seconds, "finished before the signal")
    if number == signal.SIGTERM:
        saved = [re.findall(r"interrupted by SIGTERM; .* saved at (step \d+) of", s) for s in texts]
        right = statuses == [143, 143] and len(saved[0]) == 1 and saved[0] == saved[1]
        late = seconds > LIMIT_TOLD
        return Found(seconds, None if right and not late else f"{statuses}, {texts[0][-2000:]}")
    # The line is missing where JAX aborts the process before Python hears of the error.
    status, text = statuses[1 - process], texts[1 - process]
    if not status or (status == 1 and "start all of them again" not in text):
        return Found(seconds, f"the other has status {status} and said: {text[-2000:]}")
    return Found(seconds, None)


def resumed(arguments: Sequence[object], folder: Path) -> str | None:
    """Starts both processes again; what went wrong, or None."""
    with two_processes((*arguments, f"--workdir={folder / 'run'}"), folder) as started:
        for process, said in started:
            if process.wait(timeout=600):
                return f"not resumed: {said.read_text()[-2000:]}"
    return None


def _losses(workdir: Path) -> list[float]:
    rows = read_metrics(workdir / "metrics.jsonl", "stage_1")
    return [row["train/loss"] for row in rows if "train/loss" in row]
