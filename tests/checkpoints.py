"""What runs' checkpoints hold."""

from pathlib import Path

import numpy as np
from orbax.checkpoint import v1 as ocp

from engine_jax.checkpoint import steps


def last_arrays(part: Path) -> dict[str, np.ndarray]:
    """The arrays of the newest checkpoint in a part's folder, by name, but for the seconds that it took."""
    newest = part / "last" / str(steps(part / "last")[0])
    held = ocp.metadata(str(newest)).metadata
    blank = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in held.items()}
    arrays = ocp.load(str(newest), blank)
    return {name: np.asarray(array) for name, array in arrays.items() if "seconds" not in name}
