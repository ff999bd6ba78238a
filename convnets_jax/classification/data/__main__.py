"""Checks a data set: python -m convnets_jax.classification.data DIR."""

from convnets_jax.classification.data.check import main, parser
from engine_jax.cli import run

if __name__ == "__main__":
    run(main, parser())
