"""How names of thresholds, defects and images are written, and what thresholds look like in every plot."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_hex

from engine_jax.plots import INK, SERIES, shorten

ORACLE = "oracle"
_DASHED = (0, (4, 2))
# Apart from the blues of the grid.
_NAMED = (SERIES[1], SERIES[3], SERIES[4], SERIES[2])


def display_name(name: str, length: int = 24) -> str:
    """A name as it is shown: underscores become spaces, and of a long one the last `length` letters are kept."""
    return shorten(name.replace("_", " "), length)


def is_number(name: str) -> bool:
    """Whether a threshold's name is its value."""
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False


def line_styles(thresholds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each threshold's line is drawn: a grid's in shades of blue, an oracle's dashed, others in colours."""
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
