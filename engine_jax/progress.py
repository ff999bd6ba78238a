"""The progress of a training run: a bar on a terminal, plain lines elsewhere."""

import logging
import sys
import time

from tqdm import tqdm


class Progress:
    """Steps done of all, with the loss, images/s and the time left.

    Args:
        total: steps of the whole run.
        done: steps that an earlier start of the run has taken.
        batch_size: images a step.
        every: seconds between two plain lines.
    """

    def __init__(self, total: int, done: int, batch_size: int, every: float = 30.0):
        self._total, self._first, self._done = total, done, done
        self._batch_size, self._every = batch_size, every
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit="step") if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int, loss: float) -> None:
        self._done += steps
        now = time.monotonic()
        rate = (self._done - self._first) / max(now - self._start, 1e-9)
        images = f"{rate * self._batch_size:.1f} images/s"
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}, {images}", refresh=False)
            self._bar.update(steps)
        elif now - self._last_line >= self._every:
            self._last_line = now
            left = _clock((self._total - self._done) / rate)
            logging.info(
                "step %d/%d, loss %.4g, %s, %s left", self._done, self._total, loss, images, left
            )

    def line(self, text: str) -> None:
        """Prints a line without tearing the bar."""
        if self._bar is not None:
            tqdm.write(text, file=sys.stderr)
        else:
            logging.info("%s", text)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
