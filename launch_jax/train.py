"""Trains what a config describes, and resumes what was interrupted."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from engine_jax import cli
from engine_jax.errors import UserError
from engine_jax.interruption import Interrupted, end_without_teardown
from launch_jax import config_files
from launch_jax.flags import parse

USAGE = """\
Trains what a config describes, and resumes what was interrupted.

Usage: {program} --config=CONFIG[:PRESET] [--workdir=DIR] [--config.FIELD=VALUE ...] [--nopictures] [--redraw] [--debug]

CONFIG is a file, such as configs/pose.py, or the name of one in {folder}:

{presets}

The first preset is the default, and --workdir=runs/CONFIG-PRESET. The same command goes on with a run that was
stopped; --redraw draws the pictures of a finished one again.

On several hosts, start it on each with the same arguments and --distributed. Where they can't find
each other (outside of TPU pods and Slurm), add --coordinator=HOST:PORT --processes=N --process=I."""


def main(program: str, arguments: Sequence[str]) -> None:
    """The command line program; `program` is what the user typed before the arguments."""
    if {"--help", "-h"} & set(arguments):
        print(usage(program))
        return
    cli.guard(lambda: launch(program, arguments), debug="--debug" in arguments)


def launch(program: str, arguments: Sequence[str]) -> None:
    """Runs the experiment that the arguments describe."""
    flags = parse(program, arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for library in ("jax", "orbax", "grain"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # By it orbax writes the tracebacks of errors that it raises as well.
    logging.getLogger("absl").setLevel(logging.CRITICAL)

    from engine_jax.devices import all_devices, check_devices
    from launch_jax import hosts

    if flags.distributed:
        hosts.join(flags.coordinator, flags.processes, flags.process)
    check_devices()
    devices = all_devices()
    logging.info("%s on %d x %s", flags.config.preset, len(devices), devices[0].device_kind)

    try:
        train_and_evaluate = task(flags.config.task)
        with hosts.together() if flags.distributed else nullcontext():
            train_and_evaluate(flags.config.to_dict(), flags.workdir, flags.redraw, flags.pictures)
    except Interrupted as interrupted:
        interrupted.add_note("the same command goes on from there")
        end_without_teardown(interrupted.status)
        raise


def task(name: str) -> Callable:
    """The function `train_and_evaluate(config, workdir)` of a config's task."""
    if name == "pose":
        from deeppose_jax.train import train_and_evaluate
    elif name == "anomaly":
        from anomaly_jax.train import train_and_evaluate
    elif name == "classify":
        from classify_jax.train import train_and_evaluate
    else:
        raise UserError(f"config.task: {name!r}; accepted: pose, anomaly, classify")
    return train_and_evaluate


def usage(program: str) -> str:
    """What --help prints."""
    lines = (
        f"  {name:10}{', '.join(config_files.presets(path))}"
        for name, path in config_files.named().items()
    )
    return USAGE.format(program=program, folder=config_files.FOLDER, presets="\n".join(lines))
