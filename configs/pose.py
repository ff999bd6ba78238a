"""Human pose: DeepPose (Toshev and Szegedy, CVPR 2014).

Usage: python launch.py --config=configs/pose.py[:PRESET] [--config.FIELD=VALUE ...]
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(preset: str = "demo") -> ConfigDict:
    """The values of a preset; what they mean stands in deeppose_jax/config.py."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; accepted: {', '.join(PRESETS)}")
    config = base()
    config.preset = preset
    PRESETS[preset](config)
    return config


def base() -> ConfigDict:
    """The values that presets start from: the coursework report's recipe on LSP."""
    return ConfigDict(
        {
            "task": "pose",
            "preset": "",
            "seed": 0,
            "stages": 1,
            "border": "mean",
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
                "test_box": "image",
                "skeleton": "",
                "skip_unreadable": False,
                "placement": "device",
                "coco": {
                    "train": "",
                    "validation": "",
                    "test": "",
                    "images": "",
                    "category": "",
                    "pairs": (),
                },
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
            "model": network(),
            "optimizer": adam(),
            "train": training(),
            "start": {"source": "", "keep": 0},
            "transfer": {
                "train": ("",),
                "thaw_after_epochs": placeholder(int),
                "thaw_after_steps": placeholder(int),
                "rates": (),
            },
            "refiner": {
                "form": "per_joint",
                "sigma": 2.0,
                "displacements": "normal",
                "measured_on": "train",
                "initial_weights": "random",
                "combine": "replace",
                "joints_per_image": 0,
                "joint_devices": 1,
                "model": network(),
                "optimizer": adam(),
                "train": training(),
            },
            "evaluation": {
                "every": 1,
                "batch_size": 100,
                "train_images": 200,
                "thresholds": (0.1, 0.2, 0.5),
                "flip_test": False,
                "bootstrap": 1000,
                "chosen_by": "loss",
            },
        }
    )


def network() -> dict[str, Any]:
    """DeepPose's network, for stage 1 and for refiners."""
    return {
        "input_size": 220,
        "backbone": "alexnet",
        "alexnet": {
            "widths": (96, 256, 384, 384, 256),
            "first_kernel": 11,
            "first_stride": 4,
            "norm": "lrn",
        },
        "compact": {
            "widths": (32, 64, 128, 256),
            "blocks": (1, 2, 2, 1),
            "out_channels": 96,
            "out_blocks": 1,
        },
        "weights": "",
        "top_down": 0,
        "pool": "none",
        "head": "regression",
        "hidden": (4096, 4096),
        "dropout": 0.6,
        "dtype": "auto",
    }


def adam() -> dict[str, Any]:
    """The report's optimiser."""
    return {
        "kind": "adam",
        "learning_rate": 5e-5,
        "schedule": "constant",
        "plateau": 5,
        "momentum": 0.9,
        "weight_decay": 0.0,
    }


def training() -> dict[str, Any]:
    """The report's batch size, epochs and early stopping."""
    return {"epochs": 50, "batch_size": 128, "steps_per_call": 16, "patience": 10}


def demo(config: ConfigDict) -> None:
    """Rendered people and a small cascade: integral heads on compact residual networks, three stages.

    Some five minutes in all on two CPU cores. On 500 people that training never saw PDJ at 0.1 is 15.8 % after
    stage 1 and 26.8 % after stage 3, at 0.2 35.3 and 45.2 %, where the mean pose scores 1.2 and 4.5 %.
    """
    config.stages = 3
    config.data.dataset = "synthetic"
    config.data.train, config.data.validation, config.data.test = 6000, 200, 500
    config.data.canvas = 128
    config.augment.flip = True
    for model in (config.model, config.refiner.model):
        model.input_size = 64
        model.backbone = "compact"
        model.compact.widths, model.compact.blocks = (32, 64, 128), (1, 1, 1)
        model.compact.out_channels = 64
        model.head = "integral"
    cascade_on_cpu(config)
    config.train.epochs = 11
    config.refiner.train.epochs = 2


def report(config: ConfigDict) -> None:
    """The coursework report, part 1: the base values.

    87 seconds an epoch with its evaluation on two CPU cores; stopped at epoch 48. On LSP's test half 22.8 %
    strict and 34.9 % loose PCP over the four limbs; the mean pose scores 18.2 and 29.6.
    """


def augmented(config: ConfigDict) -> None:
    """The coursework report, part 2.

    About as long an epoch as `report`, all 50 epochs. On LSP's test half 20.2 % strict and 32.5 % loose PCP: less than
    `report` in as many epochs.
    """
    config.augment.rotation = 20.0
    config.augment.scale = 0.25
    config.augment.flip = True
    config.augment.noise = 0.05
    config.augment.blur = 1.5


def paper(config: ConfigDict) -> None:
    """DeepPose whole: three stages, a refiner for each joint, LSP and LSP Extended, random crop translations and flips.

    Stages 2 and 3 are fourteen networks of 58 million parameters each: not to be run on a CPU, and not run whole yet.
    Stage 1 alone scores 16.1 % strict PCP on LSP's test half after 30 epochs and 27.5 after 120, which take 90 seconds
    on an H200; the mean pose scores 18.2.
    """
    config.stages = 3
    config.data.dataset = "lsp_and_extended"
    config.augment.translation = 0.1
    config.augment.flip = True


def small(config: ConfigDict) -> None:
    """LSP and LSP Extended on two CPU cores: integral heads on a compact residual network, three stages.

    1 hour 45 minutes, most of it beside other programs. On LSP's test half strict PCP over the four limbs is 46.0 %
    after stage 1, 48.5 after stage 2 and 49.3 after stage 3, PDJ at 0.1 is 27.1, 30.9 and 32.5; the mean pose scores
    17.9 and 4.9.
    """
    config.stages = 3
    lsp_and_extended_on_cpu(config)
    for model in (config.model, config.refiner.model):
        model.backbone = "compact"
        model.compact.blocks = (1, 1, 1, 1)
        model.compact.out_channels = 64
        model.head = "integral"
    config.model.input_size = 128
    config.refiner.model.input_size = 96
    cascade_on_cpu(config)
    config.train.epochs = 15
    config.refiner.train.epochs = 5


def modern(config: ConfigDict) -> None:
    """LSP and LSP Extended on two CPU cores: ResNet-18, integral heads on a top-down path at stride 8, two stages.

    Stage 1 takes 90 minutes beside other programs, stage 2 44 on one core. On LSP's test half strict PCP over the four
    limbs is 46.4 % after stage 1 and 47.8 after stage 2, PDJ at 0.1 28.2 and 31.3; the mean pose scores 17.9 and 4.9.
    From random weights ten epochs are too few: training images score no better than validation images, and both still
    rise. Published weights, not measured: --config.model.weights=resnet18.pth.
    """
    lsp_and_extended_on_cpu(config)
    for model in (config.model, config.refiner.model):
        model.backbone = "resnet18"
        model.top_down = 64
        model.head = "integral"
        model.hidden = ()
        model.dropout = 0.0
    config.model.input_size = 128
    config.refiner.model.input_size = 96
    cascade_on_cpu(config)
    config.stages = 2
    config.optimizer.learning_rate = 1e-3
    config.train.epochs = 10
    config.refiner.joints_per_image = 2
    config.refiner.train.epochs = 3


def lsp_and_extended_on_cpu(config: ConfigDict) -> None:
    """The data and random changes of `small` and `modern`, and their flip test."""
    config.data.dataset = "lsp_and_extended"
    # Refiners learn from errors on validation images; a hundred would show too few.
    config.data.validation = 250
    config.data.canvas = 192
    # In a dozen epochs nothing is learnt by heart, and stronger changes only make the task harder.
    config.augment.rotation = 15.0
    config.augment.scale = 0.15
    config.augment.translation = 0.03
    config.augment.flip = True
    config.augment.brightness = 0.05
    config.augment.contrast = 0.2
    config.evaluation.flip_test = True


def cascade_on_cpu(config: ConfigDict) -> None:
    """How `demo` and `small` train their stages."""
    # From random weights in minutes: at 5e-5 the networks would not leave the floor.
    for group, rate in ((config, 2e-3), (config.refiner, 1e-3)):
        group.optimizer.learning_rate = rate
        group.optimizer.schedule = "one_cycle"
        group.optimizer.weight_decay = 0.05
        group.train.batch_size = 16
        group.train.patience = 0
    config.refiner.form = "shared"
    config.refiner.displacements = "observed"
    config.refiner.measured_on = "validation"
    config.refiner.initial_weights = "previous"
    config.refiner.joints_per_image = 4
    config.evaluation.every = 3


# What changes the base to a preset, by the preset's name.
PRESETS = {
    "demo": demo,
    "report": report,
    "augmented": augmented,
    "paper": paper,
    "small": small,
    "modern": modern,
}
