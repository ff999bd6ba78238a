"""Memory and time of training and prediction on large images in tiles.

    python -m benchmarks.large_images --folder FOLDER [--width 4000] [--height 3000] [--train 6] [--epochs 1]
        [--json FILE]

Makes grey images with noise, a part of them with a spot, trains the demo's networks on tiles of them, and predicts one
in a process of its own. Printed: the peak of the resident memory of either process, and the seconds.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from anomaly_jax.predict import load
from anomaly_jax.train import train_and_evaluate
from configs.anomaly import get_config
from engine_jax import cli
from engine_jax.run_folder import write_json

_SPOT = 60  # side, in pixels


def main(args: argparse.Namespace) -> None:
    folder, run = Path(args.folder) / "images", Path(args.folder) / "run"
    good, spot = folder / "train/good", folder / "test/spot"
    for i in range(args.train):
        _make(good / f"{i}.png", args.height, args.width, i, spot=False)
    for kind, path in enumerate((folder / "test/good", spot)):
        _make(path / "0.png", args.height, args.width, args.train + kind, spot=bool(kind))
    config = get_config("demo")
    config.train.epochs, config.evaluation.every = args.epochs, args.epochs
    config.data.dataset, config.data.dir, config.data.fit = "mvtec", str(folder), "tiles"
    config.thresholds.grid = ()
    title = f"{args.width} x {args.height} px, {args.train} good images"
    rows = {
        "training": _measured(f"training, {title}", _train, config.to_dict(), run),
        "prediction": _measured("prediction of one", _predict, run, spot / "0.png"),
    }
    if args.json:
        size = {"width": args.width, "height": args.height, "train": args.train}
        write_json(args.json, {**size, "epochs": args.epochs, **rows})


def _make(path: Path, height: int, width: int, seed: int, spot: bool) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(100, 140, (height, width), np.uint8)
    if spot:
        pixels[height // 3 :, width // 3 :][:_SPOT, :_SPOT] = 250
    Image.fromarray(pixels).save(path)


def _train(config: dict, run: Path) -> None:
    train_and_evaluate(config, run, pictures=False)


def _predict(run: Path, image: Path) -> None:
    (found,) = load(run).predict([image])
    row, column = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    print(f"map of {found.anomaly_map.shape[::-1]} px, highest at {column}, {row}")


def _measured(title: str, function: Callable, *args: object) -> dict[str, float]:
    """Runs a function in a process of its own; the GiB that this took at most, and the seconds."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        row = process.submit(_resources, function, *args).result()
    print(f"{title}: {row['gib']:.2f} GiB at most, {row['seconds']:.0f} s")
    return row


def _resources(function: Callable, *args: object) -> dict[str, float]:
    start = time.monotonic()
    function(*args)
    seconds = time.monotonic() - start
    return {"gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "seconds": seconds}


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.large_images", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--folder", required=True, help="where images and run go")
    command.add_argument("--width", type=int, default=4000)
    command.add_argument("--height", type=int, default=3000)
    command.add_argument("--train", type=int, default=6, help="good images to train on")
    command.add_argument("--epochs", type=int, default=1)
    command.add_argument("--json", type=Path, help="a file to write the numbers to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
