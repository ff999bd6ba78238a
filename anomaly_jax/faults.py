"""Synthetic faults painted on good images, with masks of the changed pixels, to train a network that finds faults.

Zavrtanik et al., "DRAEM - A discriminatively trained reconstruction embedding for surface anomaly detection", ICCV
2021, section 3.3 (textures through noise masks); Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection
and Localization", CVPR 2021 (patches and scars). Displaced parts and strokes are our additions. To paint a fault, a
source image is blended into the good one, weighted by a shape with values in [0, 1].
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from engine_jax.config import AtLeastZero, Fraction, Range
from engine_jax.errors import UserError
from engine_jax.warp import bilinear, by_products

_TEXTURE, _PATCH, _DISPLACED, _STROKE = range(4)
_DRAWS = 48  # uniform numbers for each image, besides those of the noise and of further strokes
_STROKE_DRAWS = 8  # uniform numbers for each further stroke
_FIRST_STROKE = np.array([0, 1, 2, 12, 13, 14, 11, 9])  # where those of the first are in a shape's
_CELLS = (1.5, 16.0)  # fewest and most cells of the noise's coarsest octave along a side
# Number of cell corners of each octave along a side.
_NODES = tuple(2 + int(_CELLS[1] * 2**octave) for octave in range(3))


@dataclass(frozen=True)
class FaultsConfig:
    """Faults painted on good images; a share of 0 switches them off.

    Attributes:
        share: share of the images that get a fault.
        texture: relative frequency of textures: another image, noise or a flat colour, seen through a mask of noise.
        patch: relative frequency of patches: a rectangle or a thin scar, copied from elsewhere in the image.
        displaced: relative frequency of large parts of the image that are shifted, turned or mirrored.
        stroke: relative frequency of thin dark or light lines, all of one colour.
        strokes: most lines that make up such a fault; from several a network learns more in one step.
        opacity: lowest opacity of textures, strokes and recoloured patches.
        visible: smallest change of a colour channel, of 0 .. 1, at which a pixel counts as faulty.
        margin: width, as a fraction of the side, of the border in which no patch, displaced part or stroke has its
            middle: for objects in the middle of their images, beside which a fault teaches little. Half of the
            textures may still lie anywhere.
    """

    share: Annotated[float, Fraction] = 0.0
    texture: Annotated[float, AtLeastZero] = 1.0
    patch: Annotated[float, AtLeastZero] = 1.0
    displaced: Annotated[float, AtLeastZero] = 1.0
    stroke: Annotated[float, AtLeastZero] = 1.0
    strokes: Annotated[int, Range(1, 100)] = 1
    opacity: Annotated[float, Fraction] = 0.2
    visible: Annotated[float, Range(0, 1, open_high=True)] = 0.04
    margin: Annotated[float, Range(0, 0.5, open_high=True)] = 0.0

    def __post_init__(self):
        if not sum(self.weights) > 0:
            raise UserError(
                "FaultsConfig: texture, patch, displaced and stroke are all 0; "
                "set share to 0 to paint no faults"
            )

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """The relative frequencies of the kinds, in the order of their numbers."""
        return self.texture, self.patch, self.displaced, self.stroke


def paint_faults(
    key: jax.Array, images: Float[Array, "n s s 3"], config: FaultsConfig
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s"]]:
    """Paints at most one fault on each image; several strokes are one fault.

    Args:
        key: a random key.
        images: good images in [0, 1]. An image's texture is taken from the previous image.
        config: how often, and which kinds of faults.

    Returns:
        The painted images in [0, 1], and masks that are 1 where the image changed visibly, 0 elsewhere.
    """
    n = len(images)
    if not config.share:
        return images, jnp.zeros(images.shape[:3], images.dtype)
    further = _STROKE_DRAWS * (config.strokes - 1)
    # A single draw, because each one adds its own generator to the compiled program.
    u = jax.random.uniform(key, (n, _DRAWS + lattice_size(1, 3) + lattice_size(3, 2) + further))
    return jax.vmap(lambda i, u: _paint(i, u, images, config))(jnp.arange(n), u)


def _paint(i, u, images, config: FaultsConfig):
    """Image i with its fault [s, s, 3], and the mask [s, s]."""
    size = images.shape[1]
    bounds = jnp.cumsum(jnp.array(config.weights)) / sum(config.weights)
    kind = (u[0] >= bounds[:-1]).sum()
    fields = lattice_size(1, 3), lattice_size(3, 2)
    lattice, colours, strokes = jnp.split(u[_DRAWS:], [fields[0], sum(fields)])
    rough = noise(u[1:5], lattice, 1, 3, size)[0]
    # Colours need less detail.
    cloud = noise(u[43:47], colours, 3, 2, size).transpose(1, 2, 0)
    strokes = strokes.reshape(-1, _STROKE_DRAWS)
    shape = _shape(kind, u[5:21], strokes, u[47], rough, config.margin)
    source = _source(kind, i, u[21:40], images, cloud)
    # Displaced parts and half of the patches are opaque.
    opaque = (kind == _DISPLACED) | ((kind == _PATCH) & (u[40] < 0.5))
    opacity = jnp.where(opaque, 1.0, config.opacity + (1 - config.opacity) * u[41])
    cover = jnp.where(u[42] < config.share, opacity * shape, 0)[..., None]
    image = images[i]
    painted = jnp.clip(image + cover * (source - image), 0, 1)
    changed = jnp.abs(painted - image).max(-1) > config.visible
    return painted, changed.astype(image.dtype)


def lattice_size(fields: int, octaves: int) -> int:
    """The number of uniform numbers that `noise` needs for so many fields and octaves."""
    return fields * sum(nodes**2 for nodes in _NODES[:octaves])


def noise(u, lattice, fields: int, octaves: int, size: int) -> Float[Array, "f s s"]:
    """Fractal value noise of about unit variance.

    Args:
        u: 4 uniform numbers in [0, 1), for the cells' height and width, the octaves' amplitudes and the phase; all
            fields share them.
        lattice: `lattice_size` uniform numbers in [0, 1), the values at the cells' corners.
        fields: number of fields, f.
        octaves: of each field, at most 3.
        size: side of the fields in pixels, s.
    """
    low, high = _CELLS
    cells = low * (high / low) ** u[:2]
    persistence = 0.3 + 0.5 * u[2]
    ticks = (jnp.arange(size) + 0.5) / size
    total, power = jnp.zeros(()), jnp.zeros(())
    for octave, nodes in enumerate(_NODES[:octaves]):
        at = (cells * 2**octave)[:, None] * ticks + (7.3 * (octave + 1) * u[3]) % 1  # [2, s]
        near = jnp.maximum(1 - jnp.abs(at[..., None] - jnp.arange(nodes)), 0)
        down, across = near * near * (3 - 2 * near)  # [s, k] each
        values, lattice = jnp.split(lattice, [fields * nodes**2])
        values = 2 * values.reshape(fields, nodes, nodes) - 1
        amplitude = persistence**octave
        total = total + amplitude * jnp.einsum("sk,fkl,tl->fst", down, values, across)
        power = power + amplitude**2
    # Uniform numbers in [-1, 1] have a variance of 1/3, of which this interpolation leaves 26/35 in either axis.
    return total * jnp.sqrt(3 * (35 / 26) ** 2 / power)


def _shape(
    kind, u, strokes, number, rough: Float[Array, "s s"], margin: float
) -> Float[Array, "s s"]:
    """The fault's shape: 1 inside, 0 outside, with a soft edge.

    Args:
        kind: of the fault.
        u: 16 uniform numbers in [0, 1).
        strokes: `_STROKE_DRAWS` such numbers for each stroke but the first, [k, 8].
        number: such a number, by which one to all of the strokes are shown.
        rough: noise of unit variance.
        margin: of the faults' middles.
    """
    size = rough.shape[-1]
    x, y, along, aside = _frame(u, size, margin)

    # Depths are fractions of the side, positive inside.
    spread = 0.02 + 0.1 * u[3]
    islands = spread * (rough - (0.2 + 1.3 * u[4]))
    near = _between(0.1, 0.8, u[5]) - jnp.hypot(x, y)
    islands = jnp.where(u[6] < 0.5, islands, jnp.minimum(islands, near))
    wide, high = _between(0.01, 0.25, u[7]), _between(0.01, 0.25, u[8])
    box = jnp.minimum(wide - jnp.abs(along), high - jnp.abs(aside))
    wide, high = 0.12 + 0.4 * u[9], 0.12 + 0.4 * u[10]
    blob = (1 - jnp.hypot(along / wide, aside / high)) * jnp.minimum(wide, high)
    blob = blob + 0.04 * u[11] * rough
    strokes = jnp.concatenate([u[_FIRST_STROKE][None], strokes])
    shown = jnp.arange(len(strokes)) <= jnp.floor(len(strokes) * number)
    lines = jax.vmap(lambda u: _stroke(u, rough, margin))(strokes)
    line = jnp.where(shown[:, None, None], lines, -1).max(0)

    depth = jnp.stack([islands, box, blob, line])[kind]
    soft = 1 + 2 * u[15]  # pixels
    return jnp.clip(0.5 + depth * size / soft, 0, 1)


def _frame(u, size: int, margin: float) -> tuple[Array, Array, Array, Array]:
    """Pixels relative to a point, as fractions of the side: x [1, s] and y [s, 1], and both turned, [s, s] each.

    Args:
        u: 3 uniform numbers in [0, 1): the point's x and y, and the angle.
        size: the side in pixels, s.
        margin: the point's least distance from the borders, a fraction of the side.
    """
    ticks = (jnp.arange(size) + 0.5) / size
    angle = 2 * jnp.pi * u[2]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    column, row = margin + (1 - 2 * margin) * u[:2]
    x, y = ticks[None, :] - column, ticks[:, None] - row
    return x, y, cos * x + sin * y, cos * y - sin * x


def _stroke(u, rough: Float[Array, "s s"], margin: float) -> Float[Array, "s s"]:
    """The depth in a line from `_STROKE_DRAWS` uniform numbers: place, direction, length, width, bend and roughness."""
    _, _, along, aside = _frame(u, rough.shape[-1], margin)
    reach, width = _between(0.03, 0.4, u[3]), _between(0.003, 0.02, u[4])
    bend = 0.3 * reach * u[5] * jnp.sin(4 * along / reach + 6.3 * u[6]) + 0.01 * u[7] * rough
    return width * (1 - jnp.square(along / reach)) - jnp.abs(aside - bend)


def _source(kind, i, u, images, cloud: Float[Array, "s s 3"]) -> Float[Array, "s s 3"]:
    """The image that is blended in through the shape."""
    angle = jnp.where(u[1] < 0.5, 0.0, 2 * jnp.pi * u[2])
    far = 0.4 * (2 * u[3:5] - 1)
    other = jnp.where(kind == _TEXTURE, i - 1, i) % len(images)
    elsewhere = moved(images, other, u[0] < 0.25, angle, far)
    gain, add = 0.6 + 0.8 * u[5:8], 0.4 * (u[8:11] - 0.5)
    recoloured = (kind == _TEXTURE) | ((kind == _PATCH) & (u[11] < 0.5))
    elsewhere = jnp.where(recoloured, gain * elsewhere + add, elsewhere)

    flat = u[12:15]
    cloud = flat + (0.05 + 0.25 * u[15]) * cloud
    plain = (kind == _STROKE) | ((kind == _TEXTURE) & (u[16] < 0.6))
    # A stroke is dark or light rather than coloured.
    grey = jnp.clip(jnp.where(u[17] < 0.5, 0.25, 0.75) * jnp.ones(3) + 0.5 * (flat - 0.5), 0, 1)
    cloud = jnp.where(kind == _STROKE, grey, jnp.where(u[18] < 0.3, flat, cloud))
    return jnp.where(plain, cloud, elsewhere)


def _between(low: float, high: float, u):
    """A log-uniform number from a uniform one in [0, 1)."""
    return low * (high / low) ** u


def moved(images: Float[Array, "n s s 3"], i, mirrored, angle, shift) -> Float[Array, "s s 3"]:
    """Image i, optionally mirrored left to right, turned about its centre, then shifted; padded by reflection.

    Args:
        images: all images of the batch.
        i: index of the image.
        mirrored: whether it is mirrored.
        angle: in radians.
        shift: (x, y) as fractions of the side, rounded to whole pixels.
    """
    size = images.shape[1]
    centre = (size - 1) / 2
    ticks = jnp.arange(size) - centre
    # Without a rotation nothing is interpolated: blur would give the fault away.
    shift = jnp.round(size * shift)
    x, y = ticks[None, :] - shift[0], ticks[:, None] - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    column, row = cos * x + sin * y, cos * y - sin * x + centre
    column = jnp.where(mirrored, -column, column) + centre
    forms = {"tpu": _read_by_products, "default": _read_by_gather}
    return jax.lax.platform_dependent(images, i, row, column, **forms)


def _read_by_gather(images, i, row, column) -> Float[Array, "s s 3"]:
    size = images.shape[1]
    # Read from the whole batch: under vmap, images[i] would copy an image for every i.
    pixels = images.reshape(-1, 3)

    def mirrored_at_borders(row, column):
        row, column = (ticks % (2 * size) for ticks in (row, column))
        row, column = (jnp.minimum(ticks, 2 * size - 1 - ticks) for ticks in (row, column))
        return pixels[(i * size + row) * size + column]

    return bilinear(mirrored_at_borders, row, column)


def _read_by_products(images, i, row, column) -> Float[Array, "s s 3"]:
    size = images.shape[1]

    def mirrored_at_borders(place):
        place = place - 2 * size * jnp.floor((place + 0.5) / (2 * size))
        place = jnp.where(place > size - 0.5, 2 * size - 1 - place, place)
        # Within half a pixel of the border both neighbours are the outermost pixel.
        return jnp.clip(place, 0, size - 1)

    row, column = mirrored_at_borders(row), mirrored_at_borders(column)
    return by_products(images[i], row, column, 2**0.5)
