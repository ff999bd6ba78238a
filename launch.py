"""Trains what a config file describes.

python launch.py --config=configs/pose.py[:PRESET] [--workdir=DIR] [--config.field=value ...]
"""

import logging
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from engine_jax import cli, launch_flags
from engine_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, with :PRESET after it.")
WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder; default: runs/<config>-<preset>.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several hosts: find the others first."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show tracebacks of user errors.")


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
        jax.distributed.initialize()
    logging.info(
        "%s on %d x %s", config["preset"], jax.device_count(), jax.devices()[0].device_kind
    )

    name = f"{Path(file).stem}-{config['preset']}"
    train_and_evaluate(config["task"])(config, WORKDIR.value or Path("runs") / name)


def train_and_evaluate(task: str):
    """The program behind a config's task."""
    if task == "pose":
        from deeppose_jax.train import train_and_evaluate
    else:
        raise UserError(f"config.task: {task!r}; accepted: pose")
    return train_and_evaluate


if __name__ == "__main__":
    cli.guard(main, debug="--debug" in sys.argv)
