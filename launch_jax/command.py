"""The command `deeppose-jax`: one word for each program, and the program's own arguments after it."""

import argparse
import runpy
import sys

# What `python -m` runs as well.
PROGRAMS = {
    "predict-pose": "deeppose_jax.predict",
    "predict-anomaly": "anomaly_jax.predict",
    "predict-classes": "classify_jax.predict",
    "data-pose": "deeppose_jax.data",
    "data-anomaly": "anomaly_jax.data",
    "data-classes": "classify_jax.data",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="deeppose-jax",
        description="Trains on what a config describes, applies finished runs to images, and checks folders of data.",
        epilog="COMMAND --help explains its arguments.",
        usage="%(prog)s COMMAND [ARGUMENT ...]",
    )
    parser.add_argument("command", choices=("train", *PROGRAMS))
    command, arguments = parser.parse_args(sys.argv[1:2]).command, sys.argv[2:]
    if command == "train":
        from launch_jax import train

        train.main("deeppose-jax train", arguments)
    else:
        sys.argv = [command, *arguments]
        runpy.run_module(PROGRAMS[command], run_name="__main__", alter_sys=True)
