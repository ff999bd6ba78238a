"""What a training program does when it is told to stop: by SIGTERM, as of a machine that is taken away, or Ctrl-C."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Machines that are taken away leave some thirty seconds; XLA may be in a call that takes longer.
_LIMIT = 25.0
# Seconds until a signal comes again whose exception was lost.
_AGAIN = 0.05


class Interrupted(BaseException):
    """The program was told to stop.

    Notes say what was saved. Not an Exception, like KeyboardInterrupt, so that nothing takes it for an error.

    Attributes:
        signal: that told so.
        together: whether all processes that train together stop at the same step; else this one alone does.
    """

    def __init__(self, number: int, together: bool = False):
        super().__init__(signal.Signals(number).name)
        self.signal = number
        self.together = together

    @property
    def status(self) -> int:
        """The exit status that shells give a process which ends by this signal."""
        return 128 + self.signal


class _Pending:
    """Whether signals wait, and the one that does. Signals come to the main thread only."""

    waiting = False
    signal: int | None = None


@contextmanager
def postponed() -> Iterator[None]:
    """Inside, what must not be cut in two is finished first; `Interrupted` is raised at the end."""
    _Pending.waiting = True
    try:
        yield
    finally:
        _Pending.waiting = False
    if _Pending.signal is not None:
        number, _Pending.signal = _Pending.signal, None
        raise Interrupted(number)


def end_without_teardown(status: int) -> None:
    """Makes the program end with `status` as soon as Python begins to exit, with what it printed.

    Nothing else is taken down: XLA's threads may still compile, by which Python's exit crashes now and then, or wait
    for other processes.
    """
    atexit.register(_end, status)


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, SIGTERM and Ctrl-C raise `Interrupted`; the second one ends the program at once.

    A program that hasn't ended 25 s later, because it is in one long call, is ended with what it saved before.
    Where Python can't pass the exception on, as from a destructor, it is raised again a moment later.
    Nothing happens outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heed(number: int, frame: FrameType | None) -> None:
        del frame
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        if _Pending.waiting:
            _Pending.signal = number
        else:
            raise Interrupted(number)

    def heed_again(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            hook(unraisable)
            return
        number = unraisable.exc_value.signal
        for each in numbers:
            signal.signal(each, heed)

        def send() -> None:
            if not done.is_set():
                os.kill(os.getpid(), number)

        timer = threading.Timer(_AGAIN, send)
        timer.daemon = True
        timer.start()

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, heed) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, heed_again
    # Python's handlers wait for a call into XLA to return; the byte comes at once.
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write)
    done = threading.Event()
    watch = threading.Thread(target=_end_late, args=(read, done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        sys.unraisablehook = hook
        signal.set_wakeup_fd(wakeup)
        os.close(write)  # Ends the thread.
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_late(read: int, done: threading.Event) -> None:
    with os.fdopen(read, "rb", buffering=0) as pipe:
        for byte in iter(lambda: pipe.read(1), b""):
            if byte[0] not in (signal.SIGTERM, signal.SIGINT):
                continue
            if not done.wait(_LIMIT):
                name = signal.Signals(byte[0]).name
                print(f"interrupted by {name}; what was saved before stays", file=sys.stderr)
                sys.stderr.flush()
                os._exit(128 + byte[0])
