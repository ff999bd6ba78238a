"""Processes that are to train together meet before JAX connects them, which ends a process that it can't connect.

Process 0 listens at the coordinator's port, where JAX's own service follows. Every other process says its number and
how many there are, in a line of JSON, and hears in another one whether all have come.
"""

import json
import socket
import time
from contextlib import ExitStack

from engine_jax.errors import UserError, listed, reason

# Seconds that processes have to come, as JAX gives them.
LIMIT = 300.0
_WORD = 10.0  # for a line once there is a connection
_PAUSE = 0.2  # between two attempts to connect
_LINE = 4096  # bytes of a line, at most


def meet(coordinator: str, processes: int, process: int, limit: float | None = None) -> None:
    """Returns when all processes have come.

    Args:
        coordinator: "HOST:PORT" of process 0.
        processes: how many there are.
        process: which of them this is, from 0.
        limit: seconds to wait for the others, by default `LIMIT`.

    Raises:
        UserError: numbers or an address that can't be, a port in use, a process that didn't come, or one that was
            started with another number of processes.
    """
    host, port = check_address(coordinator)
    if processes < 1:
        raise UserError(f"--processes: {processes}; accepted: at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process: {process}; accepted: 0 to {processes - 1}")
    limit = LIMIT if limit is None else limit
    deadline = time.monotonic() + limit
    if process == 0:
        _gather(port, processes, deadline, limit)
    else:
        _greet(host, port, processes, process, deadline, limit)


def check_address(coordinator: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT".

    Raises:
        UserError: for any other text.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator: {coordinator!r}; accepted: HOST:PORT, with a port from 1 to 65535"
        )
    return host.strip("[]"), int(port)


def _gather(port: int, processes: int, deadline: float, limit: float) -> None:
    """Process 0: waits for the others, and tells them what came of it."""
    with ExitStack() as stack:
        try:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise UserError(
                f"--coordinator: port {port} of this host can't be used ({reason(error)})"
            ) from error
        stack.enter_context(server)
        came: dict[int, socket.socket] = {}
        refused = None
        while refused is None and len(came) < processes - 1:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = [str(i) for i in range(1, processes) if i not in came]
                refused = f"no process {listed(missing)} of {processes} came within {limit:g} s"
                break
            said = _heard(connection) or {}
            number, total = said.get("process"), said.get("processes")
            if not isinstance(number, int) or not isinstance(total, int):
                continue  # Whoever it was, it was none of ours.
            if total != processes:
                refused = (
                    f"process {number} was started with --processes={total}, process 0 with "
                    f"--processes={processes}; accepted: the same number everywhere"
                )
            came[number] = connection
        for connection in came.values():
            _say(connection, {"refused": refused})
    if refused is not None:
        raise UserError(f"--distributed: {refused}")


def _greet(
    host: str, port: int, processes: int, process: int, deadline: float, limit: float
) -> None:
    """Any other process: says which it is, and waits until process 0 says that all have come."""
    why = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=min(left, _WORD)) as connection:
                _say(connection, {"process": process, "processes": processes})
                # It waits for the others as long as this process does, and may have begun later.
                answer = _heard(connection, limit + _WORD)
        except OSError as error:
            why = reason(error)
        else:
            if answer is not None and "refused" in answer:
                if answer["refused"] is not None:
                    raise UserError(f"--distributed: {answer['refused']}")
                return
            why = "what answers there isn't process 0, or ended"
        time.sleep(min(_PAUSE, left))
    raise UserError(
        f"--coordinator: process 0 isn't reached at {host}:{port} within {limit:g} s ({why})"
    )


def _say(connection: socket.socket, words: dict[str, object]) -> None:
    try:
        connection.sendall(json.dumps(words).encode() + b"\n")
    except OSError:
        return  # It has gone; JAX will miss it.


def _heard(connection: socket.socket, limit: float = _WORD) -> dict[str, object] | None:
    """A line of JSON from the other side; None if it says something else or nothing."""
    connection.settimeout(limit)
    try:
        with connection.makefile("rb") as lines:
            words = json.loads(lines.readline(_LINE))
    except (OSError, ValueError):
        return None
    return words if isinstance(words, dict) else None
