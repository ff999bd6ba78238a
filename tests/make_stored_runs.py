"""Writes a finished run of each task for tests/test_stored_runs.py: python -m tests.make_stored_runs FOLDER."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.deeppose_jax.runs import launch
from tests.test_stored_runs import predictions

COMMON = (
    "--config.train.epochs=1",
    "--config.evaluation.every=1",
    "--config.evaluation.bootstrap=20",
)
COMPACT = (("compact.widths", "(8,8)"), ("compact.blocks", "(1,0)"), ("compact.out_channels", "8"))
CHANGES = {
    "pose": (
        *("--config.stages=2", "--config.data.train=32", "--config.data.validation=8"),
        *("--config.data.test=8", "--config.data.canvas=48", "--config.refiner.train.epochs=1"),
        *("--config.model.input_size=32", "--config.refiner.model.input_size=32"),
        *(f"--config.model.{name}={value}" for name, value in COMPACT),
        *(f"--config.refiner.model.{name}={value}" for name, value in COMPACT),
    ),
    "anomaly": (
        *("--config.data.train=10", "--config.data.test=2", "--config.model.input_size=32"),
        *("--config.model.layers=((4,2,4),(4,2,8))", "--config.model.bottleneck=6"),
        *("--config.segmenter.widths=(8,8)", "--config.segmenter.blocks=(0,0)"),
        *("--config.segmenter.up_blocks=0", "--config.loss.window=5", "--config.scoring.window=5"),
        *("--config.train.batch_size=4", "--config.evaluation.batch_size=4"),
    ),
    "classify": (
        *("--config.data.rendered=60", "--config.data.size=36", "--config.model.name=lenet5"),
        *("--config.model.input_size=32", "--config.train.batch_size=8"),
        "--config.evaluation.batch_size=8",
    ),
}


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        for task, changes in CHANGES.items():
            workdir = runs / task
            done = launch(
                *COMMON,
                *changes,
                f"--workdir={workdir}",
                preset="demo",
                config=f"configs/{task}.py",
            )
            assert done.returncode == 0, done.stderr
            for file in (workdir / "config.json", workdir / "results.json"):
                (out / task).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, out / task)
            for best in (workdir / "checkpoints").glob("*/best"):
                shutil.copytree(best, out / best.relative_to(runs))
        for marker in out.rglob("commit_success.txt"):  # orbax writes this machine's paths there
            marker.write_text("Checkpoint commit was successful")
        (out / "expected.json").write_text(json.dumps(predictions(runs)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
