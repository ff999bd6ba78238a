"""Typed settings from configs/anomaly.py, and networks small enough to compile in seconds."""

from typing import Any

from configs.anomaly import get_config

# 32 px down to a map of 8 x 8, and a segmenter of eight channels.
TINY = {
    "data.train": 10,
    "data.test": 2,
    "model.input_size": 32,
    "model.layers": ((4, 2, 4), (4, 2, 8)),
    "model.bottleneck": 6,
    "segmenter.widths": (8, 8),
    "segmenter.blocks": (0, 0),
    "segmenter.up_blocks": 0,
    "loss.window": 5,
    "scoring.window": 5,
    "thresholds.pixel": 0.01,
    "optimizer.learning_rate": 1e-3,
    "train.epochs": 3,
    "train.batch_size": 4,
    "evaluation.every": 1,
    "evaluation.batch_size": 4,
    "evaluation.bootstrap": 20,
}


def tiny_config(preset: str = "base", **changes: Any) -> dict[str, Any]:
    """A preset's values with `TINY`'s and other changes; `data__train=6` is config.data.train."""
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
