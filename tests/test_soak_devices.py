"""Short form of the soak case on devices, and what devices can't divide evenly."""

import json

import pytest

from tests.deeppose_jax.runs import launch
from tests.short_demos import SHORT
from tests.soak import devices


def test_a_preset_starts_on_three_devices():
    assert devices.run((3,), [("classify", "demo")]) == []


@pytest.mark.parametrize("task", ["anomaly", "classify"])
def test_eight_devices_evaluate_batches_of_a_hundred(task, tmp_path):
    kept = [argument for argument in SHORT[task] if "batch_size" not in argument]
    sizes = ("--config.train.batch_size=8", "--config.evaluation.batch_size=100")
    config = f"configs/{task}.py"
    arguments = (*kept, *sizes, f"--workdir={tmp_path / 'run'}")
    done = launch(*arguments, preset="demo", config=config, devices=8)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["device"].startswith("8 x")
