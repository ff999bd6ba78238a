"""MobileNetV2: widths, published weights, errors. Its blocks are in test_inverted_residual.py."""

from functools import partial

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from PIL import Image

from convnets_jax import imagenet, torchvision, zoo
from convnets_jax.mobilenet_v2 import (
    MobileNetV2,
    MobileNetV2Config,
    MobileNetV2Features,
)
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _features(width):
    return abstract_model(partial(MobileNetV2Features, MobileNetV2Config(width)))


@pytest.mark.parametrize(
    ("width", "stem", "widths", "last"),
    [
        (0.35, 16, (8, 8, 16, 24, 32, 56, 112), 1280),
        (1.4, 48, (24, 32, 48, 88, 136, 224, 448), 1792),
    ],
)
def test_every_layer_but_the_last_is_narrowed(width, stem, widths, last):
    """The widths of the authors' published networks."""
    features = _features(width)
    found = [block.project.conv.out_features for block in features.blocks]
    assert features.stem.conv.out_features == stem
    assert found == list(np.repeat(widths, (1, 2, 3, 4, 3, 3, 1)))
    assert features.out_channels == features.last.conv.out_features == last


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0.0}, "width is 0.0: use a positive factor"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_classes": 0}, "num_classes"),
    ],
)
def test_a_wrong_config_names_its_field(change, message):
    with pytest.raises(UserError, match=message):
        MobileNetV2Config(**change)


def test_training_drops_a_fifth_of_the_mean_features():
    model = zoo.shapes("mobilenet_v2")
    assert isinstance(model, MobileNetV2)
    assert model.dropout.rate == 0.2


def test_published_weights_name_what_is_in_photographs(real_data, real_weights):
    """Scores of torchvision's network with these weights, of the same pixels."""
    expected = {
        "im0005.jpg": {981: 28.9036, 429: 24.3303},  # ballplayer, baseball
        "im0010.jpg": {752: 27.0978, 722: 20.6264},  # racket, ping-pong ball
    }
    path = real_weights("mobilenet_v2.safetensors")
    model = zoo.shapes("mobilenet_v2")
    assert torchvision.load(model, path) == []
    model.eval()
    arrays = jax.tree.leaves(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
    tensors = safetensors.numpy.load_file(path)
    assert all(isinstance(array, jax.Array) for array in arrays)
    assert len(arrays) == sum("num_batches_tracked" not in name for name in tensors)
    photographs = []
    for name in expected:
        with Image.open(real_data / "lsp/images" / name) as image:
            small = image.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
            photographs.append(np.asarray(small, np.float32) / 255)
    forward = nnx.jit(lambda model, x: model(imagenet.normalise(x)))
    for logits, best in zip(forward(model, np.stack(photographs)), expected.values(), strict=True):
        assert list(np.argsort(-logits)[:2]) == [*best]
        np.testing.assert_allclose(np.sort(logits)[:-3:-1], [*best.values()], rtol=1e-2)
