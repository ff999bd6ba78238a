"""Random poses and images, and the limbs that a plot shows of them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D


def some_poses(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(5, 60, (n, 14, 2))


def some_images(n: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (64, 40 + 5 * i, 3), dtype=np.uint8) for i in range(n)]


def limbs(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if line.get_linestyle() != "None"]
