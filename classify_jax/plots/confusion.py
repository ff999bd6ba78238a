"""The confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from engine_jax.plots import FAINT, INK, WIDTH, shorten

_NUMBERED, _NAMED = (
    20,
    60,
)  # largest number of classes for counts in the cells, and for names beside them


def confusion(matrix: Int[np.ndarray, "k k"], class_names: Sequence[str]) -> Figure:
    """The share of each class's images (rows) that are predicted as each class (columns), with counts if they fit.

    Raises:
        ValueError: the matrix is not square, or its size is not the number of names.
    """
    k = len(class_names)
    if matrix.shape != (k, k):
        raise ValueError(f"matrix is {matrix.shape}, not {(k, k)}")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(WIDTH, 0.88 * WIDTH), layout="constrained")
    ax = figure.add_subplot()
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.set_title("Confusion matrix", fontsize=10, color=INK, loc="left")
    ax.set_xlabel("predicted", fontsize=9, color=INK)
    ax.set_ylabel("true", fontsize=9, color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelsize=8 if k <= _NUMBERED else 6, labelcolor=INK)
    if k <= _NAMED:
        names = [shorten(name, 18, keep="start") for name in class_names]
        ax.set_xticks(range(k), names, rotation=90 if k > 6 else 0)
        ax.set_yticks(range(k), names)
    if k <= _NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.55 else INK
            look = {"fontsize": 8, "ha": "center", "va": "center", "color": colour}
            ax.text(column, row, str(matrix[row, column]), **look)
    bar = figure.colorbar(image, ax=ax, shrink=0.6, format=lambda share, _: f"{100 * share:.0f} %")
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    bar.set_label("of the true class", fontsize=8, color=INK)
    return figure
