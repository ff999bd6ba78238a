"""The losses of train calls, read when the device has the next call to work on."""

from collections.abc import Callable

import jax
import numpy as np


class LateLosses:
    """Passes on the losses of each train call when the next one is sent: reading them waits for the device.

    Args:
        log: takes the number of steps before a call, and the losses of its steps, float64 [steps].
    """

    def __init__(self, log: Callable[[int, np.ndarray], None]):
        self._log = log
        self._unread: tuple[int, jax.Array] | None = None

    def add(self, step: int, losses: jax.Array) -> None:
        """Takes the losses of the call after `step` steps, and passes on those of the call before."""
        before, self._unread = self._unread, (step, losses)
        self._pass_on(before)

    def read(self) -> None:
        """Passes on what is left."""
        last, self._unread = self._unread, None
        self._pass_on(last)

    def _pass_on(self, call: tuple[int, jax.Array] | None) -> None:
        if call is not None:
            step, losses = call
            self._log(step, np.asarray(jax.device_get(losses), np.float64))
