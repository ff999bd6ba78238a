"""Checks a data set: python -m deeppose_jax.data DIR [--labels OC], or FILE.json [--images DIR]."""

from deeppose_jax.data.check import main, parser
from engine_jax.cli import run

if __name__ == "__main__":
    run(main, parser())
