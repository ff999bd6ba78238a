"""Times a training program from its start to its first logged step, with nothing compiled before and then again.

    python -m benchmarks.second_start [--config configs/pose.py] [--turns 1] [--json FILE] [--config.FIELD=VALUE ...]

Both starts have a cache folder of their own, which is empty at the first one, and a run's folder each. The data are as
the config has them; rendered ones are rendered at both starts. Each program is killed after its first rows.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import show_times

ROOT = Path(__file__).parents[1]
LIMIT = 900.0  # seconds


def seconds_to_first_step(config: str, overrides: list[str], cache: Path, workdir: Path) -> float:
    variables = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    metrics, said = workdir / "metrics.jsonl", workdir.with_suffix(".txt")
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={config}", *overrides]
    with said.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, f"--workdir={workdir}"],
            cwd=ROOT,
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None or time.perf_counter() - start > LIMIT:
                    raise RuntimeError(f"no step was logged: {said.read_text()[-500:]}")
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a program's first and second start.")
    parser.add_argument("--config", default="configs/pose.py")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args, overrides = parser.parse_known_args()
    seconds: dict[str, list[float]] = {"first start": [], "second start": []}
    for _ in range(args.turns):
        with tempfile.TemporaryDirectory() as folder:
            for i, times in enumerate(seconds.values()):
                places = Path(folder) / "cache", Path(folder) / f"run_{i}"
                times.append(seconds_to_first_step(args.config, overrides, *places))
    title = f"from the start of {args.config} to its first logged step, {args.turns} turns"
    show_times(title, seconds, "second start", args.json)


if __name__ == "__main__":
    main()
