"""Training from images in files, of a data set that is larger than memory, against training from memory.

    python -m benchmarks.streaming --dir LSPET [--images 100000] [--steps 50] [--turns 7] [--json FILE]

The steps are those of stage 1 of the pose preset `small`, with its augmentation, on LSP Extended: in memory as it is,
and from its files repeated to so many images. First, training from files goes alone for all its turns, which shows how
its memory grows, and a batch is decoded alone; then both take turns of so many steps, of which the first few, whose
images could be decoded in the other's turn, don't count. Printed are the medians of the turns' steps a second and CPU
cores in use, and the ratio.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks.table import in_turns
from configs.pose import get_config
from deeppose_jax.config import PoseConfig
from deeppose_jax.data import PoseSet, open_lsp_extended, prepare
from deeppose_jax.skeleton import LSP
from deeppose_jax.stages import stage_network
from deeppose_jax.train_step import train_step
from engine_jax import cli, sharding
from engine_jax.config import from_mapping
from engine_jax.feed import make_train_call
from engine_jax.optimizer import make_optimizer
from engine_jax.placement import Placement
from engine_jax.plan import make_plan
from engine_jax.run_folder import write_json
from engine_jax.state import create_state, graph_defs

SETTINGS = from_mapping(PoseConfig, get_config("small").to_dict())
AHEAD = 5  # steps whose images may be decoded before they are asked for


class Turn(NamedTuple):
    """What a step of a turn took, and the resident memory after it."""

    seconds: float
    cores: float
    gib: float


def main(args: argparse.Namespace) -> None:
    records = open_lsp_extended(args.dir)
    data = SETTINGS.data
    framed = partial(
        prepare, canvas=data.canvas, box=data.extended_box, box_scale=data.extended_box_scale
    )
    start = time.monotonic()
    repeated = (list(records) * -(-args.images // len(records)))[: args.images]
    poses, _ = framed(repeated, in_files=True)
    opened = time.monotonic() - start
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores")
    print(f"sizes of {args.images} images read in {opened:.1f} s, {gib():.2f} GiB resident\n")

    from_files = turn_of(poses, "files", args.steps)
    alone = in_turns({"files": from_files}, args.turns)["files"]
    for number, turn in enumerate(alone, 1):
        print(f"from files alone, turn {number}: {rate(turn):.2f} steps/s, {turn.gib:.2f} GiB")
    decoded = decoding(poses, args.steps)
    size = SETTINGS.train.batch_size
    print(
        f"decoding {size} images alone: {1e3 * decoded.seconds:.1f} ms, "
        f"{1e3 * decoded.seconds * decoded.cores:.1f} ms of all cores\n",
        flush=True,
    )

    steps = {
        "memory": turn_of(framed(list(records))[0], "device", args.steps),
        "files": from_files,
    }
    found = in_turns(steps, args.turns)
    rows = {name: summary(turns) for name, turns in found.items()}
    print("| images | in all | steps/s | ms a step | of all cores |\n|---|---|---|---|---|")
    for (name, row), count in zip(rows.items(), (len(records), args.images), strict=True):
        print(
            "| {0} | {1} | {steps_per_second:.2f} | {ms:.1f} | {all_cores_ms:.1f} |".format(
                name, count, **row
            )
        )
    pairs = zip(found["memory"], found["files"], strict=True)
    ratio = statistics.median(memory.seconds / files.seconds for memory, files in pairs)
    print(f"\nsteps a second from files / from memory, median over the turns: {ratio:.3f}")
    if args.json:
        numbers = {
            "jax": jax.__version__,
            "cores": os.cpu_count(),
            "images": args.images,
            "opening_seconds": opened,
            "gib": [turn.gib for turn in alone],
            "decoding_ms": 1e3 * decoded.seconds,
            "decoding_all_cores_ms": 1e3 * decoded.seconds * decoded.cores,
            **rows,
            "ratio": ratio,
        }
        write_json(args.json, numbers)


def turn_of(poses: PoseSet, placement: Placement, steps: int) -> Callable[[], Turn]:
    """What takes so many training steps, after some that don't count, and says what each of them took."""
    stage, mesh = SETTINGS.stage(1), sharding.device_mesh(SETTINGS.train.batch_size, joint=1)
    build = partial(stage_network, stage, LSP.num_joints)
    everywhere = sharding.replicated(mesh)
    plan = make_plan(SETTINGS.train, SETTINGS.evaluation.every, len(poses), mesh)
    optimizer = make_optimizer(stage.optimizer, plan.steps)
    state = create_state(build, optimizer, jax.random.key(0), everywhere)
    step = partial(
        train_step,
        graphdef=graph_defs(build).train,
        trained=stage.transfer.trained_at_end,
        optimizer=optimizer,
        settings=SETTINGS,
        skeleton=LSP,
        key=jax.random.key(1),
    )
    batches = sharding.split(mesh, axis=1)
    train_call = make_train_call(step, poses, placement, plan, (0,), everywhere, batches)
    done = 0

    def take(count: int) -> None:
        nonlocal state, done
        until, losses = done + count, None
        while done < until:
            before = losses
            state, losses = train_call(state, done)
            done += len(losses)
            jax.block_until_ready(before)  # As training does: losses are read one call late.
        jax.block_until_ready(state)

    def turn() -> Turn:
        take(AHEAD)
        return timed(lambda: take(steps), steps)

    return turn


def decoding(poses: PoseSet, batches: int) -> Turn:
    """What decoding a batch takes, with nothing beside it."""
    size = SETTINGS.train.batch_size

    def decode() -> None:
        for i in range(batches):
            poses.canvases[i * size : (i + 1) * size]

    return timed(decode, batches)


def timed(function: Callable[[], None], count: int) -> Turn:
    """What each of `count` things took that a function does."""
    start, cores = time.perf_counter(), time.process_time()
    function()
    seconds = time.perf_counter() - start
    return Turn(seconds / count, (time.process_time() - cores) / seconds, gib())


def summary(turns: list[Turn]) -> dict[str, float]:
    """The medians of the turns."""
    return {
        "steps_per_second": statistics.median(map(rate, turns)),
        "ms": 1e3 * statistics.median(turn.seconds for turn in turns),
        "all_cores_ms": 1e3 * statistics.median(turn.seconds * turn.cores for turn in turns),
    }


def rate(turn: Turn) -> float:
    return 1 / turn.seconds


def gib() -> float:
    """This process's resident memory, as Linux says it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=(__doc__ or "").splitlines()[0]
    )
    command.add_argument("--dir", required=True, help="LSP Extended, a folder or zip archive")
    command.add_argument("--images", type=int, default=100_000, help="in files, by repetition")
    command.add_argument("--steps", type=int, default=50, help="of a turn")
    command.add_argument("--turns", type=int, default=7)
    command.add_argument("--json", type=Path, help="a file to write the numbers to")
    return command


if __name__ == "__main__":
    cli.run(main, parser())
