"""Plots of a classification run: arrays and numbers in, a matplotlib Figure that belongs to the caller out.

    from engine_jax.plots import save

    save(confusion(matrix, class_names), "confusion.png")

The loss by epoch is `engine_jax.plots.loss_curves`.
"""

from classify_jax.plots.confusion import confusion
from classify_jax.plots.epochs import accuracy_curves
from classify_jax.plots.examples import examples
from classify_jax.plots.filters import filters

__all__ = ["accuracy_curves", "confusion", "examples", "filters"]
