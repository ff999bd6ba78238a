"""The surroundings of a nut: light, the cloth it lies on, and its shadow."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from anomaly_jax.synthetic.nut import Shape, Surface, pixel_grid
from engine_jax.synthetic import octaves

# Number of values of each octave of the noise along a picture's side.
_PERIODS = (4, 8, 16, 32, 64)
NOISE = sum(_PERIODS)


class Light(NamedTuple):
    """A lamp and the light of the room.

    Attributes:
        direction: unit vector towards the lamp (right, down, towards the camera).
        direct, ambient: colours of the lamp and of the room.
        gloss: strength of the lamp's reflection.
    """

    direction: Float[Array, "3"]
    direct: Float[Array, "3"]
    ambient: Float[Array, "3"]
    gloss: Float[Array, ""]


def light_of(u: Float[Array, "n"]) -> Light:
    """A lamp 15 to 45 degrees from the camera's axis, white to warm, from uniform numbers in [0, 1)."""
    around, aside = 2 * jnp.pi * u[0], jnp.radians(15 + 30 * u[1])
    direction = jnp.stack(
        [
            jnp.sin(aside) * jnp.cos(around),
            jnp.sin(aside) * jnp.sin(around),
            jnp.cos(aside),
        ]
    )
    tint = 1 + 0.06 * (u[2] - 0.3) * jnp.array([1.0, 0.0, -1.0])
    return Light(direction, (0.75 + 0.25 * u[3]) * tint, (0.28 + 0.14 * u[4]) * tint, 0.22 * u[5])


def noise(
    u: Float[Array, "f n n"], size: int, roughness: Float[Array, "f"]
) -> Float[Array, "f s s"]:
    """Value noise in about [-1, 1] from uniform numbers, n = `NOISE`: octaves of amplitudes roughness^octave."""
    matrix, octave = octaves(size, _PERIODS)
    # Octaves are blocks on the diagonal, so that two products interpolate and sum all of them.
    amplitude = roughness[:, None] ** np.arange(len(_PERIODS))  # [f, octaves]
    amplitude = amplitude / jnp.linalg.norm(amplitude, axis=1, keepdims=True)
    amplitude = jnp.where(octave[:, None] == octave, amplitude[:, octave, None], 0)
    lattice = 1.2 * amplitude * (2 * u - 1)
    return jnp.asarray(matrix) @ lattice @ matrix.T


def cloth(
    u: Float[Array, "n"], shape: Shape, light: Light, rough: Float[Array, "s s"]
) -> Float[Array, "3 s s"]:
    """Dark cloth with a faint weave, lit from the lamp's side, and the nut's soft shadow on it."""
    x, y = pixel_grid(rough.shape[-1])
    dark = (0.13 + 0.10 * u[0]) * (1 + 0.1 * (u[1:3, None, None] - 0.5))
    blue, red = dark
    dark = jnp.stack([red, (red + blue) / 2, blue])  # [3, 1, 1]
    threads = 2 * jnp.pi * 23
    weave = jnp.cos(threads * x) * jnp.cos(threads * y)
    fall = light.direction[0] * x + light.direction[1] * y
    lit = 1 + 0.8 * fall + 0.12 * rough + 0.08 * u[3] * weave

    reach = 0.18 * light.direction[:2] / light.direction[2]
    x, y = x - shape.centre[0], y - shape.centre[1]
    shadow = 0.0
    for share in (0.3, 1.0):  # close to the nut, and further from the lamp
        away = jnp.hypot(x + share * reach[0], y + share * reach[1]) / shape.radius
        fallen = jnp.clip((1.3 - away) / 0.5, 0, 1)
        shadow = jnp.maximum(shadow, fallen * fallen * (3 - 2 * fallen))
    return dark * lit * (1 - 0.7 * shadow)


def shade(
    colour: Float[Array, "3 s s"], seen: Surface, light: Light, gloss: Float[Array, "s s"]
) -> Float[Array, "3 s s"]:
    """Colours under the light of the lamp and the room, with the lamp's reflection (Blinn-Phong)."""
    lit = jnp.maximum(jnp.einsum("c,chw->hw", light.direction, seen.normal), 0)
    halfway = light.direction + jnp.array([0.0, 0.0, 1.0])
    halfway = halfway / jnp.linalg.norm(halfway)
    shine = jnp.maximum(jnp.einsum("c,chw->hw", halfway, seen.normal), 0) ** 16
    room = light.ambient[:, None, None] * (0.6 + 0.4 * seen.normal[2])
    lamp = light.direct[:, None, None]
    return colour * (room + lamp * lit) + lamp * (light.gloss * gloss * shine)
