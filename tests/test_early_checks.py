"""What a configuration alone shows to be wrong is said before anything is rendered or written."""

import pytest

from anomaly_jax import synthetic as nuts
from classify_jax import synthetic as shapes
from deeppose_jax import synthetic as people
from engine_jax.errors import UserError
from launch_jax.flags import parse
from launch_jax.train import task

CASES = [
    ("pose", "train.batch_size=6001", "more than the 6000 training images; accepted: at most 6000"),
    ("pose", "refiner.train.batch_size=6001", "config.refiner.train.batch_size: 6001 is more than"),
    (
        "pose:paper",
        "refiner.joint_devices=3",
        "config.refiner.joint_devices: 3; accepted: a divisor of 14 joints",
    ),
    ("pose", "model.input_size=63", "config.model: an image side of 63 px doesn't fit"),
    ("pose", "refiner.model.input_size=45", "config.refiner.model: an image side of 45 px"),
    ("pose:paper", "model.input_size=20", "config.model: an image side of 20 px is too small"),
    ("pose", "model.compact.widths=()", "CompactConfig.widths is (): use"),
    ("pose", "start.source=/nowhere", "/nowhere: not a run's folder"),
    ("pose", "transfer.train=('legs',)", "config.transfer.train: the network has no block 'legs'"),
    ("pose", "refiner.sigma=1e999", "config.refiner.sigma: inf; accepted: a finite number"),
    (
        "pose",
        "evaluation.thresholds=(0.1,1e999)",
        "config.evaluation.thresholds[1]: inf; accepted: a finite number",
    ),
    ("anomaly", "train.batch_size=361", "more than the 360 training images"),
    ("anomaly", "data.validation=0.9999", "more than the 1 training images"),
    ("anomaly", "scoring.sigma=1e999", "config.scoring.sigma: inf; accepted: a finite number"),
    ("anomaly", "scoring.sigma=100.0", "config.scoring.sigma: 100.0; accepted: a Gaussian that"),
    ("anomaly", "scoring.window=129", "config.scoring.window: 129; accepted: an odd number"),
    (
        "anomaly:discriminative",
        "segmenter.widths=(8,8,8,8,8,8,8,8)",
        "config.model.input_size: 256; accepted: a multiple of 512, the stride",
    ),
    ("classify", "train.batch_size=18001", "config.train.batch_size: 18001 is more than"),
    ("classify", "model.name=resnet19", "config.model.name: 'resnet19'; accepted: "),
    (
        "pose",
        "data.canvas=8193",
        "config.data.canvas: 8193 is out of range; accepted: >= 16 and <=",
    ),
    ("pose", "augment.blur=26.0", "config.augment.blur: 26; accepted: at most 25.6, with which"),
    (
        "classify",
        "augment.blur=26.0",
        "config.augment.blur: 26; accepted: at most 22.4, with which",
    ),
    ("pose", "augment.contrast=11.0", "config.augment.contrast: 11.0 is out of range; accepted"),
    ("pose", "augment.translation=1e30", "config.augment.translation: 1e+30 is out of range"),
    *(
        (config, "train.epochs=2000000000", "config.train.epochs: 2000000000 of ")
        for config in ("pose", "anomaly", "classify")
    ),
    (
        "pose",
        "refiner.train.epochs=2000000000",
        "config.refiner.train.epochs: 2000000000 of ",
    ),
    *(
        (config, "evaluation.batch_size=100001", "config.evaluation.batch_size: 100001 is out of")
        for config in ("pose", "anomaly", "classify")
    ),
    *(
        (config, "evaluation.bootstrap=100001", "config.evaluation.bootstrap: 100001 is out of")
        for config in ("pose", "anomaly", "classify")
    ),
    ("anomaly", "augment.scale=11.0", "config.augment.scale: 11.0 is out of range; accepted"),
    ("classify", "augment.scale=11.0", "config.augment.scale: 11.0 is out of range; accepted"),
    ("classify", "augment.scale=1e999", "config.augment.scale: inf; accepted: a finite number"),
    (
        "pose:report",
        "model.hidden=(2147483648,)",
        "GiB of parameters; accepted: at most",
    ),
    ("pose", "refiner.model.compact.widths=(100000,100000)", "config.refiner.model: "),
    ("anomaly", "members=2147483648", "config.model of config.members=2147483648: "),
    ("classify", "model.head=(2147483648,)", "GiB of parameters; accepted: at most"),
]


@pytest.mark.parametrize(("config", "change", "message"), CASES)
def test_nothing_is_rendered_before_a_refusal(config, change, message, tmp_path, monkeypatch):
    def rendered(*_):
        raise AssertionError("rendered before the refusal")

    for module, name in ((people, "figures"), (nuts, "nuts"), (shapes, "shapes")):
        monkeypatch.setattr(module, name, rendered)
    changes = [f"--config.{change}", "--config.data.dataset=synthetic"]
    if "segmenter" in change:
        changes.append("--config.segmenter.blocks=(1,1,1,1,1,1,1,1)")
    flags = parse("train", [f"--config={config}", f"--workdir={tmp_path / 'run'}", *changes])
    with pytest.raises(UserError) as caught:
        task(flags.config.task)(flags.config.to_dict(), flags.workdir, False, False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("config", ["pose", "anomaly", "classify"])
def test_the_renderers_are_those_that_a_run_uses(config, tmp_path, monkeypatch):
    """Without a mistake in its configuration a run comes to them."""

    class RenderedError(Exception):
        pass

    def rendered(*_, **__):
        raise RenderedError

    for module, name in ((people, "figures"), (nuts, "nuts"), (shapes, "shapes")):
        monkeypatch.setattr(module, name, rendered)
    flags = parse("train", [f"--config={config}", f"--workdir={tmp_path / 'run'}"])
    with pytest.raises(RenderedError):
        task(flags.config.task)(flags.config.to_dict(), flags.workdir, False, False)
