"""20,000 steps of a small network: memory, open files and rate must stay flat.

python -m tests.soak long_run
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from tests.soak.small_run import start

STEPS_PER_EPOCH = 22  # of 180 training images in batches of eight


def run(steps: int = 20_000, samples: int = 20, slowest: float = 1.3, every: int = 20) -> list[str]:
    """Trains, with an evaluation and a checkpoint `every` so many epochs, and looks at the process; what grew."""
    failures, rows, files = [], [], []
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        process = start(workdir, -(-steps // STEPS_PER_EPOCH), f"--config.evaluation.every={every}")
        try:
            while process.poll() is None and len(rows) < samples:
                done = _steps(workdir)
                memory, open_files = _resources(process.pid)
                files.append(open_files)
                if done >= (len(rows) + 1) * steps // (samples + 1):
                    # A checkpoint that is being written has files open; those that leak stay open.
                    rows.append((done, time.monotonic(), memory, min(files)))
                    files.clear()
                    print(f"step {done}: {memory:.1f} MB, {rows[-1][3]} open files", flush=True)
                time.sleep(0.02)
            said = process.communicate()[1]
        finally:
            process.kill()
    if process.returncode or len(rows) < samples:
        return [f"ended early with status {process.returncode}: {said[-500:]}"]
    table = np.array(rows)
    rate = np.diff(table[:, 0]) / np.diff(table[:, 1])
    third = samples // 3
    memory = table[-third:, 2].mean() / table[third : 2 * third, 2].mean()
    slower = rate[third : 2 * third].mean() / rate[-third:].mean()
    more = table[-third:, 3].min() - table[third : 2 * third, 3].min()
    print(
        f"long_run: {steps} steps; from the middle to the last third memory x {memory:.3f}, "
        f"{more:+.0f} open files, steps a second x {1 / slower:.3f}"
    )
    if memory > 1.05:
        failures.append(f"memory grew {memory:.3f} times")
    if more > 4:  # An event loop of a checkpoint that Python hasn't collected yet has three.
        failures.append(f"{more:.0f} more open files")
    if slower > slowest:
        failures.append(f"{slower:.2f} times slower")
    return failures


def _steps(workdir: Path) -> int:
    metrics = workdir / "metrics.jsonl"
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        return sum(chunk.count(b"train/loss") for chunk in file)


def _resources(pid: int) -> tuple[float, int]:
    """Resident memory in MB, and the number of open files."""
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return pages * 4096 / 1e6, len(list((process / "fd").iterdir()))
