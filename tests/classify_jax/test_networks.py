"""Published weights in classification networks: every layer that a file has, and nothing random that is frozen."""

import re
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from classify_jax.networks import ModelConfig, build, check_network, published_weights
from convnets_jax import zoo
from convnets_jax.transfer import TransferConfig, trained_by
from engine_jax.errors import UserError
from engine_jax.state import abstract_model, variables_by_name
from tests.convnets_jax.narrow import narrow
from tests.convnets_jax.test_torchvision import torch_layout, torchvision_tensors

LOGITS_ONLY = TransferConfig(train=("logits",))


# Width of the hidden layers of VGG-16 and AlexNet, which would be nearly all of their files.
HIDDEN = 64


@pytest.fixture(scope="module", autouse=True)
def narrow_layers():
    with ExitStack() as stack:
        for name in ("vgg16", "alexnet"):
            config = replace(zoo.model(name).config, hidden=(HIDDEN, HIDDEN))
            stack.enter_context(narrow(name, config))
        yield


def weights_file(folder, name, keep=lambda name: True):
    """A file of seeded tensors with torchvision's names and shapes, of 1000 classes and with narrow hidden layers."""
    tensors = torchvision_tensors(name, 1000, HIDDEN)
    tensors = {key: value for key, value in tensors.items() if keep(key)}
    path = folder / f"{name}.safetensors"
    safetensors.numpy.save_file(tensors, path)
    return ModelConfig(name, 224, str(path), (), "float32"), tensors


def elements(arrays):
    """Digests of all elements of each array in their order; the tensors are seeded by their names and all differ."""
    return Counter((array.shape, sha256(np.ascontiguousarray(array)).digest()) for array in arrays)


@pytest.mark.parametrize(
    ("name", "last", "flattened"),
    [
        ("vgg16", r"classifier\.6\.", {"hidden.0.kernel": (7, 7, 512)}),
        ("alexnet", r"classifier\.6\.", {"hidden.0.kernel": (6, 6, 256)}),
        (
            "googlenet",
            r"fc\.|aux\d\.fc2\.",
            {f"auxiliary.{i}.hidden.kernel": (4, 4, 128) for i in (0, 1)},
        ),
        ("mobilenet_v2", r"classifier\.1\.", {}),
        ("mobilenet_v3_small", r"classifier\.3\.", {}),
    ],
)
def test_every_layer_of_a_file_but_the_last_is_taken(name, last, flattened, tmp_path):
    config, tensors = weights_file(tmp_path, name)
    found = published_weights(config)
    expected = [
        tensor
        for key, tensor in tensors.items()
        if not re.match(last, key) and not key.endswith("num_batches_tracked")
    ]
    taken = [torch_layout(array, flattened.get(place)) for place, array in found.items()]
    assert elements(taken) == elements(expected)
    model = abstract_model(lambda rngs: build(config, 7, rngs=rngs))
    new = variables_by_name(model).keys() - found.keys()
    assert {key.rpartition(".")[0].rpartition(".")[2] for key in new} == {"logits"}
    trained = nnx.state(model, trained_by(LOGITS_ONLY.train))
    names = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(trained)}
    assert names == new  # What is random is trained, and nothing else.
    check_network(config, LOGITS_ONLY)


def test_layers_that_a_file_lacks_are_not_frozen(tmp_path, caplog):
    config, tensors = weights_file(tmp_path, "alexnet", lambda key: key.startswith("features."))
    assert len(published_weights(config)) == len(tensors) == 10
    message = r"would freeze hidden with random weights.*accepted: \('logits', 'hidden'\)"
    with pytest.raises(UserError, match=message):
        check_network(config, LOGITS_ONLY)
    with caplog.at_level("INFO"):
        check_network(config, TransferConfig(train=("logits", "hidden")))
    assert "all weights but those of logits, hidden" in caplog.text


def test_a_file_with_half_of_a_part_is_refused(tmp_path):
    config, _ = weights_file(tmp_path, "alexnet", lambda key: not key.startswith("classifier.4"))
    with pytest.raises(UserError, match=r"missing: hidden\.1\.bias"):
        published_weights(config)


def test_a_new_head_takes_the_features(tmp_path):
    config, tensors = weights_file(tmp_path, "resnet18")
    config = ModelConfig("resnet18", 64, config.weights, (16,), "float32")
    found = published_weights(config)
    assert all(name.startswith("features.") for name in found)
    arrays = [t for key, t in tensors.items() if "num_batches" not in key and key[:3] != "fc."]
    assert len(found) == len(arrays)
    assert all(isinstance(array, jax.Array) for array in found.values())
    with pytest.raises(UserError, match=r"would freeze head with random weights"):
        check_network(config, LOGITS_ONLY)
