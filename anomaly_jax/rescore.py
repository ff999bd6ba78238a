"""Scores a finished run again, with other smoothing, thresholds or good images, without training again.

python -m anomaly_jax.rescore --workdir RUN --out FOLDER [--sigma S] [--image-rate R] [--pixel-share S] [--good FOLDER]
"""

import argparse
import logging
from dataclasses import replace

from anomaly_jax.config import SCHEMA, AnomalyConfig
from anomaly_jax.train import train_and_evaluate
from engine_jax import cli
from engine_jax.config import to_mapping
from engine_jax.devices import check_devices
from engine_jax.files import user_path
from engine_jax.run_folder import RunFolder


def main(args: argparse.Namespace) -> None:
    """Makes a run of the same detector in another folder, which predicts like any run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_devices()
    folder = RunFolder(args.workdir)
    folder.read_finished()
    settings = changed(folder.read_settings(SCHEMA), args)
    train_and_evaluate(to_mapping(settings), args.out, pictures=args.pictures)


def changed(settings: AnomalyConfig, args: argparse.Namespace) -> AnomalyConfig:
    """The run's configuration with what the command line gives."""
    scoring, thresholds, data = settings.scoring, settings.thresholds, settings.data
    if args.sigma is not None:
        scoring = replace(scoring, sigma=args.sigma)
    if args.image_rate is not None:
        thresholds = replace(thresholds, image=args.image_rate)
    if args.pixel_share is not None:
        thresholds = replace(thresholds, pixel=args.pixel_share)
    if args.good:
        thresholds = replace(thresholds, calibration="held_out")
        data = replace(data, good=str(user_path(args.good)))
    if args.data:
        data = replace(data, dir=str(user_path(args.data)))
    start = str(user_path(args.workdir).absolute())
    return replace(settings, scoring=scoring, thresholds=thresholds, data=data, start=start)


def parser() -> argparse.ArgumentParser:
    """The program's command line."""
    command = argparse.ArgumentParser(
        prog="python -m anomaly_jax.rescore", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--workdir", required=True, help="the folder of a finished run")
    command.add_argument("--out", required=True, help="the folder of the new run")
    command.add_argument(
        "--sigma", type=cli.finite, help="pixels of the Gaussian that smooths maps"
    )
    command.add_argument(
        "--image-rate", type=cli.finite, help="the share of good images that may be called faulty"
    )
    command.add_argument(
        "--pixel-share", type=cli.finite, help="the share of a good image's pixels that may be"
    )
    command.add_argument("--good", help="a folder of good images for the thresholds")
    command.add_argument("--data", help="where the run's data are now")
    command.add_argument("--pictures", action=argparse.BooleanOptionalAction, default=True)
    return command


if __name__ == "__main__":
    cli.run(main, parser())
