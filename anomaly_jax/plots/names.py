"""Names of thresholds, defects and images as plots show them, and the line styles of thresholds."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from engine_jax.plots import INK, SERIES, shorten

ORACLE = "oracle"
_DASHED = (0, (4, 2))
# Distinct from the blues of the grid.
_NAMED = (SERIES[1], SERIES[3], SERIES[4], SERIES[2])


def display_name(name: str, length: int = 24) -> str:
    """A name with spaces for underscores; a long one keeps its end, at most `length` letters in all."""
    return shorten(name.replace("_", " "), length)


def is_number(name: str) -> bool:
    """Whether a threshold is named by its value."""
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def line_styles(thresholds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The line style of each threshold: shades of blue for a grid, dashed for an oracle, other colours for the rest."""
    grid = sorted((name for name in thresholds if is_number(name)), key=float)
    shades = matplotlib.colormaps["Blues"]
    looks: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(grid):
        shade = 0.45 + 0.55 * (i + 1) / len(grid)
        looks[name] = {"color": to_hex(shades(shade)), "linestyle": "-"}
    for name in thresholds:
        if name not in looks and ORACLE in name:
            looks[name] = {"color": INK, "linestyle": _DASHED}
        elif name not in looks:
            colour = _NAMED[(len(looks) - len(grid)) % len(_NAMED)]
            looks[name] = {"color": colour, "linestyle": "-"}
    return {name: looks[name] for name in thresholds}
