"""Memory and time of predicting one large photo: faults by a run, and the pose by the packaged model.

    python -m benchmarks.photo_memory --workdir RUN [--width 8660] [--height 5774] [--json FILE]

RUN is a finished run of anomaly detection. Printed for each: by how much the resident memory of a process of its own
was at most larger than before, when the model was loaded and had predicted a small photo; and the seconds. "Python" is
`predict` of an array, which lies in memory before; "program" is the command line with its pictures, which reads the
photo from a JPEG file: its three bytes a pixel, which aren't counted either, are taken off. Runs on Linux.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import anomaly_jax
import anomaly_jax.predict as anomaly_program
import deeppose_jax
import deeppose_jax.predict as pose_program
from engine_jax import cli
from engine_jax.run_folder import write_json

_SMALL = (600, 400)  # (width, height) of the photo that everything is compiled for


def photo(width: int, height: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Grey, with noise, which compresses badly."""
    random = np.random.default_rng(0)
    pixels = np.empty((height, width, 3), np.uint8)
    for row in pixels:
        row[:] = random.integers(100, 140, (width, 1), np.uint8)
    return pixels


def in_python(workdir: Path | None, size: tuple[int, int], files: list[Path]) -> dict[str, float]:
    """`predict` of an array, by a run or by the packaged pose model."""
    model = deeppose_jax.load() if workdir is None else anomaly_jax.load(workdir)
    return _measured(model.predict, photo(*_SMALL), photo(*size))


def in_program(workdir: Path | None, size: tuple[int, int], files: list[Path]) -> dict[str, float]:
    """The program, from a file to the pictures."""
    program: ModuleType = pose_program if workdir is None else anomaly_program
    with tempfile.TemporaryDirectory() as out:
        model = () if workdir is None else ("--workdir", str(workdir))

        def predict(file: Path) -> None:
            program.main(program.parser().parse_args([str(file), "--out", out, *model]))

        row = _measured(predict, *files)
    return row | {"megabytes": row["megabytes"] - 3 * size[0] * size[1] / 1e6}


def _measured(predict: Callable, small: object, large: object) -> dict[str, float]:
    predict(small)
    held, start = _kilobytes("VmRSS"), time.perf_counter()
    predict(large)
    seconds = time.perf_counter() - start
    return {"megabytes": (_kilobytes("VmHWM") - held) * 1024 / 1e6, "seconds": seconds}


def _kilobytes(name: str) -> int:
    """What Linux says of this process's memory: resident now (VmRSS) or at most (VmHWM)."""
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(name))


def main(args: argparse.Namespace) -> None:
    size, rows = (args.width, args.height), {}
    works = {"faults": args.workdir, "pose": None}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("small.jpg", "large.jpg")]
        for file, each in zip(files, (_SMALL, size), strict=True):
            Image.fromarray(photo(*each)).save(file, quality=90)
        print(f"{size[0]} x {size[1]} px\n\n| | MB at most | seconds |\n|---|---|---|")
        for name, workdir in works.items():
            for how, function in (("Python", in_python), ("program", in_program)):
                # One process after the other, each of which begins with little memory.
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    row = process.submit(function, workdir, size, files).result()
                print(
                    f"| {name}, {how} | {row['megabytes']:.0f} | {row['seconds']:.1f} |", flush=True
                )
                rows[f"{name}, {how}"] = row
    if args.json:
        write_json(args.json, {"width": size[0], "height": size[1], **rows})


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.photo_memory", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--workdir", type=Path, required=True, help="a run of anomaly detection")
    command.add_argument("--width", type=int, default=8660)
    command.add_argument("--height", type=int, default=5774)
    command.add_argument("--json", type=Path, help="a file to write the numbers to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
