"""The filters of the first layer as pictures."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from engine_jax.plots import INK, WIDTH

_COLUMNS = 12


def filters(kernel: Float[np.ndarray, "k k 3 o"]) -> Figure:
    """The first layer's filters as colours, each scaled by its largest absolute weight; grey is 0.

    Raises:
        ValueError: the kernel does not have three input channels.
    """
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ValueError(f"kernel is {kernel.shape}, not [k, k, 3, o]")
    pictures = kernel.transpose(3, 0, 1, 2)  # [o, k, k, 3]
    largest = np.abs(pictures).max((1, 2, 3), keepdims=True)
    pictures = 0.5 + 0.5 * pictures / np.maximum(largest, 1e-12)
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    side = WIDTH / _COLUMNS
    figure = Figure(figsize=(WIDTH, 0.35 + rows * side))
    width, height = figure.get_size_inches()
    title = f"First layer: {len(pictures)} filters of {kernel.shape[0]} x {kernel.shape[1]}"
    figure.text(0.01, 1 - 0.2 / height, title, fontsize=10, color=INK, va="center")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        left, bottom = column * side + 0.03, height - 0.35 - (row + 1) * side + 0.03
        inner = side - 0.06
        ax = figure.add_axes((left / width, bottom / height, inner / width, inner / height))
        ax.imshow(picture, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure
