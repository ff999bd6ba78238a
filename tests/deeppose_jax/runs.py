"""Small runs on a small LSP folder, started as a user starts them or in this process."""

import io
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr
from pathlib import Path

from launch_jax.train import main

ROOT = Path(__file__).parents[2]

# With dropout and all augmentation, so that every source of randomness takes part; seconds on two cores.
TINY = (
    "--config.data.validation=4",
    "--config.data.canvas=48",
    "--config.model.input_size=40",
    "--config.model.alexnet.widths=(8,8,8,8,8)",
    "--config.model.alexnet.first_kernel=5",
    "--config.model.alexnet.first_stride=2",
    "--config.model.alexnet.norm=lrn",
    "--config.model.hidden=(16,)",
    "--config.model.dropout=0.2",
    "--config.optimizer.learning_rate=1e-3",
    "--config.train.batch_size=4",
    "--config.train.patience=0",
    "--config.evaluation.batch_size=8",
    "--config.evaluation.bootstrap=20",
)

# Refiners beside it, by --config.stages and --config.refiner.form.
REFINERS = (
    "--config.refiner.model.input_size=24",
    "--config.refiner.model.alexnet.widths=(4,4,4,4,4)",
    "--config.refiner.model.alexnet.first_kernel=3",
    "--config.refiner.model.alexnet.first_stride=1",
    "--config.refiner.model.alexnet.norm=none",
    "--config.refiner.model.hidden=(8,)",
    "--config.refiner.model.dropout=0.2",
    "--config.refiner.optimizer.learning_rate=1e-3",
    "--config.refiner.train.batch_size=8",
    "--config.refiner.train.epochs=2",
    "--config.train.batch_size=8",
    "--config.train.epochs=2",
)


def command(
    *arguments: object, preset: str = "augmented", config: str = "configs/pose.py"
) -> list[str]:
    named = f"--config={ROOT / config}:{preset}"
    return [sys.executable, str(ROOT / "launch.py"), named, *map(str, arguments)]


def environment(devices: int = 1) -> dict[str, str]:
    return {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }


def launch(
    *arguments: object,
    preset: str = "augmented",
    config: str = "configs/pose.py",
    devices: int = 1,
    cwd: Path = ROOT,
    pictures: bool = False,
) -> subprocess.CompletedProcess:
    flag = "--pictures" if pictures else "--nopictures"  # They take as long as the training.
    return subprocess.run(
        command(*arguments, flag, preset=preset, config=config),
        cwd=cwd,
        env=environment(devices),
        capture_output=True,
        text=True,
        check=False,
    )


def launch_here(
    *arguments: object,
    preset: str = "augmented",
    config: str = "configs/pose.py",
    cwd: Path = ROOT,
    pictures: bool = False,
) -> subprocess.CompletedProcess:
    """What `launch` gives on one device, without a process of its own, which takes seconds to begin."""
    _, _, named, *given = command(*arguments, preset=preset, config=config)
    given = [named, *given, "--pictures" if pictures else "--nopictures"]
    said, status = io.StringIO(), 0
    root, log = logging.getLogger(), logging.StreamHandler(said)
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.INFO)
    try:
        with chdir(cwd), redirect_stderr(said):
            main("launch.py", given)
    except SystemExit as stopped:
        status = stopped.code
    finally:
        root.removeHandler(log)
        root.setLevel(level)
    return subprocess.CompletedProcess(given, status, stderr=said.getvalue())


@contextmanager
def two_processes(
    arguments: Sequence[object], folder: Path
) -> Iterator[list[tuple[subprocess.Popen, Path]]]:
    """A run of two processes of one device each, and the file in `folder` that each one's output goes to."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    started = []
    try:
        for i in range(2):
            said = folder / f"process_{i}.txt"
            together = ("--distributed", f"--coordinator={address}", "--processes=2")
            with said.open("w") as output:
                process = subprocess.Popen(
                    command(*arguments, *together, f"--process={i}", "--nopictures"),
                    cwd=ROOT,
                    env=environment(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            started.append((process, said))
        yield started
    finally:
        for process, _ in started:
            process.kill()
            process.wait()
