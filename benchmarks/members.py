"""Times a training step of several members side by side beside as many steps of one.

    python -m benchmarks.members [--preset base] [--members 4] [--batch 8] [--turns 5] [--json FILE]

Both take augmentation, forward, backward and Adam. The two take turns, so that whatever else the machine does slows
both. Printed: the least time of each, its ratio to members x one's, and the median over the turns of that ratio.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from anomaly_jax.config import AnomalyConfig
from anomaly_jax.detector import Detector
from anomaly_jax.folds import Batch
from anomaly_jax.train_step import train_step
from benchmarks.table import show_times
from configs.anomaly import get_config
from engine_jax.config import from_mapping
from engine_jax.optimizer import make_optimizer
from engine_jax.sharding import device_mesh, replicated
from engine_jax.state import create_state, graph_defs

Step = Callable[[], float]  # takes one step and returns its seconds


def compiled_step(preset: str, members: int, batch: int) -> Step:
    config = get_config(preset)
    config.members = members
    settings = from_mapping(AnomalyConfig, config.to_dict())
    size = settings.model.input_size
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    optimizer = make_optimizer(settings.optimizer, 1000)
    build = partial(Detector, settings.detector)
    state = create_state(
        build, optimizer, jax.random.key(0), replicated(device_mesh()), stack=members
    )
    step = partial(
        train_step,
        graphdef=graph_defs(build).train,
        optimizer=optimizer,
        settings=settings,
        key=jax.random.key(1),
    )
    samples = jax.device_put(Batch(images))
    compiled = jax.jit(step, donate_argnums=0).lower(state, samples).compile()

    def timed() -> float:
        nonlocal state
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, samples))
        return time.perf_counter() - start

    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a training step of several members.")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    one = compiled_step(args.preset, 1, args.batch)
    several = compiled_step(args.preset, args.members, args.batch)
    ones: list[float] = []
    times: list[float] = []
    for turn in range(args.turns + 1):
        alone = sum(one() for _ in range(args.members))
        together = several()
        if turn:  # The first one warms up.
            ones.append(alone)
            times.append(together)
    alone, together = f"{args.members} steps of one", f"one step of {args.members}"
    title = f"a step of {args.preset}, batch {args.batch}, {args.turns} turns"
    show_times(title, {alone: ones, together: times}, alone, args.json)


if __name__ == "__main__":
    main()
