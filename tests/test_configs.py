"""Every preset is a whole configuration, and the modules' named constructors are what presets train."""

import dataclasses
import importlib
from typing import get_type_hints

import pytest

from anomaly_jax.autoencoder import AutoencoderConfig
from anomaly_jax.config import SCHEMA as ANOMALY
from anomaly_jax.detector import DetectorConfig
from classify_jax.config import SCHEMA as CLASSIFY
from deeppose_jax.config import SCHEMA as POSE
from deeppose_jax.model_config import ModelConfig
from engine_jax.config import from_mapping

SCHEMAS = {"pose": POSE, "anomaly": ANOMALY, "classify": CLASSIFY}
PRESETS = [
    (task, preset)
    for task in SCHEMAS
    for preset in importlib.import_module(f"configs.{task}").PRESETS
]


def config_of(task, preset):
    return importlib.import_module(f"configs.{task}").get_config(preset).to_dict()


def settings_of(task, preset):
    return from_mapping(SCHEMAS[task].config, config_of(task, preset))


def missing(cls, values, path="config"):
    """The fields of a dataclass that a mapping lacks."""
    found = []
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = f"{path}.{field.name}"
        if field.name not in values:
            found.append(name)
        elif dataclasses.is_dataclass(hints[field.name]):
            found += missing(hints[field.name], values[field.name], name)
    return found


@pytest.mark.parametrize(("task", "preset"), PRESETS)
def test_a_preset_is_accepted_and_has_every_field(task, preset):
    config = config_of(task, preset)
    assert settings_of(task, preset).preset == preset
    assert missing(SCHEMAS[task].config, config) == []


def test_named_constructors_are_what_presets_train():
    report, small, modern = (settings_of("pose", name) for name in ("report", "small", "modern"))
    assert report.model == ModelConfig() == ModelConfig.deeppose()
    # Layers that an integral head or another backbone doesn't have are left out of the comparison.
    unused = {"hidden": (), "dropout": 0.0}
    assert dataclasses.replace(small.model, **unused) == dataclasses.replace(
        ModelConfig.small(), **unused
    )
    assert modern.model == ModelConfig.resnet18()
    assert settings_of("anomaly", "base").model == AutoencoderConfig()
    assert settings_of("anomaly", "ssim").model == AutoencoderConfig.published(256, 500)
    assert settings_of("anomaly", "discriminative").detector == DetectorConfig.discriminative()
    assert settings_of("anomaly", "base").detector == DetectorConfig()
