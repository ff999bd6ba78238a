"""Human pose: DeepPose (Toshev and Szegedy, CVPR 2014).

Usage: python launch.py --config=configs/pose.py[:PRESET] [--config.FIELD=VALUE ...]
"""

from ml_collections import ConfigDict

PRESETS = ("demo", "report", "augmented", "paper")


def get_config(preset: str = "demo") -> ConfigDict:
    """The values of a preset; what they mean stands in deeppose_jax/config.py."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; accepted: {', '.join(PRESETS)}")
    config = base()
    config.preset = preset
    {"demo": demo, "report": report, "augmented": augmented, "paper": paper}[preset](config)
    return config


def base() -> ConfigDict:
    """The values that presets start from: the coursework report's recipe on LSP."""
    return ConfigDict(
        {
            "task": "pose",
            "preset": "",
            "seed": 0,
            "data": {
                "dataset": "lsp",
                "dir": "",
                "extended_dir": "",
                "labels": "PC",
                "split": "official",
                "validation": 100,
                "train": 4000,
                "test": 1000,
                "canvas": 220,
                "extended_box": "joints",
                "extended_box_scale": 1.3,
                "skip_unreadable": False,
                "placement": "device",
            },
            "augment": {
                "rotation": 0.0,
                "scale": 0.0,
                "translation": 0.0,
                "flip": False,
                "brightness": 0.0,
                "contrast": 0.0,
                "noise": 0.0,
                "blur": 0.0,
            },
            "model": {
                "input_size": 220,
                "widths": (96, 256, 384, 384, 256),
                "first_kernel": 11,
                "first_stride": 4,
                "norm": "lrn",
                "hidden": (4096, 4096),
                "dropout": 0.6,
                "dtype": "auto",
            },
            "optimizer": {
                "learning_rate": 5e-5,
                "schedule": "constant",
                "weight_decay": 0.0,
            },
            "train": {
                "epochs": 50,
                "batch_size": 128,
                "steps_per_call": 16,
                "patience": 10,
            },
            "evaluation": {
                "every": 1,
                "batch_size": 100,
                "train_images": 200,
                "thresholds": (0.1, 0.2, 0.5),
                "bootstrap": 1000,
            },
        }
    )


def demo(config: ConfigDict) -> None:
    """Rendered people and a narrow AlexNet.

    3 minutes 26 seconds in all on two CPU cores. On 500 people that training never saw PDJ at 0.2
    is 23.1 %, the mean pose's 4.5 %.
    """
    config.data.dataset = "synthetic"
    config.data.train, config.data.validation, config.data.test = 6000, 200, 500
    config.data.canvas = 128
    config.augment.flip = True
    config.model.input_size = 64
    config.model.widths = (32, 64, 96, 96, 96)
    config.model.first_kernel, config.model.first_stride = 5, 2
    config.model.norm = "batch"
    config.model.hidden = (384, 384)
    config.model.dropout = 0.0
    # A small network from random weights in minutes: at 5e-5 it would not leave the floor.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "one_cycle"
    config.optimizer.weight_decay = 1e-3
    config.train.epochs = 12
    config.train.batch_size = 64
    config.train.patience = 0


def report(config: ConfigDict) -> None:
    """The coursework report, part 1: the base values.

    87 seconds an epoch with its evaluation on two CPU cores; stopped at epoch 48. On LSP's test half 22.8 %
    strict and 34.9 % loose PCP over the four limbs; the mean pose scores 18.2 and 29.6.
    """


def augmented(config: ConfigDict) -> None:
    """The coursework report, part 2."""
    config.augment.rotation = 20.0
    config.augment.scale = 0.25
    config.augment.flip = True
    config.augment.noise = 0.05
    config.augment.blur = 1.5


def paper(config: ConfigDict) -> None:
    """DeepPose's stage 1 on LSP and LSP Extended: random crop translations and flips."""
    config.data.dataset = "lsp_and_extended"
    config.augment.translation = 0.1
    config.augment.flip = True
