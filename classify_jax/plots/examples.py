"""Images with their predicted classes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from engine_jax.plots import INK, WIDTH, shorten

RIGHT, WRONG = "#0072B2", "#D55E00"  # from Okabe and Ito's palette for the colour blind
_COLUMNS = 6
_TITLE, _CAPTION = 0.35, 0.36  # inches


def examples(
    images: UInt8[np.ndarray, "n s s 3"],
    probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """A grid of images, each above its predicted class with the probability, and the true class if that differs.

    Raises:
        ValueError: there are no images, or the shapes do not fit.
    """
    n = len(images)
    if not n or labels.shape != (n,) or probabilities.shape != (n, len(class_names)):
        shapes = (images.shape, probabilities.shape, labels.shape)
        raise ValueError(f"shapes {shapes} of {len(class_names)} classes do not fit")
    names = [shorten(name, 16, keep="start") for name in class_names]
    tile = WIDTH / _COLUMNS
    rows = -(-n // _COLUMNS)
    height = _TITLE + rows * (tile + _CAPTION)
    figure = Figure(figsize=(WIDTH, height))
    figure.text(0.01, 1 - 0.2 / height, title, fontsize=10, color=INK, va="center")
    for i in range(n):
        row, column = divmod(i, _COLUMNS)
        top = height - _TITLE - row * (tile + _CAPTION)
        box = (column / _COLUMNS, (top - tile) / height, 1 / _COLUMNS, tile / height)
        ax = figure.add_axes((box[0] + 0.004, box[1], box[2] - 0.008, box[3]))
        ax.imshow(images[i], interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        found = int(probabilities[i].argmax())
        right = found == labels[i]
        text = f"{names[found]} {100 * probabilities[i, found]:.0f} %"
        if not right:
            text += f"\ntrue: {names[labels[i]]}"
        look = {"fontsize": 7.5, "color": RIGHT if right else WRONG, "va": "top"}
        figure.text(box[0] + 0.004, box[1] - 0.03 / height, text, **look)
    return figure
