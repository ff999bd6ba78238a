"""Plots of a classification run: arrays and numbers in, a matplotlib Figure that belongs to the caller out.

    from engine_jax.plots import save

    save(confusion(matrix, class_names), "confusion.png")

The loss by epoch is `engine_jax.plots.loss_curves`.
"""

from convnets_jax.classification.plots.confusion import confusion
from convnets_jax.classification.plots.epochs import accuracy_curves
from convnets_jax.classification.plots.examples import examples
from convnets_jax.classification.plots.filters import filters

__all__ = ["accuracy_curves", "confusion", "examples", "filters"]
