"""Steps of PyTorch in a process of its own, which waits for its turn."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LAYOUTS = ("PyTorch", "PyTorch channels-last")

Step = Callable[[], float]  # takes one step and returns its seconds


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
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process of PyTorch has no pipes")

        def step(layout: str) -> float:
            stdin.write(f"{layout}\n")
            stdin.flush()
            return float(stdout.readline())

        about = json.loads(stdout.readline())
        yield about, {layout: lambda layout=layout: step(layout) for layout in LAYOUTS}
        stdin.close()  # ends its loop
