"""A run's disk is full at many moments; then it has room, and the run is resumed.

    python -m tests.soak full_disk

With the rights to mount, the disk is a small file system in memory; else no file may become larger than a limit. A try
is right when one line ends the run, or a warning says which picture is missing, and the run then ends as one that
always had room.
"""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine_jax import checkpoint
from tests.soak.small_run import PART, finish, same, start

EPOCHS = 3
# What a run takes is some 5 MB.
KILOBYTES = (4, 16, 64, 128, 256, 512, 768, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 4608, 5120)


def run(kilobytes: Sequence[int] = KILOBYTES, expected: Path | None = None) -> list[str]:
    """Tries disks of some sizes; returns the failures. `expected` is a run that always had room, if there is one."""
    failures = []
    with tempfile.TemporaryDirectory() as name:
        if expected is None:
            expected = Path(name) / "expected"
            status, said = finish(expected, EPOCHS)
            assert status == 0, said
        for size in kilobytes:
            mount = Path(name) / "disk"
            mount.mkdir(exist_ok=True)
            failure = _try(mount, expected, size)
            print(f"{size} kB: {failure or 'right'}", flush=True)
            if failure:
                failures.append(f"{size} kB: {failure}")
    print(f"full_disk: {len(kilobytes) - len(failures)} of {len(kilobytes)} right")
    return failures


def _try(mount: Path, expected: Path, kilobytes: int) -> str | None:
    workdir = mount / "run"
    mounted = os.geteuid() == 0 and _mount(mount, f"size={kilobytes}k")
    limit = None if mounted else partial(_limit_files, kilobytes * 1024)
    try:
        process = start(workdir, EPOCHS, preexec=limit)
        said = process.communicate()[1]
        if failure := _ended(process.returncode, said, workdir):
            return failure
        if mounted:
            _mount(mount, "remount,size=64m")
        status, said = finish(workdir, EPOCHS)
        if status:
            return f"not resumed: {said[-500:]}"
        return None if same(workdir, expected) else "other parameters or losses"
    finally:
        if mounted:
            subprocess.run(["umount", str(mount)], check=True)
        else:
            shutil.rmtree(workdir, ignore_errors=True)


def _ended(status: int, said: str, workdir: Path) -> str | None:
    """What is wrong with how a run on a full disk ended."""
    if "Traceback" in said or status not in (0, 1):
        return f"status {status}: {said[-1500:]}"
    if status == 1 and not said.strip().splitlines()[-1].startswith("error: "):
        return f"its last line: {said[-500:]}"
    if left := [*workdir.rglob("*.orbax-checkpoint-tmp*"), *workdir.rglob("*.partial")]:
        return f"left {left[0]}"
    for folder in (workdir / "checkpoints" / PART).glob("*"):
        for step in checkpoint.steps(folder):
            checkpoint.restore_leaf(folder, checkpoint.names(folder, step)[0], step)
    return None


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
