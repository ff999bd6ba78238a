"""Published multiply-adds, those of layers by hand, and the command line."""

import json
import subprocess
import sys
from functools import cache, partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from convnets_jax import summary, zoo
from convnets_jax.mobilenet import MobileNet, MobileNetConfig
from engine_jax.state import abstract_model


# The authors' tables of published networks, and torchvision's: millions.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mobilenet_v2", 300),
        ("mobilenet_v2_050", 97),
        ("mobilenet_v3_small", 57),
        ("mobilenet_v3_large", 217),
        ("resnext50_32x4d", 4_230),
        ("wide_resnet50_2", 11_398),
    ],
)
def test_published_multiply_adds(name, millions):
    assert abs(summary.counts(name)["multiply_adds"] / 1e6 - millions) < 1


@cache
def _mobilenet(width):
    return abstract_model(partial(MobileNet, MobileNetConfig(width)))


# Howard et al. 2017, tables 6 and 7: millions, rounded.
@pytest.mark.parametrize(
    ("width", "size", "multiply_adds", "parameters"),
    [
        (1.0, 224, 569, 4.2),
        (0.75, 224, 325, 2.6),
        (0.5, 224, 149, 1.3),
        (0.25, 224, 41, 0.5),
        (1.0, 192, 418, 4.2),
        (1.0, 160, 290, 4.2),
        (1.0, 128, 186, 4.2),
    ],
)
def test_mobilenets_table(width, size, multiply_adds, parameters):
    layers = summary.layers_of(_mobilenet(width), (size, size, 3))
    # Some are rounded and some cut: 290.7 stands there as 290, 568.7 as 569.
    assert abs(sum(layer.multiply_adds for layer in layers) / 1e6 - multiply_adds) < 0.7
    assert round(sum(layer.parameters for layer in layers) / 1e6, 1) == parameters


def test_the_layers_of_lenet():
    convolutions = [
        summary.Layer("features.convs.0", (28, 28, 6), 456, 0, 28 * 28 * 6 * 75),
        summary.Layer("features.convs.1", (10, 10, 16), 2_416, 0, 10 * 10 * 16 * 150),
        summary.Layer("features.convs.2", (1, 1, 120), 48_120, 0, 120 * 400),
    ]
    linear = [
        summary.Layer("hidden", (84,), 10_164, 0, 84 * 120),
        summary.Layer("logits", (1000,), 85_000, 0, 1000 * 84),
    ]
    assert summary.layers("lenet5") == convolutions + linear


def test_layers_stand_in_the_order_of_use_and_unused_ones_last():
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.aside = nnx.Linear(2, 3, rngs=rngs)
            self.before = nnx.Conv(3, 4, (3, 3), strides=2, feature_group_count=1, rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.after = nnx.Conv(4, 4, (3, 3), feature_group_count=2, rngs=rngs)

        def __call__(self, x):
            twice = jax.jit(lambda x: self.after(self.after(x)))
            return twice(self.norm(self.before(x)).astype(jnp.bfloat16))

    network = nnx.eval_shape(lambda: Network(nnx.Rngs(0)))
    assert summary.layers_of(network, (8, 6, 3)) == [
        summary.Layer("before", (4, 3, 4), 112, 0, 4 * 3 * 4 * 27),
        summary.Layer("norm", (), 8, 8, 0),
        summary.Layer("after", (4, 3, 4), 76, 0, 2 * 4 * 3 * 4 * 18),
        summary.Layer("aside", (), 9, 0, 0),
    ]


def test_only_alexnet_bn_counts_its_statistics():
    counted = {name: summary.counts(name) for name in ("alexnet_bn", "alexnet_lrn", "vgg16_bn")}
    assert {name: found["parameters"] for name, found in counted.items()} == {
        "alexnet_bn": 62_416_616,
        "alexnet_lrn": 62_378_344,
        "vgg16_bn": 138_365_992,
    }
    # 55^2 96 363 + 27^2 256 2400 + 13^2 (384 2304 + 384 3456 + 256 3456) + 4096 (9216 + 4096 + 1000)
    assert counted["alexnet_lrn"]["multiply_adds"] == 1_135_256_096


def _printed(capsys, *arguments):
    summary.main(summary.parser().parse_args(arguments))
    return capsys.readouterr().out


def test_the_table_of_all_networks(monkeypatch, capsys):
    chosen = {name: zoo.MODELS[name] for name in ("lenet5", "alexnet_bn")}
    monkeypatch.setattr(zoo, "MODELS", chosen)
    rows = [line.split() for line in _printed(capsys).splitlines()]
    assert rows[1] == ["lenet5", "32x32", "146,156", "0", "734,880"]
    assert rows[2] == ["alexnet_bn", "227x227", "62,416,616*", "19,136", "1,135,256,096"]
    assert json.loads(_printed(capsys, "--json")) == {
        "lenet5": {"parameters": 146_156, "multiply_adds": 734_880},
        "alexnet_bn": {"parameters": 62_416_616, "multiply_adds": 1_135_256_096},
    }


def test_the_layers_of_one_network(capsys):
    rows = [line.split() for line in _printed(capsys, "alexnet_bn").splitlines()]
    assert rows[3] == ["features.convs.1", "27x27x256", "614,656", "0", "447,897,600"]
    assert rows[-2] == ["total", "62,397,480", "19,136", "1,135,256,096"]
    assert rows[-1] == ["parameters", "and", "statistics", "together:", "62,416,616"]


def test_a_name_that_is_not_there_ends_the_program():
    command = [sys.executable, "-m", "convnets_jax.summary", "alexnet_nb"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: there is no network 'alexnet_nb'; accepted: lenet5, ")
