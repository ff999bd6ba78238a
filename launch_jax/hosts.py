"""Several processes, usually one on each host, that train together."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from engine_jax.errors import UserError, failed_computation
from engine_jax.interruption import end_without_teardown
from launch_jax.rendezvous import check_address, meet

# Seconds after which a process that says nothing any more counts as gone.
_SILENCE = 60


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several; what is None the cluster tells.

    Raises:
        UserError: the others can't be joined; with JAX's reason where the cluster tells.
    """
    if coordinator is not None:
        check_address(coordinator)
        if processes is not None and process is not None:
            meet(coordinator, processes, process)
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=_SILENCE
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"--distributed: {str(error).rstrip('.')}; where the cluster doesn't tell, it takes "
            "--coordinator=HOST:PORT --processes=N --process=I"
        ) from error


@contextmanager
def together() -> Iterator[None]:
    """What is done within it is done by several processes.

    Raises:
        UserError: a computation failed, as it does when another process has ended.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        ours = isinstance(error, UserError)
        if not ours and not failed_computation(error):
            raise
        # At exit JAX would wait for the other processes, and then abort.
        end_without_teardown(1)
        if ours:
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"this process can't go on, probably because another one has ended ({reason}); "
            "start all of them again with the same arguments to go on from the last checkpoint"
        ) from error
