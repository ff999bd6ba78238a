"""Times one training step of AlexNet on CPU, beside XLA's own forms of its layers and beside PyTorch.

    python -m benchmarks.alexnet_step [--config deeppose] [--batch 32] [--turns 8] [--torch PYTHON] [--json FILE]

A step is forward, backward and Adam in float32, on noise. The forms take turns, so that whatever
else the machine does slows all of them. Printed for each: its median and least time, and the
median over the turns of its ratio to ours. "plain" is the same network with XLA's own
gradient of max pooling, a power in the normalisation and no padding of the first layer's input.
PYTHON is an interpreter that has PyTorch, which runs in a process of its own and waits in between.
"""

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.other_process import torch_steps
from benchmarks.table import in_turns, show_times
from convnets_jax import alexnet, layers, pooling
from convnets_jax.alexnet import CONFIGS, AlexNetConfig


def jax_step(config: Any, batch: int, plain: bool) -> Callable[[], float]:
    def plain_pool(x, window, stride, padding):
        del padding  # it is 0 in AlexNet
        return nnx.max_pool(x, (window, window), (stride, stride), "VALID")

    def plain_norm(x):
        window, padding = (1, 1, 1, 5), ((0, 0), (0, 0), (0, 0), (2, 2))
        total = jax.lax.reduce_window(x * x, 0.0, jax.lax.add, window, (1,) * 4, padding)
        return x * (2.0 + 1e-4 * total) ** -0.75

    model = alexnet.AlexNet(config, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adam(1e-4)
    size = config.input_size
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jnp.zeros(batch, int)

    def train_step(params, opt_state):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            logits = model(images, nnx.Rngs(0))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    state = params, optimizer.init(params)
    with contextlib.ExitStack() as stack:
        if plain:
            stack.enter_context(mock.patch.object(pooling, "max_pool", plain_pool))
            stack.enter_context(mock.patch.object(layers, "local_response_norm", plain_norm))
            features = alexnet.AlexNetFeatures
            stack.enter_context(mock.patch.object(features, "_extra_pixels", return_value=0))
        compiled = jax.jit(train_step, donate_argnums=(0, 1)).lower(*state).compile()

    def step() -> float:
        nonlocal state
        start = time.perf_counter()
        *state, _ = jax.block_until_ready(compiled(*state))
        return time.perf_counter() - start

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a training step of AlexNet.")
    parser.add_argument("--config", default="deeppose", choices=("deeppose", "alexnet_lrn"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    config = {"deeppose": AlexNetConfig.deeppose(), **CONFIGS}[args.config]
    with contextlib.ExitStack() as stack:
        steps = {name: jax_step(config, args.batch, name == "plain") for name in ("ours", "plain")}
        if args.torch:
            job = {"network": "alexnet", "batch": args.batch, "size": config.input_size}
            job |= {"optimizer": "Adam", "options": dataclasses.asdict(config)}
            _, theirs = stack.enter_context(torch_steps(args.torch, job))
            steps |= {name: lambda step=step: step().wall for name, step in theirs.items()}
        seconds = in_turns(steps, args.turns)
    title = (
        f"a step of {args.config}, batch {args.batch}, {config.input_size} px, {args.turns} turns"
    )
    show_times(title, seconds, "ours", args.json)


if __name__ == "__main__":
    main()
