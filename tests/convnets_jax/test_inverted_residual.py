"""Parts of MobileNetV2 and V3. test_torchvision.py compares logits, test_zoo.py and test_summary.py count."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from convnets_jax import zoo
from convnets_jax.inverted_residual import InvertedResidual, SqueezeExcitation, divisible
from engine_jax.errors import UserError
from engine_jax.state import abstract_model


def _features(name):
    return abstract_model(partial(zoo.create_features, name))


def test_channels_are_multiples_of_8_and_at_least_nine_tenths():
    # 11.2 and 18 would lose more than a tenth as 8 and 16; 33.6 rounds to 32, 36 is halfway and rounds up.
    channels = {3: 8, 8: 8, 11.2: 16, 18: 24, 33.6: 32, 36: 40, 1280: 1280}
    assert {x: divisible(x) for x in channels} == channels


def test_a_block_is_linear_at_its_end_and_adds_its_input():
    """Without a filter's response the norms leave biases: ReLU6 of those inside, the last one as it is."""

    @nnx.jit
    def output(x):
        block = InvertedResidual(
            4, 24, 4, activation=nnx.relu6, dtype=jnp.float32, rngs=nnx.Rngs(0)
        )
        block.eval()
        block.depthwise.conv.kernel[...] = jnp.zeros((3, 3, 1, 24))
        block.depthwise.norm.bias[...] = jnp.full(24, 100.0)
        block.project.conv.kernel[...] = jnp.ones((1, 1, 24, 4)) / 24
        block.project.norm.bias[...] = jnp.full(4, -50.0)
        return block(x)

    x = np.random.default_rng(0).normal(size=(1, 3, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(output(x), x + 6 - 50, atol=1e-3)


def test_a_squeeze_excitation_scales_channels_by_a_hard_sigmoid():

    @nnx.jit
    def output(x):
        scale = SqueezeExcitation(2, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
        scale.squeeze.kernel[...] = jnp.zeros((1, 1, 2, 8)).at[0, 0, :, :2].set(jnp.eye(2))
        scale.excite.kernel[...] = jnp.zeros((1, 1, 8, 2)).at[0, 0, :2].set(jnp.eye(2))
        return scale(x)

    # [1, 1, 2, 2]: the channels' means are 2 and -3.
    x = np.float32([[[[1.0, -2.0], [3.0, -4.0]]]])
    # max(2, 0) / 6 + 1/2 and max(-3, 0) / 6 + 1/2.
    np.testing.assert_allclose(output(x), x * np.array([5 / 6, 1 / 2]), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v2", (24, 32, 96, 1280)),
        ("mobilenet_v3_small", (16, 24, 48, 576)),
        ("mobilenet_v3_large", (24, 40, 112, 960)),
    ],
)
def test_maps_are_at_strides_4_to_32(name, channels):
    size = (33, 70)
    features = _features(name)
    features.eval()
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    maps = nnx.eval_shape(lambda features, images: features.maps(images), features, images)
    expected = [
        (2, -(-size[0] // stride), -(-size[1] // stride), width)
        for stride, width in zip((4, 8, 16, 32), channels, strict=True)
    ]
    assert [x.shape for x in maps] == expected
    assert features.map_channels == channels
    assert features.output_shape(size) == expected[-1][1:]
    assert features.output_shape(1) == (1, 1, channels[-1])


def test_images_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"^MobileNetV2 takes images \[b, h, w, 3\]"):
        _features("mobilenet_v2")(jnp.zeros((1, 32, 32, 1)))
