"""Trains what a config file describes, and resumes what was interrupted.

Usage: python launch.py --config=FILE[:PRESET] [--workdir=DIR] [--config.FIELD=VALUE ...]

With --help it lists the other flags and all presets.
"""

import sys

from launch_jax.train import main

if __name__ == "__main__":
    main("python launch.py", sys.argv[1:])
