"""Training steps of this package's networks in PyTorch; runs in an interpreter that needs nothing else.

`benchmarks.other_process` starts it with a job as JSON: {"network": a function below, "batch", "size": pixels,
"optimizer": a class of torch.optim, "options": the function's}. It prints one line of JSON: PyTorch's version, the
network's parameters, and the multiply-adds of its convolutions and linear layers for the batch. Then, for each line
with the name of a layout, it takes one step on noise and prints the seconds, and those of all cores together.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

Loss = Callable[[Any], Any]  # of the network's outputs
LAYOUTS = {"PyTorch": torch.contiguous_format, "PyTorch channels-last": torch.channels_last}


def norm_relu(channels: int) -> list[Any]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip connection, which has a convolution where the shape changes."""

    def __init__(self, before: int, channels: int, stride: int = 1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, 1, bias=False),
            *norm_relu(channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.skip = nn.Sequential()
        if stride > 1 or before != channels:
            convolution = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.skip = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x):
        return functional.relu(self.layers(x) + self.skip(x), inplace=True)


def stages(before: int, widths: list[int], blocks: list[int]) -> Any:
    """Stages at strides 4, 8, 16 and so on, each a convolution on whole patches and blocks."""
    found, kernel, stride, padding = nn.ModuleList(), 12, 4, 4
    for width, count in zip(widths, blocks):  # noqa: B905
        convolution = nn.Conv2d(before, width, kernel, stride, padding, bias=False)
        parts = [Block(width, width) for _ in range(count)]
        found.append(nn.Sequential(convolution, *norm_relu(width), *parts))
        before, kernel, stride, padding = width, 2, 2, 0
    return found


def up(x):
    return functional.interpolate(x, scale_factor=2)


class Pose(nn.Module):
    """A compact backbone and an integral head."""

    def __init__(self, widths, blocks, out_channels, out_blocks, joints):
        super().__init__()
        self.stages = stages(3, widths, blocks)
        laterals = [nn.Conv2d(width, out_channels, 1, bias=False) for width in widths[1:]]
        self.laterals = nn.ModuleList(laterals)
        parts = [Block(out_channels, out_channels) for _ in range(out_blocks)]
        self.out = nn.Sequential(*norm_relu(out_channels), *parts)
        self.heat = nn.Conv2d(out_channels, joints, 1, bias=False)
        self.scale_kernel = nn.Parameter(torch.zeros(joints, out_channels))
        self.scale_bias = nn.Parameter(torch.zeros(joints))

    def forward(self, x):
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        total = self.laterals[-1](maps[-1])
        for i in range(len(maps) - 2, 0, -1):
            total = up(total) + self.laterals[i - 1](maps[i])
        x = self.out(total)
        heat = self.heat(x).flatten(2).softmax(-1)  # [b, k, h w]
        attended = heat @ x.flatten(2).mT  # [b, k, c]
        logits = (attended * self.scale_kernel).sum(-1) + self.scale_bias
        heat = heat.unflatten(-1, x.shape[-2:])
        x, y = (
            (
                heat.sum(axis)
                * ((torch.arange(heat.shape[5 - axis]) + 0.5) / heat.shape[5 - axis] - 0.5)
            ).sum(-1)
            for axis in (2, 3)
        )
        return torch.stack([x, y], -1), torch.exp(-5.3 + 6 * logits.sigmoid())


def pose(joints: int, **config: Any) -> tuple[Any, Loss]:
    def laplace(outputs):
        points, scales = outputs
        distance = (points - 0.1).abs().sum(-1)
        return (distance / scales + 2 * torch.log(2 * scales)).sum(-1).mean()

    return Pose(joints=joints, **config), laplace


class Autoencoder(nn.Module):
    def __init__(self, size, layers, bottleneck, slope, norm):
        super().__init__()

        def activation(channels):
            norms = [nn.BatchNorm2d(channels)] if norm == "batch" else []
            return [*norms, nn.LeakyReLU(slope, inplace=True)]

        bias = norm == "none"
        down, rising, before, side = [], [], 3, size
        for kernel, stride, channels in layers:
            padding = (kernel - stride + 1) // 2
            down.append(nn.Conv2d(before, channels, kernel, stride, padding, bias=bias))
            down += activation(channels)
            last = bias or before == 3
            back = nn.ConvTranspose2d(channels, before, kernel, stride, padding, bias=last)
            rising = [*activation(channels), back, *rising]
            before, side = channels, side // stride
        features = before * side * side
        self.down, self.to_code = (
            nn.Sequential(*down, nn.Flatten()),
            nn.Linear(features, bottleneck),
        )
        self.from_code = nn.Linear(bottleneck, features, bias=bias)
        self.up = nn.Sequential(nn.Unflatten(1, (before, side, side)), *rising, nn.Sigmoid())

    def forward(self, x):
        return self.up(self.from_code(self.to_code(self.down(x))))


def autoencoder(**config: Any) -> tuple[Any, Loss]:
    return Autoencoder(**config), lambda output: (output - 0.5).square().mean()


class Detector(nn.Module):
    """An autoencoder, and a segmenter of an image and its reconstruction."""

    def __init__(self, autoencoder, widths, blocks, up_blocks):
        super().__init__()
        self.autoencoder = Autoencoder(**autoencoder)
        self.stages = stages(6, widths, blocks)
        self.laterals, self.merged = nn.ModuleList(), nn.ModuleList()
        for coarse, fine in zip(widths[:0:-1], widths[-2::-1]):  # noqa: B905
            lateral = nn.Conv2d(coarse, fine, 1, bias=False)
            self.laterals.append(nn.Sequential(lateral, nn.BatchNorm2d(fine)))
            self.merged.append(nn.Sequential(*(Block(fine, fine) for _ in range(up_blocks))))
        self.head = nn.Sequential(nn.Conv2d(widths[0], 16, 3, 1, 1), nn.PixelShuffle(4))

    def forward(self, images):
        reconstructions = self.autoencoder(images)
        x, maps = torch.cat([images, reconstructions.detach()], 1), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        for lateral, merged, fine in zip(self.laterals, self.merged, maps[-2::-1]):  # noqa: B905
            x = merged(functional.relu(fine + up(lateral(x))))
        return reconstructions, self.head(x)[:, 0]


def detector(area: float, **config: Any) -> tuple[Any, Loss]:
    def loss(outputs):
        reconstructions, logits = outputs
        masks = torch.zeros_like(logits)
        masks[:, :32, :32] = 1
        towards = torch.where(masks > 0, logits, -logits)
        losses = -torch.exp(2 * functional.logsigmoid(-towards)) * functional.logsigmoid(towards)
        covered = masks.mean((1, 2), keepdim=True)
        losses = losses * torch.where(masks > 0, area / covered.clamp(min=0.001), 1)
        return (reconstructions - 0.5).square().mean() + losses.mean()

    return Detector(**config), loss


def cross_entropy(logits):
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def resnet18() -> tuple[Any, Loss]:
    blocks, before = [], 64
    for width in (64, 128, 256, 512):
        blocks += [Block(before, width, 1 if width == 64 else 2), Block(width, width)]
        before = width
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), *norm_relu(64), nn.MaxPool2d(3, 2, 1)]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*stem, *blocks, *pooled), cross_entropy


def alexnet(
    *,
    input_size,
    widths,
    first_kernel,
    first_stride,
    first_padding,
    norm,
    hidden,
    dropout,
    num_classes,
    **_,
) -> tuple[Any, Loss]:
    """One tower; padding is "SAME" or "VALID"."""
    blocks, channels = [], 3
    if first_padding == "SAME":
        total = (-(-input_size // first_stride) - 1) * first_stride + first_kernel - input_size
        low, high = total // 2, total - total // 2
        blocks.append(nn.ZeroPad2d((low, high, low, high)))
    for i, width in enumerate(widths):
        # The first layer's padding is above.
        kernel = (first_kernel, 5, 3, 3, 3)[i]
        strides, padding = (1, kernel // 2) if i else (first_stride, 0)
        blocks += [nn.Conv2d(channels, width, kernel, strides, padding), nn.ReLU(inplace=True)]
        if norm == "lrn" and i < 2:
            blocks.append(nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0))  # it divides alpha by 5
        if i in (0, 1, 4):
            blocks.append(nn.MaxPool2d(3, 2))
        channels = width
    blocks.append(nn.Flatten())
    with torch.no_grad():
        channels = nn.Sequential(*blocks)(torch.zeros(1, 3, input_size, input_size)).shape[1]
    for width in hidden:
        blocks += [nn.Linear(channels, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        channels = width
    return nn.Sequential(*blocks, nn.Linear(channels, num_classes)), cross_entropy


NETWORKS = {
    "pose": pose,
    "autoencoder": autoencoder,
    "detector": detector,
    "resnet18": resnet18,
    "alexnet": alexnet,
}


def multiply_adds(model: Any, images: Any) -> int:
    """Of one forward pass: each output, of a transposed convolution each input, times the weights that it meets."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        met = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        total += met.numel() * layer.weight[0].numel()

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [
        layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, kinds)
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return total


def timed_step(job: dict[str, Any], layout: Any) -> tuple[Any, Any, Callable[[], list[float]]]:
    """The network, its images, and a function that takes a step and returns its seconds, and those of all cores."""
    model, loss = NETWORKS[job["network"]](**job["options"])
    model = model.to(memory_format=layout)
    images = torch.rand(job["batch"], 3, job["size"], job["size"]).to(memory_format=layout)
    optimizer = getattr(torch.optim, job["optimizer"])(model.parameters(), 1e-4, fused=True)

    def step() -> list[float]:
        start, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss(model(images)).backward()
        optimizer.step()
        return [time.perf_counter() - start, time.process_time() - cpu]

    return model, images, step


def main() -> None:
    job = json.loads(sys.argv[1])
    found = {name: timed_step(job, layout) for name, layout in LAYOUTS.items()}
    model, images, _ = found["PyTorch"]
    about = {"parameters": sum(each.numel() for each in model.parameters())}
    about |= {"multiply_adds": multiply_adds(model, images), "version": torch.__version__}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(found[line.strip()][2]()), flush=True)


if __name__ == "__main__":
    main()
