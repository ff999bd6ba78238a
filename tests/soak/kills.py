"""A run is killed, told to stop or interrupted at random moments; each time it is resumed to its end.

    python -m tests.soak kills

A try is right when the run ends as one that was never stopped, bit for bit; SIGTERM must end it within 30 s with
status 143, Ctrl-C with 130, each with a line on how to go on.
"""

import random
import signal
import tempfile
import time
from pathlib import Path

from tests.soak.small_run import finish, same, start

EPOCHS = 12
KINDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def run(count: int = 30, seed: int = 0) -> list[str]:
    """Tries `count` moments; returns the failures."""
    chance, failures = random.Random(seed), []
    with tempfile.TemporaryDirectory() as name:
        expected = Path(name) / "expected"
        status, said = finish(expected, EPOCHS)
        assert status == 0, said
        begun = time.monotonic()
        finish(Path(name) / "timed", EPOCHS)
        takes = time.monotonic() - begun
        for i in range(count):
            kind, after = KINDS[i % len(KINDS)], chance.uniform(0.1, 1.0) * takes
            failure = _try(Path(name) / str(i), expected, kind, after)
            print(f"{kind.name} after {after:.1f} s: {failure or 'right'}", flush=True)
            if failure:
                failures.append(f"{kind.name} after {after:.1f} s: {failure}")
    print(f"kills: {count - len(failures)} of {count} right")
    return failures


def _try(workdir: Path, expected: Path, kind: signal.Signals, after: float) -> str | None:
    process = start(workdir, EPOCHS)
    time.sleep(after)
    process.send_signal(kind)
    sent = time.monotonic()
    said = process.communicate()[1]
    if time.monotonic() - sent > 30:
        return "took more than 30 s to end"
    # Before the run has begun, and after its end, the signal meets no handler of ours.
    early = "images" not in said
    late = "results in " in said and process.returncode == -kind
    if process.returncode != 0 and not early and not late:
        wanted = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[kind]
        if process.returncode != wanted:
            return f"status {process.returncode}: {said[-500:]}"
        line = said.strip().splitlines()[-1]
        if kind != signal.SIGKILL and "the same command goes on" not in line:
            return f"its last line is {line!r}"
    if "Traceback" in said and not early:
        return f"a traceback: {said[-500:]}"
    status, said = finish(workdir, EPOCHS)
    if status:
        return f"not resumed: {said[-500:]}"
    return None if same(workdir, expected) else "other parameters or losses"
