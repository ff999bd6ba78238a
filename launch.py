"""Trains what a config file describes, and resumes what was stopped.

Usage: python launch.py --config=FILE[:PRESET] [--workdir=DIR] [--config.FIELD=VALUE ...] [--debug]

On several hosts, start it on each with the same arguments and --distributed. Where they can't find
each other (outside of TPU pods and Slurm), add --coordinator=HOST:PORT --processes=N --process=I.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from engine_jax import cli, launch_flags
from engine_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, with :PRESET after it.")
WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder; default: runs/<config>-<preset>.")
DEBUG = flags.DEFINE_bool("debug", False, "Show tracebacks of user errors.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "This is one of several hosts.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "Address of the first host's process.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")


def main() -> None:
    if "--help" in sys.argv:
        print(__doc__)
        return
    launch_flags.parse(sys.argv)
    config = CONFIG.value.to_dict()
    file = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")[0]
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in ("absl", "jax", "orbax", "grain"):
        logging.getLogger(name).setLevel(logging.ERROR)

    import jax

    if DISTRIBUTED.value:
        jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    device = jax.devices()[0].device_kind
    logging.info("%s on %d x %s", config["preset"], jax.device_count(), device)

    workdir = WORKDIR.value or Path("runs") / f"{Path(file).stem}-{config['preset']}"
    task(config["task"])(config, workdir)


def task(name: str) -> Callable:
    """The program behind a config's task."""
    if name == "pose":
        from deeppose_jax.train import train_and_evaluate
    elif name == "anomaly":
        from anomaly_jax.train import train_and_evaluate
    elif name == "classify":
        from classify_jax.train import train_and_evaluate
    else:
        raise UserError(f"config.task: {name!r}; accepted: pose, anomaly, classify")
    return train_and_evaluate


if __name__ == "__main__":
    cli.guard(main, debug="--debug" in sys.argv)
