"""Every preset of every config, with just as much data as makes a training step and an evaluation."""

from launch_jax import config_files


def all_presets() -> list[tuple[str, str]]:
    """(config, preset), in the order of the config files."""
    return [
        (name, preset)
        for name, path in config_files.named().items()
        for preset in config_files.presets(path)
    ]


def small_data(name: str, preset: str) -> list[str]:
    """Overrides of data fields alone: one training step an epoch, on rendered images."""
    config = config_files.read(f"{name}:{preset}")[1]
    batch = config.train.batch_size
    if name == "pose":
        sizes = {"dataset": "synthetic", "train": batch, "validation": 20, "test": 10}
    elif name == "anomaly":
        sizes = {"train": round(batch / (1 - config.data.validation)) + 1, "test": 1}
    else:
        kept = 1 - config.data.validation - config.data.test
        sizes = {"rendered": round(batch / kept) + 1}
    return [f"--config.data.{field}={value}" for field, value in sizes.items()]
