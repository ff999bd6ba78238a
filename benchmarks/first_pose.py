"""Times the packaged pose model in fresh processes: import and load, the first pose, and the poses after it.

    python -m benchmarks.first_pose IMAGE... [--turns 5] [--json FILE]

Each pose is of one whole image, from the first to the last image given, of which there are at least two. "Next pose" is
the least of a process, since what else the machine does slows the others.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path


def times(images: list[str]) -> dict[str, float]:
    """Seconds in this process, in which nothing of the package was imported before."""
    begun = time.perf_counter()
    import deeppose_jax

    model = deeppose_jax.load()
    loaded = time.perf_counter()
    ends = []
    for image in images:
        model.predict([image])
        ends.append(time.perf_counter())
    following = [end - start for start, end in itertools.pairwise(ends)]
    return {
        "import and load": loaded - begun,
        "first pose": ends[0] - loaded,
        "next pose": min(following),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the first and later poses of an image.")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    if len(args.images) < 2:
        parser.error("give two images or more")
    program = "import json, sys; from benchmarks.first_pose import times; print(json.dumps(times(sys.argv[1:])))"
    seconds: dict[str, list[float]] = {}
    for _ in range(args.turns):
        command = [sys.executable, "-c", program, *args.images]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for name, value in json.loads(said).items():
            seconds.setdefault(name, []).append(value)
    from benchmarks.table import show_times  # It imports JAX, which is timed.

    title = f"the model that comes with the package, {args.turns} processes"
    show_times(title, seconds, "next pose", args.json)


if __name__ == "__main__":
    main()
