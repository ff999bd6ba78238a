import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from engine_jax import devices
from engine_jax.errors import UserError
from engine_jax.sharding import device_mesh

ROOT = Path(__file__).parents[2]

EIGHT = """
import logging, sys
from dataclasses import dataclass
import jax, numpy as np
from engine_jax import sharding
from engine_jax.batches import map_batches
from engine_jax.experiment import Experiment
from engine_jax.run_folder import RunFolder, Schema
from engine_jax.sharding import device_mesh

def shape(*arguments, **axes):
    return tuple(device_mesh(*arguments, **axes).shape.values())

assert shape() == (8,)
# As many devices as divide the batch.
assert [shape(batch) for batch in (128, 100, 12, 7, 11, 1)] == [(8,), (5,), (6,), (7,), (1,), (1,)]
# With another axis batches are divided along "data" alone.
assert [shape(12, joint=n) for n in (1, 2, 4, 7)] == [(6, 1), (4, 2), (2, 4), (1, 7)]
mesh = device_mesh(12, joint=2)
assert len({device.id for device in mesh.devices.flat}) == 8
assert sharding.parts(sharding.split(mesh)) == 8
assert sharding.parts(sharding.split(mesh, over=("data",))) == 4

# Evaluation goes over all devices of the mesh whatever the batch, and each sample is there once.
places = []

@jax.jit
def function(batch):
    places.append(len(batch))
    return 2 * batch

for size in (1, 3, 8, 9, 20):
    found = map_batches(function, np.arange(21), size, sharding.split(mesh))
    np.testing.assert_array_equal(found, 2 * np.arange(21))
assert places == [8, 16, 24], places

# A run says that it leaves devices out.
@dataclass(frozen=True)
class Settings:
    task: str = "toy"

class Nothing:
    def sizes(self):
        return {"train": 100}

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
for batch in (100, 128):
    folder = RunFolder(f"{sys.argv[1]}/{batch}")
    toy = Experiment(Schema("toy", Settings), Settings(), folder, None)
    with toy.started(f"batches of {batch}", Nothing(), device_mesh(batch)):
        pass
"""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_batches_go_over_as_many_of_eight_devices_as_divide_them(tmp_path):
    eight = "--xla_force_host_platform_device_count=8"
    done = python("-c", EIGHT, str(tmp_path), XLA_FLAGS=eight)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "batches of 100: 100 train images",
        "5 of 8 devices are used: training can't be divided evenly among more",
        "batches of 128: 100 train images",
    ]


def test_a_mesh_takes_enough_devices():
    with pytest.raises(UserError, match="mesh of joint = 7 takes 7 devices or a multiple of it"):
        device_mesh(joint=7)


def test_the_platform_is_that_of_the_devices_in_use(monkeypatch):
    """On a machine whose first choice is a GPU, `jax.default_device` may still ask for its CPU."""
    cpu = jax.devices("cpu")[0]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert devices.platform() == "gpu"
    for chosen in (cpu, "cpu"):
        with jax.default_device(chosen):
            assert devices.platform() == "cpu"
            assert device_mesh().devices.flat[0].platform == "cpu"


@pytest.mark.parametrize(
    "program",
    [
        ("launch.py", "--config=anomaly", "--workdir=nowhere"),
        ("-m", "classify_jax.predict", "docs", "--workdir=nowhere", "--out=nowhere"),
    ],
)
def test_a_platform_that_is_not_there_gets_one_line(program):
    """With JAX's reason."""
    # A visible GPU and no plugin for it is another reason.
    for platform, reason in (("cuda", ""), ("fpga", "not in the list of known backends")):
        done = python(*program, JAX_PLATFORMS=platform)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        before, _, said = line.partition(f"error: JAX_PLATFORMS={platform}: ")
        assert not before
        assert said
        assert reason in said
