"""Writes the references of test_torchvision.py: torchvision's tensor names, and its logits with seeded weights.

    pip install torch torchvision    # torch 2.13.0 and torchvision 0.28.0 wrote the files that are stored
    python tests/convnets_jax/make_torchvision_references.py [NAME ...]

Makes those of all networks, or replaces those of the named ones. Weights and images come from NumPy, seeded by their
names, so that nothing large is stored: `references/torchvision_names.json.gz` holds the names and shapes of each state
dict, for 1000 classes, and `references/torchvision_logits.json` the logits, for 10 classes, of two images of each size.
"""

import gzip
import json
import sys
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "references"
NAMES, LOGITS = FOLDER / "torchvision_names.json.gz", FOLDER / "torchvision_logits.json"
MODELS = (
    "alexnet",
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    "googlenet",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "resnext50_32x4d",
    "wide_resnet50_2",
    *(f"densenet{depth}" for depth in (121, 169, 201)),
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
)
# Shallower and narrower ones of torchvision's classes, for a test that takes seconds.
SMALL = ("small_vgg_bn", "small_bottleneck_resnet", "small_resnext", "small_densenet")
# In float32, torch's own logits of these are off by a thousandth with such weights.
DOUBLE = ("mobilenet_v3_large",)
SIZES = (
    (64, 64),
    (75, 97),
)  # height and width in pixels; even sides, and odd ones that no stride divides
NUM_CLASSES = 10
_DRAWN = 1_000_003  # larger tensors repeat so many numbers


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers for a tensor of a state dict, scaled so that activations keep their size."""
    size = int(np.prod(shape))
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    row = np.resize(rng.standard_normal(min(size, _DRAWN), np.float32), size).reshape(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return 0.5 + row**2 / 2
    if name.endswith(("bias", "running_mean")):
        return row / 10
    if len(shape) == 1:
        return 1 + row / 10
    return row * np.float32((2 / np.prod(shape[1:])) ** 0.5)


def images(height: int, width: int) -> np.ndarray:
    """Two images [2, h, w, 3]."""
    return tensor(f"{height} x {width}.bias", (2, height, width, 3)) * 10


def main(chosen: list[str]) -> None:
    import torch

    operators = torch.library.Library("torchvision", "DEF")
    try:
        import torchvision
    except RuntimeError:  # a torchvision without its compiled operators, which no classifier needs
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor x) -> Tensor")
        import torchvision

    models = torchvision.models

    def small_vgg(num_classes: int) -> torch.nn.Module:
        layers = models.vgg.make_layers([8, "M", 12, "M", 16, 16, "M", 24, "M", 32, "M"], True)
        model = models.VGG(layers, num_classes, init_weights=False)
        for i, (inputs, outputs) in {
            0: (7 * 7 * 32, 48),
            3: (48, 40),
            6: (40, num_classes),
        }.items():
            model.classifier[i] = torch.nn.Linear(inputs, outputs)
        return model

    def make(name: str, num_classes: int) -> torch.nn.Module:
        if name == "small_vgg_bn":
            return small_vgg(num_classes)
        if name == "small_bottleneck_resnet":
            return models.ResNet(models.resnet.Bottleneck, [1, 2, 1, 1], num_classes)
        if name == "small_resnext":
            block = models.resnet.Bottleneck
            return models.ResNet(block, [1, 2, 1, 1], num_classes, groups=32, width_per_group=4)
        if name == "small_densenet":
            return models.DenseNet(32, (2, 3, 2, 2), 64, num_classes=num_classes)
        options = {}
        if name == "googlenet":  # the form that its weights are published for
            options = {"transform_input": True, "aux_logits": True, "init_weights": False}
        return getattr(models, name)(num_classes=num_classes, **options)

    names, logits = {}, {}
    if {*chosen} < {*MODELS, *SMALL}:
        names = json.loads(gzip.decompress(NAMES.read_bytes()))
        logits = json.loads(LOGITS.read_text())
    for name in chosen:
        with torch.device("meta"):
            shapes = {
                key: list(value.shape) for key, value in make(name, 1000).state_dict().items()
            }
            model = make(name, NUM_CLASSES)
        names[name] = shapes
        state = {
            key: torch.from_numpy(tensor(key, tuple(value.shape)))
            for key, value in model.state_dict().items()
        }
        model.load_state_dict(state, assign=True)
        model.eval()
        if name in DOUBLE:
            model.double()
        logits[name] = {}
        with torch.no_grad():
            for height, width in SIZES:
                x = torch.from_numpy(images(height, width)).permute(0, 3, 1, 2)
                x = x.double() if name in DOUBLE else x
                outputs = [model(x)]
                if name == "googlenet":  # evaluation leaves the auxiliary classifiers out
                    taps = {}

                    def keep(block, _, output, taps=taps):
                        taps[block] = output

                    hooks = [
                        block.register_forward_hook(keep)
                        for block in (model.inception4a, model.inception4d)
                    ]
                    model(x)
                    for hook in hooks:
                        hook.remove()
                    outputs.append(model.aux1(taps[model.inception4a]))
                    outputs.append(model.aux2(taps[model.inception4d]))
                logits[name][f"{height}x{width}"] = [output.tolist() for output in outputs]
        print(name, len(shapes), "tensors")
    FOLDER.mkdir(exist_ok=True)
    NAMES.write_bytes(gzip.compress(json.dumps(names).encode(), mtime=0))
    LOGITS.write_text(json.dumps(logits, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or [*MODELS, *SMALL])
