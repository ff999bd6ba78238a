"""The surroundings of a person: camera, light, ground and backdrop, clutter, occluders and the person's shadow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from deeppose_jax.synthetic.body import Body, move, rotation
from deeppose_jax.synthetic.camera import Camera
from deeppose_jax.synthetic.capsules import Capsules, Light, pixel_grid, plain, shade
from deeppose_jax.synthetic.person import SKIN_TONES, Part, blend, cloth_colour
from engine_jax.synthetic import octaves

# Depths in metres behind every person and in front of every person.
FAR = 100.0
NEAR = 0.5


class View(NamedTuple):
    """A camera, the body in its frame, and the ground plane down @ point = ground, metres."""

    camera: Camera
    body: Body
    down: Float[Array, "3"]
    ground: Float[Array, ""]


def sample_view(key: PRNGKeyArray, body: Body, size: int) -> View:
    """A camera at about 3 to 7 m, in whose picture the person fills 60 to 95 % of the height or width."""
    u = jax.random.uniform(key, (12,))
    roll = 18.0 * (u[7:10].sum() - 1.5)  # a standard deviation of 9 degrees
    turn = rotation("z", roll) @ rotation("x", -8.0 + 30.0 * u[0])
    middle = (body.joints.max(0) + body.joints.min(0)) / 2
    distance = 2.8 + 4.0 * u[1]
    body = move(body, turn, jnp.array([0.0, 0.0, 1.0]) * distance - turn @ middle)

    points = jnp.concatenate([body.joints, body.fingertips, body.toes])
    at = points[:, :2] / points[:, 2:]
    low, high = at.min(0), at.max(0)
    # The body's size bounds the scale, so that a crouching person is not enlarged to fill the picture.
    extent = jnp.maximum((high - low).max(), 1.2 / distance)
    share = 0.6 + 0.35 * u[2]
    focal = share * size / extent
    # The person is off-centre by part of the free room, and sometimes by a little more, so that some joints are
    # outside the picture.
    room = 0.9 * (size - focal * (high - low)) + size * jnp.maximum(0.4 * u[3] - 0.25, 0.0)
    centre = size / 2 + room * (u[4:6] - 0.5) - focal * (high + low) / 2
    down = turn[:, 1]
    jump = jnp.maximum(0.9 * u[6] - 0.55, 0.0)
    return View(Camera(focal, centre), body, down, (points @ down).max() + 0.04 + jump)


def sample_light(key: PRNGKeyArray) -> Light:
    """Light mostly from above and from the camera's side, white, warm or cold."""
    u = jax.random.uniform(key, (8,))
    direction = jnp.stack([2.4 * u[0] - 1.2, -0.3 - 0.9 * u[1], -0.9 + 0.8 * u[2]])
    warmth = jnp.array([0.12, 0.0, -0.12]) * (2.0 * u[3] - 1.0)
    ambient = 0.35 + 0.3 * u[4]
    direct = (0.45 + 0.35 * u[5]) * (1.0 + warmth)
    return Light(direction / jnp.linalg.norm(direction), direct, ambient * (1.0 - 0.5 * warmth))


# Number of values of each octave of the noise along a picture's side.
_PERIODS = (3, 6, 12, 24, 48)


def noise(
    u: Float[Array, "f n n"], size: int, roughness: Float[Array, ""]
) -> Float[Array, "f s s"]:
    """Value noise in about [-1, 1] from uniform numbers: octaves of amplitudes roughness^octave."""
    matrix, octave = octaves(size, _PERIODS)
    # Octaves are blocks on the diagonal, so that two products interpolate and sum all of them.
    amplitude = jnp.where(octave[:, None] == octave, roughness**octave, 0.0)
    return 1.2 * (1.0 - roughness) * (matrix @ (amplitude * (2.0 * u - 1.0)) @ matrix.T)


def backdrop(key: PRNGKeyArray, view: View, size: int) -> Float[Array, "3 s s"]:
    """Ground with lines up to the horizon, and a graded, textured wall or sky above it."""
    n = sum(_PERIODS)
    u = jax.random.uniform(key, (24 + 2 * n * n,))
    colours = cloth_colour(u[:12].reshape(4, 3) * jnp.array([1.0, 0.55, 1.0]))
    ground, line, low, high = colours[:, :, None, None]  # [3, 1, 1] each
    x, y = pixel_grid(size)
    rx = (x - view.camera.centre[0]) / view.camera.focal
    ry = (y - view.camera.centre[1]) / view.camera.focal
    fall = rx * view.down[0] + ry * view.down[1] + view.down[2]  # of a ray, per metre of depth
    is_ground = jnp.clip(0.5 + view.camera.focal * fall, 0.0, 1.0)
    # Lines on the ground fade out where they would be finer than a pixel.
    depth = view.ground / jnp.maximum(fall, 0.02)
    cycle = depth * (u[12] * 1.2 * rx + u[13] * 0.6)
    lined = (cycle - jnp.floor(cycle) < 0.1 + 0.4 * u[14]) & (u[15] < 0.5)
    lined = lined * jnp.clip(8.0 * fall - 0.5, 0.0, 0.7)
    texture = noise(u[24:].reshape(2, n, n), size, 0.45 + 0.45 * u[16])
    light, tint = texture[0] * (0.3 + 0.4 * u[17]), texture[1] * (0.4 * u[18])
    floor = ground + lined * (line - ground)
    wall = low + jnp.clip(0.5 - 1.2 * fall + tint, 0.0, 1.0) * (high - low)
    colour = (wall + is_ground * (floor - wall)) * (0.85 + light)
    return jnp.clip(colour + jnp.array([-0.3, 0.0, 0.3])[:, None, None] * tint, 0.0, 1.0)


def clutter(key: PRNGKeyArray, size: int, bars: int = 5, limbs: int = 3) -> Capsules:
    """Things behind the person: flat bars, and bent limbs in the colours of skin and clothes."""
    u = jax.random.uniform(key, (2 * bars + 2 * limbs, 8))
    bar, (upper, lower) = u[: 2 * bars].reshape(bars, 16), u[2 * bars :].reshape(2, limbs, 8)

    # Most bars are vertical or horizontal, like buildings and furniture.
    angle = jnp.pi * jnp.where(bar[:, 0] < 0.75, jnp.round(2 * bar[:, 1]) / 2, bar[:, 1])
    reach = _along(angle, (0.05 + 0.4 * bar[:, 2]) * size)
    middle = (1.2 * bar[:, 3:5] - 0.1) * size
    width = (0.008 + 0.16 * bar[:, 5] ** 2) * size
    bars_seen = _segments(middle - reach, middle + reach, width, _hazy(bar[:, 6:10]), square=1.0)

    # A limb has a joint in its middle, like a person's; some are outside the picture.
    joint = (1.5 * upper[:, :2] - 0.25) * size
    bend = jnp.pi * 2 * upper[:, 2]
    there = joint + _along(bend, (0.1 + 0.1 * upper[:, 3]) * size)
    back = joint + _along(bend + 0.3 + 2.6 * lower[:, 0], (0.1 + 0.1 * lower[:, 1]) * size)
    width = (0.018 + 0.022 * upper[:, 4]) * size
    skin = blend(SKIN_TONES, upper[:, 5])
    cloth = jnp.where((upper[:, 6] < 0.5)[:, None], skin, _hazy(lower[:, 2:6]))
    limbs_seen = (
        _segments(joint, there, width, cloth),
        _segments(joint, back, 0.8 * width, jnp.where((upper[:, 7] < 0.7)[:, None], skin, cloth)),
    )
    things = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), bars_seen, *limbs_seen)
    order = FAR - jnp.arange(bars + 2 * limbs, dtype=jnp.float32)
    return things._replace(depths=jnp.stack([order, order], 1))


def occluders(key: PRNGKeyArray, size: int, count: int = 2) -> Capsules:
    """Things in front of some of the people: a post or a beam, and something round."""
    u = jax.random.uniform(key, (count, 12))
    is_bar = u[:, 0] < 0.6
    half = jnp.where(is_bar, 0.15 + 0.5 * u[:, 1], 0.02 + 0.08 * u[:, 1]) * size
    width = jnp.where(is_bar, 0.015 + 0.035 * u[:, 2], 0.04 + 0.05 * u[:, 2]) * size
    reach = _along(jnp.pi * u[:, 3], half)
    # An absent one lies far outside the picture.
    middle = (0.15 + 0.7 * u[:, 4:6]) * size + jnp.where(u[:, 6:7] < 0.18, 0.0, 10.0 * size)
    things = _segments(middle - reach, middle + reach, width, cloth_colour(u[:, 7:10]))
    return things._replace(square=is_bar.astype(jnp.float32))


def _along(angle: Float[Array, "n"], length: Float[Array, "n"]) -> Float[Array, "n 2"]:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) * length[:, None]


def _hazy(u: Float[Array, "n 4"]) -> Float[Array, "n 3"]:
    """Pale colours of distant things, some of them nearly grey."""
    return 0.45 + (0.25 + 0.6 * u[:, 3:]) * (cloth_colour(u[:, :3]) - 0.45)


def _segments(start, stop, radius, colour, square=0.0) -> Capsules:
    """Plain capsules between points [n, 2] near the camera."""
    n = len(start)
    return Capsules(
        ends=jnp.stack([start, stop], 1),
        radii=jnp.stack([radius, radius], 1),
        depths=jnp.full((n, 2), NEAR),
        bulge=jnp.zeros(n),
        square=jnp.full(n, square),
        look=plain(colour),
    )


def cast_shadow(view: View, parts: Part, light: Light, size: int) -> Float[Array, "s s"]:
    """The share of each pixel of the ground that is in the person's shadow."""
    points = jnp.stack([parts.start, parts.stop], -2)  # [n, 2, 3]
    # The light is steepened, because a low sun would cast the shadow out of the picture.
    away = -light.direction + 0.6 * view.down
    drop = (view.ground - points @ view.down)[..., None]
    fallen = points + drop * away / jnp.maximum(away @ view.down, 0.3)
    near = jnp.maximum(fallen[..., 2:], 1.0)
    fallen = jnp.concatenate([fallen[..., :2], near], -1)
    capsules = Capsules(
        ends=view.camera.project(fallen),
        radii=0.8 * parts.radii * view.camera.scale(fallen),
        depths=jnp.zeros(points.shape[:2]),
        bulge=jnp.zeros(len(points)),
        square=jnp.zeros(len(points)),
        look=parts.look,
    )
    return shade(capsules, size, softness=0.02 * size)
