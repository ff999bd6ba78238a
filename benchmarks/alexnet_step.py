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
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

Step = Callable[[], float]  # takes one step and returns its seconds


def jax_step(config: Any, batch: int, plain: bool) -> Step:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from convnets_jax import alexnet, layers, pooling

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


def torch_step(config: dict[str, Any], batch: int) -> Step:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    size, kernel, stride = (config[k] for k in ("input_size", "first_kernel", "first_stride"))
    blocks, channels = [], 3
    if config["first_padding"] == "SAME":
        total = (-(-size // stride) - 1) * stride + kernel - size
        low, high = total // 2, total - total // 2
        blocks.append(nn.ZeroPad2d((low, high, low, high)))
    kernels = (kernel, 5, 3, 3, 3)
    for i, (width, kernel) in enumerate(zip(config["widths"], kernels, strict=True)):
        # The first layer's padding is above.
        strides, padding = (1, kernel // 2) if i else (stride, 0)
        blocks += [nn.Conv2d(channels, width, kernel, strides, padding), nn.ReLU(inplace=True)]
        if config["norm"] == "lrn" and i < 2:
            blocks.append(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0))  # it divides alpha by 5
        if i in (0, 1, 4):
            blocks.append(nn.MaxPool2d(3, 2))
        channels = width
    blocks.append(nn.Flatten())
    images = torch.randn(batch, 3, size, size)
    with torch.no_grad():
        channels = nn.Sequential(*blocks)(images[:1]).shape[1]
    for width in config["hidden"]:
        blocks += [nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Dropout(config["dropout"])]
        channels = width
    model = nn.Sequential(*blocks, nn.Linear(channels, config["num_classes"]))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    labels = torch.zeros(batch, dtype=torch.long)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


@contextlib.contextmanager
def other_process(python: str, config: Any, batch: int):
    """A step of PyTorch in a process that waits for its turn."""
    job = json.dumps({"config": dataclasses.asdict(config), "batch": batch})
    command = [python, "-W", "ignore", __file__, "--torch-job", job]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the process of PyTorch has no pipes")

        def step() -> float:
            stdin.write("step\n")
            stdin.flush()
            return float(stdout.readline())

        yield step
        stdin.close()  # ends its loop


def main() -> None:
    parser = argparse.ArgumentParser(description="Times a training step of AlexNet.")
    parser.add_argument("--config", default="deeppose", choices=("deeppose", "alexnet_lrn"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--torch-job", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="a file to write the times to")
    args = parser.parse_args()
    if args.torch_job:
        step = torch_step(**json.loads(args.torch_job))
        for _ in sys.stdin:
            print(step(), flush=True)
        return

    from benchmarks.table import show_times
    from convnets_jax.alexnet import CONFIGS, AlexNetConfig

    config = {"deeppose": AlexNetConfig.deeppose(), **CONFIGS}[args.config]
    with contextlib.ExitStack() as stack:
        steps = {name: jax_step(config, args.batch, name == "plain") for name in ("ours", "plain")}
        if args.torch:
            steps["torch"] = stack.enter_context(other_process(args.torch, config, args.batch))
        seconds = {name: [] for name in steps}
        for turn in range(args.turns + 1):
            for name, step in steps.items():
                taken = step()
                if turn:  # the first turn warms up
                    seconds[name].append(taken)
    title = (
        f"a step of {args.config}, batch {args.batch}, {config.input_size} px, {args.turns} turns"
    )
    show_times(title, seconds, "ours", args.json)


if __name__ == "__main__":
    main()
