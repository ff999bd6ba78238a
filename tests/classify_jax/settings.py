"""Settings from configs/classify.py, and networks small enough to compile in seconds."""

from typing import Any

from classify_jax import networks
from configs.classify import get_config
from convnets_jax import resnet
from engine_jax.state import forget_traced

TINY = {
    "data.rendered": 40,
    "data.size": 36,
    "data.validation": 0.2,
    "data.test": 0.3,
    "model.name": "lenet5",
    "model.input_size": 32,
    "train.epochs": 2,
    "train.batch_size": 8,
    "evaluation.every": 1,
    "evaluation.batch_size": 8,
    "evaluation.bootstrap": 20,
}


def shrink(monkeypatch) -> None:
    """Makes the demo's network narrow, for tests of batch norm and of layers that LeNet-5 doesn't have."""
    narrow = resnet.ResNetConfig(blocks=(1, 1, 1, 1), widths=(4, 4, 8, 8))
    forget_traced()
    monkeypatch.setattr(networks, "_NARROW", narrow)


# One view of each test image: the network is compiled for one number of views only.
ONE_VIEW = {"evaluation__crops": "centre", "evaluation__mirror": False}


def tiny_config(preset: str = "demo", **changes: Any) -> dict[str, Any]:
    """A preset's values with `TINY`'s and other changes; `data__rendered=60` is config.data.rendered."""
    config = get_config(preset)
    named = {name.replace("__", "."): value for name, value in changes.items()}
    with config.unlocked():
        for name, value in (TINY | named).items():
            *path, last = name.split(".")
            group = config
            for step in path:
                group = group[step]
            group[last] = value
    return config.to_dict()
