"""Checks a data set: python -m classify_jax.data DIR."""

from classify_jax.data.check import main, parser
from engine_jax.cli import run

if __name__ == "__main__":
    run(main, parser())
