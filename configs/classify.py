"""Image classification: any network of convnets_jax on folders of images, TFDS's sets, or rendered shapes.

Usage: python launch.py --config=configs/classify.py[:PRESET] [--config.FIELD=VALUE ...]

Every preset runs on rendered shapes; on one's own images, a folder for each class, with
--config.data.dataset=folder --config.data.dir=DIR, and on a set of TFDS with
--config.data.dataset=tfds --config.data.name=NAME.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(preset: str = "demo") -> ConfigDict:
    """The values of a preset; what they mean stands in classify_jax/config.py."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; accepted: {', '.join(PRESETS)}")
    config = alexnet()
    config.preset = preset
    PRESETS[preset](config)
    return config


def alexnet() -> ConfigDict:
    """AlexNet and its recipe (Krizhevsky et al. 2012), from which the other presets start."""
    return ConfigDict(
        {
            "task": "classify",
            "preset": "",
            "seed": 0,
            "data": {
                "dataset": "synthetic",
                "dir": "",
                "name": "",
                "size": 256,
                "validation": 0.1,
                "test": 0.1,
                "rendered": 5000,
                "skip_unreadable": False,
                "placement": "device",
                "balanced": False,
            },
            "augment": {
                "mirror": True,
                "colour": 0.1,
                "flip_vertical": False,
                "rotation": 0.0,
                "scale": 0.0,
                "blur": 0.0,
            },
            "model": {
                "name": "alexnet_lrn",
                "input_size": 227,
                "weights": "",
                "head": (),
                "dtype": "auto",
            },
            "transfer": {
                "train": ("",),
                "thaw_after_epochs": placeholder(int),
                "thaw_after_steps": placeholder(int),
                "rates": (),
            },
            "loss": {"class_weights": "none"},
            "optimizer": {
                "kind": "sgd",
                "learning_rate": 0.01,
                "schedule": "plateau",
                "plateau": 5,
                "momentum": 0.9,
                "weight_decay": 5e-4,
            },
            "train": {
                "epochs": 90,
                "batch_size": 128,
                "steps_per_call": 8,
                "patience": 0,
            },
            "evaluation": {
                "every": 1,
                "batch_size": 128,
                "crops": "five",
                "mirror": True,
                "bootstrap": 1000,
            },
        }
    )


def demo(config: ConfigDict) -> None:
    """A small ResNet on rendered shapes of ten kinds, 64 px, for two CPU cores.

    3 minutes 19 seconds in all; of 1,000 test images 0.4 % are wrong, 0.9 % from their centre crops alone.
    """
    config.data.size = 64
    config.data.rendered = 20000
    config.data.validation = 0.05
    config.data.test = 0.05
    config.model.name = "resnet10_narrow"
    config.model.input_size = 56
    config.optimizer.kind = "adam"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "one_cycle"
    config.optimizer.weight_decay = 1e-2
    config.train.epochs = 10
    config.train.batch_size = 64
    config.evaluation.every = 2


def transfer(config: ConfigDict) -> None:
    """resnet18, from published weights (--config.model.weights=FILE), on one's own images.

    A new last layer alone for five epochs, then everything, the features at a tenth of its rate. Only the last layer:
    --config.transfer.thaw_after_epochs=None. Named blocks beside it:
    --config.transfer.train="('features.stages.3','logits')".
    A new head of several layers: --config.model.head="(256,)" --config.transfer.train="('head','logits')".
    """
    config.transfer.train = ("logits",)
    config.transfer.thaw_after_epochs = 5
    config.transfer.rates = (("features", 0.1),)
    config.model.name = "resnet18"
    config.model.input_size = 224
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.train.epochs = 20
    config.train.batch_size = 32
    config.loss.class_weights = "median_frequency"
    config.evaluation.batch_size = 32


# What changes AlexNet's recipe to a preset, by the preset's name.
PRESETS = {"demo": demo, "alexnet": lambda config: None, "transfer": transfer}
