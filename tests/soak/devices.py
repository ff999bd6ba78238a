"""Every preset starts, by its command line and with its own values but little data, on several numbers of devices.

    python -m tests.soak devices
    python -m tests.soak.devices [--devices=N ...] [CONFIG:PRESET ...]

A run is right when it ends with results, or the last network that it trains has taken its first steps and has been
evaluated; it is killed then.
Of `paper` that is stage 1: its refiners take a larger machine, and their training step is lowered instead.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engine_jax.writer import read_metrics
from launch_jax import config_files
from tests.deeppose_jax.runs import ROOT, command, environment
from tests.soak.presets import all_presets, small_data

DEVICES = (1, 2, 3, 4, 8)
LIMIT = 1800  # seconds a run
# Compiling is most of what a start takes, and LLVM's optimisations are most of that.
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def run(
    counts: Sequence[int] = DEVICES, presets: Sequence[tuple[str, str]] | None = None
) -> list[str]:
    """Tries every number of devices and preset; returns the failures."""
    presets = all_presets() if presets is None else presets
    failures = []
    for name, preset in presets:
        for count in counts:
            start = time.monotonic()
            failure = _started(name, preset, count)
            if failure is None and preset == "paper":
                failure = _lowered(name, preset, count)
            seconds = f"{time.monotonic() - start:.0f} s"
            print(f"{name}:{preset} on {count}: {failure or 'right'}, {seconds}", flush=True)
            if failure:
                failures.append(f"{name}:{preset} on {count} devices: {failure}")
    tried = len(presets) * len(counts)
    print(f"devices: {tried - len(failures)} of {tried} right")
    return failures


def _started(name: str, preset: str, count: int) -> str | None:
    """What went wrong before the first evaluation of the last network; None if nothing did."""
    last = _last_network(name, preset)
    with tempfile.TemporaryDirectory() as folder:
        workdir, said = Path(folder) / "run", Path(folder) / "said"
        arguments = (*small_data(name, preset), f"--workdir={workdir}")
        with said.open("w") as output:
            process = subprocess.Popen(
                command(*arguments, preset=preset, config=f"configs/{name}.py"),
                cwd=ROOT,
                env=environment(count) | QUICK,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + LIMIT
            while process.poll() is None:
                if _evaluated(workdir / "metrics.jsonl", last):
                    return None
                if time.monotonic() > deadline:
                    return f"no evaluation of {last} in {LIMIT} s"
                time.sleep(0.5)
        finally:
            process.kill()
            process.wait()
        lines = said.read_text().strip().splitlines()
        right = process.returncode == 0 and (workdir / "results.json").exists()
        return None if right else f"status {process.returncode}, {lines[-1]}"


def _last_network(name: str, preset: str) -> str:
    """Its part of metrics.jsonl."""
    if name == "pose":
        stages = config_files.read(f"{name}:{preset}")[1].stages
        return f"stage_{1 if preset == 'paper' else stages}"
    return {"anomaly": "detector", "classify": "classifier"}[name]


def _evaluated(metrics: Path, part: str) -> bool:
    """Whether the part has been evaluated."""
    return metrics.exists() and any("validation/loss" in row for row in read_metrics(metrics, part))


def _lowered(name: str, preset: str, count: int) -> str | None:
    lowered = subprocess.run(
        [sys.executable, "-m", "tests.soak.lowering", f"{name}:{preset}"],
        cwd=ROOT,
        env=environment(count),
        capture_output=True,
        text=True,
        check=False,
    )
    return None if lowered.returncode == 0 else lowered.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Starts presets on several numbers of devices.")
    parser.add_argument("presets", nargs="*", metavar="CONFIG:PRESET")
    parser.add_argument("--devices", type=int, action="append")
    args = parser.parse_args()
    chosen = [tuple(preset.split(":")) for preset in args.presets] or None
    sys.exit(bool(run(args.devices or DEVICES, chosen)))
