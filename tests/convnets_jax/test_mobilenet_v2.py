"""MobileNetV2: widths, maps, a block, published weights. Seeded logits are in test_torchvision.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from PIL import Image

from convnets_jax import imagenet, torchvision, zoo
from convnets_jax.mobilenet_v2 import (
    InvertedResidual,
    MobileNetV2,
    MobileNetV2Config,
    MobileNetV2Features,
    divisible,
)
from engine_jax.errors import UserError
from tests.convnets_jax.test_torchvision import counted_rngs


def _features(width):
    return nnx.eval_shape(
        lambda: MobileNetV2Features(MobileNetV2Config(width), rngs=counted_rngs())
    )


def test_channels_are_multiples_of_8_and_at_least_nine_tenths():
    # 11.2 would lose more than a tenth as 8; 33.6 rounds to 32, 36 is halfway and rounds up; 8 is the least.
    assert [divisible(x) for x in (3, 8, 11.2, 12, 33.6, 36, 1280)] == [8, 8, 16, 16, 32, 40, 1280]


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


@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 1)])
def test_maps_are_at_strides_4_to_32(size):
    features = _features(1.0)
    features.eval()
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    maps = nnx.eval_shape(lambda features, images: features.maps(images), features, images)
    expected = [
        (2, -(-size[0] // stride), -(-size[1] // stride), channels)
        for stride, channels in ((4, 24), (8, 32), (16, 96), (32, 1280))
    ]
    assert [x.shape for x in maps] == expected
    assert features.map_channels == (24, 32, 96, 1280)
    assert features.output_shape(size) == expected[-1][1:]


def test_a_block_is_linear_at_its_end_and_adds_its_input():
    """Without a filter's response the norms leave biases: ReLU6 of those inside, the last one as it is."""
    block = InvertedResidual(4, 4, 1, 6, dtype=jnp.float32, rngs=nnx.Rngs(0))
    block.eval()
    block.depthwise.conv.kernel[...] = jnp.zeros((3, 3, 1, 24))
    block.depthwise.norm.bias[...] = jnp.full(24, 100.0)
    block.project.conv.kernel[...] = jnp.ones((1, 1, 24, 4)) / 24
    block.project.norm.bias[...] = jnp.full(4, -50.0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 4)), jnp.float32)
    np.testing.assert_allclose(block(x), x + 6 - 50, atol=1e-3)


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"^MobileNetV2 takes images \[b, h, w, 3\]"):
        _features(0.5)(jnp.zeros((1, 32, 32, 1)))


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
    model = nnx.eval_shape(lambda: zoo.create("mobilenet_v2", rngs=counted_rngs()))
    assert isinstance(model, MobileNetV2)
    assert model.dropout.rate == 0.2


def test_published_weights_name_what_is_in_photographs(real_data, real_weights):
    """Scores of torchvision's network with these weights, of the same pixels."""
    expected = {
        "im0005.jpg": {981: 28.9036, 429: 24.3303},  # ballplayer, baseball
        "im0010.jpg": {752: 27.0978, 722: 20.6264},  # racket, ping-pong ball
    }
    path = real_weights("mobilenet_v2.safetensors")
    model = nnx.eval_shape(lambda: zoo.create("mobilenet_v2", rngs=counted_rngs()))
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
