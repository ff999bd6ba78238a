"""Times training steps on a GPU in bfloat16, beside the same networks in PyTorch, compiled and channels-last.

    python benchmarks/gpu_steps.py [--batch 256] [--turns 7] [--json FILE]

A step is forward, backward and AdamW on noise that lies on the device: activations in bfloat16, parameters in float32.
Both sides take turns of twenty steps, ours in one compiled call, PyTorch's in a loop. Printed are the medians of a
step's milliseconds, their ratio, and the fraction of the card's peak (`--peak`, TFLOP/s dense in bfloat16) that the
arithmetic of convolutions and linear layers is, counted as three times that of the forward pass. PyTorch must be
installed beside JAX, with CUDA.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory too.

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from convnets_jax import zoo
from convnets_jax.alexnet import AlexNet, AlexNetConfig
from convnets_jax.summary import layers_of

STEPS = 20
Turn = Callable[[], float]  # runs `STEPS` steps and returns the seconds of one

# The networks, and the side of their images in pixels.
NETWORKS = {"resnet18": 128, "alexnet_lrn": 220}


def jax_turn(name: str, size: int, batch: int) -> tuple[Turn, float]:
    """Our step, and the operations of a batch: three forward passes, a multiply-add counted as two."""
    if name == "alexnet_lrn":
        config = AlexNetConfig(input_size=size, widths=(96, 256, 384, 384, 256), norm="lrn")
        model = AlexNet(config, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    else:
        model = zoo.create(name, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = optax.adamw(1e-4)
    images = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    labels = jnp.zeros(batch, int)

    def loss_of(params: Any, rest: Any) -> tuple[jax.Array, Any]:
        model = nnx.merge(graphdef, params, rest, copy=True)
        logits = model(images, nnx.Rngs(0)) if name == "alexnet_lrn" else model(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, nnx.state(model, nnx.Not(nnx.Param))

    @jax.jit
    def steps(state: Any) -> Any:
        def one(state: Any, _: None) -> tuple[Any, None]:
            params, rest, moments = state
            (_, rest), grads = jax.value_and_grad(loss_of, has_aux=True)(params, rest)
            updates, moments = optimizer.update(grads, moments, params)
            return (optax.apply_updates(params, updates), rest, moments), None

        return jax.lax.scan(one, state, None, STEPS)[0]

    found = layers_of(model, (size, size, 3))
    flops = 3 * 2 * batch * sum(layer.multiply_adds for layer in found)
    state = jax.block_until_ready(steps((params, rest, optimizer.init(params))))

    def turn() -> float:
        nonlocal state
        start = time.perf_counter()
        state = jax.block_until_ready(steps(state))
        return (time.perf_counter() - start) / STEPS

    return turn, float(flops)


def torch_turn(name: str, size: int, batch: int) -> Turn:
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    if name == "resnet18":
        import torchvision  # pyright: ignore[reportMissingImports]

        model = torchvision.models.resnet18()
    else:
        model = nn.Sequential(
            *(nn.Conv2d(3, 96, 11, 4, 2), nn.ReLU(True), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)),
            nn.MaxPool2d(3, 2),
            *(nn.Conv2d(96, 256, 5, 1, 2), nn.ReLU(True)),
            *(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU(True)),
            *(nn.Conv2d(384, 384, 3, 1, 1), nn.ReLU(True)),
            *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(3, 2), nn.Flatten()),
            *(nn.Dropout(0.5), nn.LazyLinear(4096), nn.ReLU(True)),
            *(nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(True), nn.Linear(4096, 1000)),
        )
    device = torch.device("cuda")
    model = model.to(device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    model(images[:2])  # gives lazy layers their shapes
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    compiled = torch.compile(model)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = nn.functional.cross_entropy(compiled(images), labels)
        loss.backward()
        optimizer.step()

    def turn() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / STEPS

    turn()
    return turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s; an H100's or H200's")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, batch {arguments.batch}")
    rows = []
    for name in arguments.networks:
        size = NETWORKS[name]
        ours, flops = jax_turn(name, size, arguments.batch)
        theirs = torch_turn(name, size, arguments.batch)
        times = [(ours(), theirs()) for _ in range(arguments.turns)]
        seconds, others = (statistics.median(each) for each in zip(*times, strict=True))
        rows.append(
            {
                "network": name,
                "size": size,
                "batch": arguments.batch,
                "ms": 1e3 * seconds,
                "pytorch_ms": 1e3 * others,
                "ratio": statistics.median(b / a for a, b in times),
                "peak_fraction": flops / seconds / arguments.peak / 1e12,
            }
        )
        print(
            "{network:14} {size} px: {ms:.2f} ms, PyTorch {pytorch_ms:.2f} ms, PyTorch / ours {ratio:.2f}, "
            "{peak_fraction:.1%} of the peak".format(**rows[-1]),
            flush=True,
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
