"""Anomaly detection: autoencoders trained on good images only, with thresholds from good images only.

Usage: python launch.py --config=configs/anomaly.py[:PRESET] [--config.FIELD=VALUE ...]

Every preset runs on synthetic nuts; on a category of MVTec AD, or own images in its layout, with
--config.data.dataset=mvtec --config.data.dir=FOLDER.
"""

from ml_collections import ConfigDict

PRESETS = ("demo", "base", "batchnorm", "large", "augmented", "ssim", "discriminative")

# Kernel, stride, channels of Bergmann et al. 2019, from 128 px to a map of 8 x 8.
LAYERS = (
    (4, 2, 32),
    (4, 2, 32),
    (3, 1, 32),
    (4, 2, 64),
    (3, 1, 64),
    (4, 2, 128),
    (3, 1, 64),
    (3, 1, 32),
)


def get_config(preset: str = "demo") -> ConfigDict:
    """The values of a preset; what they mean stands in anomaly_jax/config.py."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; accepted: {', '.join(PRESETS)}")
    config = base()
    config.preset = preset
    {
        "demo": demo,
        "base": lambda config: None,
        "batchnorm": batchnorm,
        "large": large,
        "augmented": augmented,
        "ssim": ssim,
        "discriminative": discriminative,
    }[preset](config)
    return config


def base() -> ConfigDict:
    """The coursework report, part 1, from which all other presets start."""
    return ConfigDict(
        {
            "task": "anomaly",
            "preset": "",
            "seed": 0,
            "members": 1,
            "method": "reconstruction",
            "data": {
                "dataset": "synthetic",
                "dir": "",
                "category": "hazelnut",
                "validation": 0.1,
                "train": 400,
                "test": 40,
                "skip_unreadable": False,
                "placement": "device",
            },
            "augment": {
                "rotation": 0.0,
                "scale": 0.0,
                "shift": 0.0,
                "flip_horizontal": False,
                "flip_vertical": False,
                "brightness": 0.0,
                "noise": 0.0,
            },
            "model": {
                "input_size": 128,
                "layers": LAYERS,
                "bottleneck": 100,
                "slope": 0.2,
                "norm": "none",
                "output": "sigmoid",
                "dtype": "auto",
            },
            "loss": {"kind": "l2", "window": 11, "shape": "gaussian"},
            "faults": {
                "share": 0.5,
                "texture": 1.0,
                "patch": 1.0,
                "displaced": 1.0,
                "stroke": 1.0,
                "opacity": 0.2,
                "visible": 0.04,
            },
            "segmenter": {
                "widths": (32, 64, 128, 128),
                "blocks": (1, 1, 1, 1),
                "up_blocks": 1,
            },
            "optimizer": {"learning_rate": 5e-5, "schedule": "constant", "weight_decay": 0.0},
            "train": {"epochs": 100, "batch_size": 32, "steps_per_call": 8, "patience": 0},
            "scoring": {
                "residual": "absolute",
                "window": 11,
                "sigma": 0.0,
                "image": "top",
                "top": 0.01,
            },
            "thresholds": {
                "grid": (0.1, 0.15, 0.2, 0.3),
                "rule": "false_positive_rate",
                "pixel": 0.01,
                "image": 0.05,
            },
            "evaluation": {"every": 10, "batch_size": 40, "bootstrap": 1000},
        }
    )


def demo(config: ConfigDict) -> None:
    """Small nuts and a small network."""


def batchnorm(config: ConfigDict) -> None:
    """The coursework report, part 2: batch normalisation."""
    config.model.norm = "batch"


def large(config: ConfigDict) -> None:
    """The coursework report, part 3: larger images, one more convolution at each end, a wider code."""
    config.model.norm = "batch"
    config.model.input_size = 256
    config.model.layers = ((4, 2, 32), *LAYERS)
    config.model.bottleneck = 500


def augmented(config: ConfigDict) -> None:
    """The coursework report, part 4: `large` on images that are turned, scaled, shifted, lightened and noisy."""
    large(config)
    config.augment.rotation = 10.0
    config.augment.scale = 0.1
    config.augment.shift = 0.03
    config.augment.brightness = 0.05
    config.augment.noise = 0.02


def ssim(config: ConfigDict) -> None:
    """The published autoencoder with structural similarity (Bergmann et al. 2019), at 256 px as on MVTec AD."""
    large(config)
    config.model.norm = "none"
    config.model.output = "linear"
    config.loss.kind = "ssim"
    config.scoring.residual = "ssim"
    config.optimizer.learning_rate = 2e-4
    config.optimizer.weight_decay = 1e-5


def discriminative(config: ConfigDict) -> None:
    """Painted faults and a second network that finds them, as DRAEM does (Zavrtanik et al. 2021)."""
    config.method = "discriminative"
