"""Crops: their definition in NumPy, anti-aliasing, the map of coordinates, gradients, several devices."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deeppose_jax import affine, codec
from deeppose_jax.boxes import whole_image
from deeppose_jax.crops import crop_boxes
from deeppose_jax.data.canvas import place

FORMS = ("matmul", "gather")


def corners(centre, extent):
    return np.concatenate([centre - extent / 2, centre + extent / 2], -1).astype(np.float32)


compiled = jax.jit(partial(crop_boxes, border="black"), static_argnames=("size", "form"))


def bilinear(image, box, size):
    """The crop of one image [c, c, d] in float64, one pixel at a time; 0 outside."""
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    crop = np.zeros((size, size, image.shape[2]))
    for i in range(size):
        for j in range(size):
            x, y = x0 + (j + 0.5) * w / size, y0 + (i + 0.5) * h / size
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                        weight = (1 - abs(x - column)) * (1 - abs(y - row))
                        crop[i, j] += weight * image[row, column]
    return crop


def halve(image):
    odd = len(image) % 2
    image = np.pad(image, ((0, odd), (0, odd), (0, 0)))
    half = len(image) // 2
    return image.reshape(half, 2, half, 2, -1).mean((1, 3))


def reference(image, box, size):
    """Bilinear on the finest level of an area-averaged pyramid where a crop pixel is at most two wide."""
    image, box = np.asarray(image, np.float64), np.asarray(box, np.float64)
    while max(box[2:] - box[:2]) > 2 * size and len(image) > 1:
        image = halve(image)
        box = (box + 0.5) / 2 - 0.5
    return bilinear(image, box, size)


def area_average(image, box, size):
    """The mean of the piecewise constant image over each crop pixel's square; 0 outside."""

    def overlap(low, high, count):
        edges = low + 0.5 + (high - low) * np.arange(size + 1) / size
        pixels = np.arange(count)
        shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return np.maximum(shared, 0) / ((high - low) / size)

    x0, y0, x1, y1 = box
    down, across = overlap(y0, y1, image.shape[0]), overlap(x0, x1, image.shape[1])
    return np.einsum("ip,jq,pqd->ijd", down, across, image, optimize=True)


def boxes_of_every_kind(rng, count, canvas, low, high):
    """Sides log-uniform between low and high, aspects up to 2, centres up to half a canvas outside."""
    longer = np.exp(rng.uniform(np.log(low), np.log(high), (count, 1)))
    aspect = 2.0 ** rng.uniform(-1, 1, (count, 1))
    extent = longer * np.minimum(np.concatenate([aspect, 1 / aspect], 1), 1)
    centre = rng.uniform(-0.5 * canvas, 1.5 * canvas, (count, 2))
    return corners(centre, extent)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("canvas", "size"), [(64, 6), (37, 5), (5, 6), (1, 2)])
def test_both_forms_are_the_reference(form, canvas, size):
    """From an eighth of the crop's size to sixty times it: enlarged, and on every level of the pyramid."""
    rng = np.random.default_rng(canvas)
    images = rng.uniform(size=(2, canvas, canvas, 3)).astype(np.float32)
    boxes = boxes_of_every_kind(rng, 80, canvas, size / 8, 60 * size).reshape(2, 40, 4)
    crops = compiled(images, boxes, size, form=form)
    assert crops.shape == (2, 40, size, size, 3)
    expected = [
        [reference(image, box, size) for box in boxes_here]
        for image, boxes_here in zip(images, boxes, strict=True)
    ]
    np.testing.assert_allclose(crops, expected, atol=2e-5)


def similarities(rng, count, canvas):
    """Maps [n, 2, 3] that rotate by any angle about the centre, zoom, and mirror every second canvas."""
    angle, zoom = rng.uniform(-np.pi, np.pi, count), 2 ** rng.uniform(-0.5, 0.5, count)
    cos, sin, mirror = zoom * np.cos(angle), zoom * np.sin(angle), (-1.0) ** np.arange(count)
    linear = np.array([[mirror * cos, -sin], [mirror * sin, cos]]).transpose(2, 0, 1)
    offset = canvas / 2 - linear.sum(-1) * canvas / 2
    return np.concatenate([linear, offset[..., None]], -1).astype(np.float32)


@pytest.mark.parametrize(("canvas", "size"), [(64, 6), (37, 20), (300, 35), (5, 6), (1, 2)])
def test_both_forms_of_rotated_crops_are_the_same(canvas, size):
    rng = np.random.default_rng(canvas)
    images = rng.uniform(size=(2, canvas, canvas, 3)).astype(np.float32)
    boxes = boxes_of_every_kind(rng, 20, canvas, size / 8, 60 * size).reshape(2, 10, 4)
    maps = similarities(rng, 2, canvas)
    products, gather = (compiled(images, boxes, size, maps=maps, form=form) for form in FORMS)
    # They round coordinates differently, and the images are noise.
    np.testing.assert_allclose(products, gather, atol=5e-5)
    assert np.asarray(gather).std() > 0.01


def photographs(count, canvas):
    """Noise with the spectrum of natural images, whose amplitude falls with the frequency; uint8."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(canvas), np.fft.fftfreq(canvas)))
    spectrum = np.fft.fft2(rng.normal(size=(count, 3, canvas, canvas)))
    images = np.fft.ifft2(spectrum / np.maximum(frequency, 1 / canvas)).real
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    return np.round(255 * (images - low) / (high - low)).astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("form", FORMS)
def test_shrinking_averages_areas(form):
    """The mean difference is at most 0.02 of the value range, by whatever factor up to 8."""
    canvas, size, ratios = 256, 24, (1, 1.5, 2, 2.1, 3, 4, 5.7, 8)
    images, rng = photographs(6, canvas), np.random.default_rng(0)
    extent = size * np.tile(np.array(ratios)[None, :, None], (6, 1, 2))
    centre = rng.uniform(40, 216, (6, len(ratios), 2))  # the larger boxes leave the canvas
    boxes = corners(centre, extent)
    crops = compiled(images, boxes, size, form=form)
    expected = [
        [area_average(image / 255, box, size) for box in boxes_here]
        for image, boxes_here in zip(images, boxes, strict=True)
    ]
    error = np.abs(crops - np.array(expected)).mean((0, 2, 3, 4))
    assert (error < 0.02).all(), dict(zip(ratios, error, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_crops_of_a_ramp_are_coordinates(form):
    """The value of a pixel is where it lies, which tells the exact map, on every level."""
    canvas, size = 128, 8
    ramp = np.stack(np.meshgrid(np.arange(canvas), np.arange(canvas)), -1)[None].astype(np.float32)
    centres = np.array([[[60, 70], [64.3, 61], [60.1, 66.6], [63, 64]]])
    boxes = jnp.asarray(corners(centres, np.array([[[5, 3], [16, 16], [30, 31], [90, 64]]])))
    crops = compiled(ramp, boxes, size, form=form)
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2)
    to_canvas = affine.invert(affine.box_to_pixels(boxes, size))  # [1, 4, 2, 3]
    expected = affine.apply(to_canvas, jnp.broadcast_to(pixels * 1.0, (1, 4, size * size, 2)))
    np.testing.assert_allclose(crops.reshape(1, 4, -1, 2), expected, atol=1e-4)
    # The first box by hand: its left edge is at 57.5, and eight crop pixels are 5 canvas pixels.
    np.testing.assert_allclose(crops[0, 0, 0, :, 0], 57.5 + (np.arange(8) + 0.5) * 5 / 8, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_outside_is_zero(form):
    """White canvases, whose neighbours on the atlas are white too."""
    white = np.full((1, 64, 64, 3), 255, np.uint8)
    away = [
        [-120, 10, -80, 50],
        [26, 160, 34, 168],
        [1e4, -1e4, 1e4 + 30, -1e4 + 60],
        [250, -118, 550, 182],
        [-1e9, 0, -9e8, 3],
    ]
    crops = compiled(white, np.array([away], np.float32), 8, form=form)
    np.testing.assert_array_equal(crops, 0)
    corner = compiled(white, np.array([[[55.5, -8.5, 71.5, 7.5]]], np.float32), 8, form=form)[0, 0]
    np.testing.assert_allclose(corner[4:, :4], 1)
    np.testing.assert_array_equal(corner[:4], 0)
    np.testing.assert_array_equal(corner[:, 4:], 0)
    vast = compiled(white, np.array([[[-224.5, -224.5, 287.5, 287.5]]], np.float32), 8, form=form)[
        0, 0
    ]
    # The canvas is the size of one crop pixel, and lies on the corner between four.
    np.testing.assert_allclose(vast.sum((0, 1)), 1, atol=1e-5)
    np.testing.assert_allclose(vast[3:5, 3:5], 0.25, atol=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    box=st.tuples(
        st.floats(-900, 600), st.floats(-900, 600), st.floats(1, 2000), st.floats(1, 2000)
    ),
    joint=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    size=st.integers(1, 512),
)
def test_crop_codec_and_back_is_the_identity(box, joint, size):
    """A joint in the box's frame, to the canvas, to the crop, back to the canvas and to the frame."""
    x0, y0, w, h = box
    box, joint = jnp.array([x0, y0, x0 + w, y0 + h]), jnp.array([joint], jnp.float32)
    to_crop = affine.box_to_pixels(box, size)
    on_crop = affine.apply(to_crop, codec.decode(joint, box))
    # The frame's [-0.5, 0.5] are the outer edges of the crop's outer pixels.
    np.testing.assert_allclose(on_crop, (joint + 0.5) * size - 0.5, atol=1e-3 * size)
    back = codec.encode(affine.apply(affine.invert(to_crop), on_crop), box)
    np.testing.assert_allclose(back, joint, atol=2e-3)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_differences(form):
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(2, 24, 24, 3)).astype(np.float32)
    boxes = [[[9, 6, 15, 12], [-4, 14.5, 10, 25.5]], [[-8, -8, 32, 32], [-44, -34, 46, 36]]]
    target = rng.normal(size=(2, 2, 4, 4, 3))

    @jax.jit
    def loss(images, boxes):
        return (crop_boxes(images, boxes, 4, form=form) * target).sum()

    boxes = jnp.asarray(boxes, jnp.float32)
    gradient = jax.grad(loss)(images, boxes)
    for _ in range(3):
        # Crops are linear in the image, so that a difference over any length is the derivative.
        step = rng.normal(size=images.shape).astype(np.float32)
        difference = loss(images + step, boxes) - loss(images, boxes)
        np.testing.assert_allclose((gradient * step).sum(), difference, rtol=1e-3, atol=1e-4)
    for at in [(0, 9, 12, 1), (1, 23, 0, 2)]:
        one = np.zeros_like(images)
        one[at] = 1
        difference = loss(images + one, boxes) - loss(images, boxes)
        np.testing.assert_allclose(gradient[at], difference, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_the_boxes(form):
    """Of a crop's mean on a ramp, which is the ramp's value at the box's centre, (x0 + x1) / 2."""
    ramp = np.tile(np.arange(64.0, dtype=np.float32)[None, None, :, None], (1, 64, 1, 1))
    boxes = jnp.array([[[25.7, 26.9, 34.7, 35.9], [8.8, 10.2, 53.8, 50.2]]])
    gradient = jax.jit(
        jax.grad(lambda boxes: crop_boxes(ramp, boxes, 8, form=form).mean((2, 3)).sum())
    )(boxes)
    np.testing.assert_allclose(gradient, [[[0.5, 0, 0.5, 0]] * 2], atol=1e-4)


def test_rounding_does_not_choose_a_coarser_level():
    """Of a box of just twice the crop's size, which augmentation has moved."""
    stripes = np.tile(np.arange(64, dtype=np.float32)[None, :, None] % 2, (1, 64, 1, 1)).swapaxes(
        1, 2
    )
    exact = np.array([[[8, 8, 40, 40]]], np.float32)
    larger = exact + np.array([0, 0, 3e-5, 0], np.float32)
    np.testing.assert_allclose(
        compiled(stripes, larger, 16), compiled(stripes, exact, 16), atol=1e-4
    )


def test_more_batch_axes_by_vmap():
    images = photographs(6, 64)
    boxes = np.tile(np.array([[20, 30, 40, 50], [-30, -20, 50, 30]], np.float32), (6, 1, 1))
    expected = jax.jit(crop_boxes, static_argnums=2)(images, boxes, 8)
    nested = jax.jit(jax.vmap(lambda images, boxes: crop_boxes(images, boxes, 8)))
    by_two = nested(images.reshape(3, 2, 64, 64, 3), boxes.reshape(3, 2, 2, 4))
    np.testing.assert_allclose(by_two.reshape(expected.shape), expected, atol=1e-6)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_memory_is_bounded(form, rotated):
    """A batch of the paper's, 128 images and 14 joints, needs under 1 GB beside its inputs and crops."""
    images = jax.ShapeDtypeStruct((128, 256, 256, 3), jnp.uint8)
    boxes = jax.ShapeDtypeStruct((128, 14, 4), jnp.float32)
    maps = jax.ShapeDtypeStruct((128, 2, 3), jnp.float32) if rotated else None
    crop = jax.jit(lambda images, boxes, maps: crop_boxes(images, boxes, 64, maps=maps, form=form))
    memory = crop.lower(images, boxes, maps).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 1e9


SHARDED = """
import itertools
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from deeppose_jax.crops import crop_boxes

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
low = rng.uniform(-10, 20, (8, 3, 2))
boxes = np.concatenate([low, low + rng.uniform(4, 40, (8, 3, 2))], -1).astype(np.float32)
split = NamedSharding(Mesh(np.array(jax.devices()), "data"), PartitionSpec("data"))
assert len(jax.devices()) == 8
maps = np.tile(np.float32([[0.8, -0.6, 5], [0.6, 0.8, -3]]), (8, 1, 1))
for form, maps in itertools.product(("matmul", "gather"), (None, maps)):
    crop = jax.jit(lambda images, boxes, maps: crop_boxes(images, boxes, 8, maps=maps, form=form))
    one = crop(images, boxes, maps)
    args = jax.device_put((images, boxes, maps), split)
    program = crop.lower(*args).compile()
    eight = program(*args)
    assert eight.sharding.is_equivalent_to(split, 5), eight.sharding
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in program.as_text(), collective
    np.testing.assert_allclose(eight, one, atol=1e-6)
"""


def test_eight_devices_split_the_images():
    """Each device crops its own images, without communication."""
    flags = "--xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-c", SHARDED]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("canvases", "boxes", "options", "message"),
    [
        (np.zeros((2, 8, 9, 3), np.uint8), np.zeros((2, 1, 4), np.float32), {}, "n, c, c, d"),
        (np.zeros((2, 8, 8, 3), np.int32), np.zeros((2, 1, 4), np.float32), {}, "uint8 or float"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, 1, 4), np.float32), {}, r"\[2, k, 4\]"),
        (
            np.zeros((2, 8, 8, 3), np.uint8),
            np.zeros((2, 1, 4), np.int32),
            {},
            "boxes must be float",
        ),
        (np.zeros((2, 8, 8, 3)), np.zeros((2, 1, 4)), {"size": 0}, "at least 1"),
        (np.zeros((2, 8, 8, 3)), np.zeros((2, 1, 4)), {"form": "loop"}, "'gather'"),
    ],
)
def test_arguments_that_dont_fit(canvases, boxes, options, message):
    with pytest.raises(ValueError, match=message):
        crop_boxes(canvases, boxes, **{"size": 4, **options})


@pytest.mark.parametrize("form", ["matmul", "gather"])
def test_the_mean_border_is_the_black_one_but_for_what_lies_outside(form):
    """Of a canvas whose colour is its mean, nothing of the border shows."""
    rng = np.random.default_rng(0)
    canvases = rng.uniform(0, 1, (2, 37, 37, 3)).astype(np.float32)
    mean = canvases.mean((1, 2), keepdims=True)
    boxes = np.array([[[-30, -20, 50, 60], [-90, -90, -50, -50], [5, 5, 25, 25]]] * 2, np.float32)
    crop = jax.jit(partial(crop_boxes, size=16, form=form), static_argnames="border")
    found, black = crop(canvases, boxes, border="mean"), crop(canvases, boxes, border="black")
    share = crop(np.ones_like(canvases), boxes, border="black")  # of the canvas in each pixel
    np.testing.assert_allclose(found, black + (1 - share) * mean[:, None], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], np.broadcast_to(mean, (2, 16, 16, 3)), atol=1e-6)
    np.testing.assert_allclose(found[:, 2], black[:, 2], atol=1e-5)


def test_canvases_are_filled_with_the_colour_that_crops_show_beyond_them():
    """A wide picture's canvas: what `place` adds above and below is the mean of the whole canvas."""
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (20, 60, 3), np.uint8))
    canvas, _ = place(picture, whole_image(60, 20), 60)
    crop = jax.jit(crop_boxes, static_argnums=2)(
        canvas[None], jnp.array([[[-80.0, -80.0, -20.0, -20.0]]]), 8
    )
    np.testing.assert_allclose(crop[0, 0, 4, 4] * 255, canvas[2, 30], atol=1.5)
