"""The pictures of a run: drawn after its results are written, and never a reason to lose them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine_jax.errors import reason


@contextmanager
def drawing(path: Path) -> Iterator[Path]:
    """Inside, the picture of this path is drawn and saved; if it can't be, a warning says why, and the run goes on."""
    try:
        yield path
    except Exception as error:  # Whatever it is, the results don't depend on it.
        logging.debug("%s", path, exc_info=True)
        said = str(error) if str(error).startswith(str(path)) else f"{path}: {reason(error)}"
        logging.warning("not drawn: %s", said)
