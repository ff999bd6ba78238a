"""Steps of PyTorch in a process of its own, which waits for its turn."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

LAYOUTS = ("PyTorch", "PyTorch channels-last")


class Seconds(NamedTuple):
    """What a step took: on the clock, and of all cores together, which other programs slow less."""

    wall: float
    cores: float


Step = Callable[[], Seconds]


@contextlib.contextmanager
def torch_steps(
    python: str, job: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Step]]]:
    """What `torch_steps.py` says of a job's network, and its steps, of either layout of the arrays.

    Args:
        python: an interpreter that has PyTorch.
        job: see there.
    """
    program = Path(__file__).parent / "torch_steps.py"
    command = [python, "-W", "ignore", str(program), json.dumps(job)]
    pipe = subprocess.PIPE
    # Threads that wait for each other in loops take several times as long where other programs need the cores.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process of PyTorch has no pipes")

        def step(layout: str) -> Seconds:
            stdin.write(f"{layout}\n")
            stdin.flush()
            return Seconds(*json.loads(stdout.readline()))

        about = json.loads(stdout.readline())
        yield about, {layout: lambda layout=layout: step(layout) for layout in LAYOUTS}
        stdin.close()  # ends its loop
