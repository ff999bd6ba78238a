"""A person's appearance: the parts of a body with skin, hair and clothes, and the capsules that draw them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from deeppose_jax.synthetic.body import Body
from deeppose_jax.synthetic.camera import Camera
from deeppose_jax.synthetic.capsules import Capsules, Look, plain

SKIN_TONES = (
    (0.98, 0.85, 0.74),
    (0.94, 0.76, 0.62),
    (0.82, 0.62, 0.46),
    (0.64, 0.44, 0.30),
    (0.45, 0.29, 0.19),
    (0.30, 0.19, 0.13),
)
HAIR_COLOURS = (
    (0.06, 0.05, 0.05),
    (0.16, 0.10, 0.07),
    (0.32, 0.20, 0.11),
    (0.55, 0.28, 0.12),
    (0.82, 0.66, 0.38),
    (0.62, 0.61, 0.60),
)


class Outfit(NamedTuple):
    """A person's clothes, colours and girth.

    Attributes:
        sleeves: end of the sleeves: 0 at the shoulder, 1 at the elbow, 2 at the wrist.
        legs: end of the trousers: 0 at the hip, 1 at the knee, 2 at the ankle.
        sock_from: upper end of the socks on a bare shin, from 0 at the knee to 1 at the ankle.
        pattern: the shirt's stripes, see `Look`.
        panel_from: narrowness of the shirt's front panel, see `Look.hairline`.
        girth: thickness of all parts relative to the mean.
        loose: thickness of clothes relative to the body.
        long_hair: length of the hair below the head, metres.
    """

    skin: Float[Array, "3"]
    hair: Float[Array, "3"]
    shirt: Float[Array, "3"]
    stripe: Float[Array, "3"]
    panel: Float[Array, "3"]
    trousers: Float[Array, "3"]
    sock: Float[Array, "3"]
    shoe: Float[Array, "3"]
    sleeves: Float[Array, ""]
    legs: Float[Array, ""]
    sock_from: Float[Array, ""]
    pattern: Float[Array, "3"]
    panel_from: Float[Array, ""]
    girth: Float[Array, ""]
    loose: Float[Array, ""]
    long_hair: Float[Array, ""]


def blend(colours: tuple, where: Float[Array, "*n"]) -> Float[Array, "*n 3"]:
    """Interpolates linearly between neighbours in a row of colours; `where` in [0, 1]."""
    at = where * (len(colours) - 1)
    weight = jnp.maximum(1.0 - jnp.abs(at[..., None] - jnp.arange(len(colours))), 0.0)
    return weight @ jnp.asarray(colours)


def cloth_colour(u: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """A cloth's colour from three uniform numbers: vivid, black, grey or white."""
    hue, saturation, value = u[..., :1], u[..., 1:2], u[..., 2:]
    saturation = jnp.clip(1.4 * saturation - 0.3, 0.0, 0.95)
    value = 0.08 + 0.9 * jnp.sqrt(value)
    wave = jnp.abs((6.0 * hue + jnp.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0
    return value * (1.0 - saturation + saturation * jnp.clip(wave, 0.0, 1.0))


def sample_outfit(key: PRNGKeyArray) -> Outfit:
    """Clothes, skin, hair and girth of a random person."""
    # A single draw, because each one adds its own generator to the compiled program.
    u = jax.random.uniform(key, (32,))
    shirt, stripe, panel, trousers, sock, shoe = cloth_colour(u[:18].reshape(6, 3))
    # Up to 0.45 plain, up to 0.65 hoops, up to 0.85 vertical stripes, above that two halves.
    kind = u[18]
    hoops = jnp.where((kind > 0.45) & (kind < 0.65), 1.5 + 3.0 * u[19], 0.0)
    vertical = jnp.where((kind > 0.65) & (kind < 0.85), 0.8 + 1.5 * u[19], 0.0)
    vertical = jnp.where(kind > 0.85, 0.5, vertical)
    phase = jnp.where(kind < 0.45, 0.5, jnp.where(kind > 0.85, 0.0, u[20]))
    short_sleeve = 0.3 + 2.0 * (u[24] - 0.25)
    return Outfit(
        skin=blend(SKIN_TONES, u[21]),
        hair=blend(HAIR_COLOURS, u[22]),
        shirt=shirt,
        stripe=stripe,
        panel=panel,
        trousers=trousers,
        sock=jnp.where(u[23] < 0.4, 0.9, sock),
        shoe=shoe,
        sleeves=jnp.where(u[24] < 0.25, 0.0, jnp.where(u[24] < 0.65, short_sleeve, 2.0)),
        legs=jnp.where(u[25] < 0.6, 0.15 + 1.3 * u[25], 2.0),
        sock_from=0.2 + 0.9 * u[26],
        pattern=jnp.stack([hoops, vertical, phase]),
        panel_from=jnp.where(u[27] < 0.6, 2.0, 0.7 + 0.2 * u[28]),
        girth=0.88 + 0.3 * u[29],
        loose=1.02 + 0.28 * u[30],
        long_hair=jnp.maximum(0.6 * u[31] - 0.35, 0.0),
    )


class Part(NamedTuple):
    """A tapered part of a body in the camera's frame, metres.

    Its cross-section is an ellipse: the semi-axis along the unit vector `wide` is the radius, the other one the radius
    times `flatness`.
    """

    start: Float[Array, "*n 3"]
    stop: Float[Array, "*n 3"]
    radii: Float[Array, "*n 2"]
    wide: Float[Array, "*n 3"]
    flatness: Float[Array, "*n"]
    look: Look


def _part(start, stop, radii, look: Look, wide=None, flatness=1.0) -> Part:
    wide = jnp.zeros(3) if wide is None else wide
    return Part(
        start, stop, jnp.stack(jnp.broadcast_arrays(*radii)), wide, jnp.array(flatness), look
    )


def dress(body: Body, outfit: Outfit) -> Part:
    """The parts of a dressed body, stacked: leaves [n, ...]."""
    middle = [*_trunk(body, outfit), *_head(body, outfit)]
    # The two sides differ only in their points.
    arms = jnp.concatenate([body.joints[_ARMS], body.fingertips[:, None]], 1)  # [2, 4, 3]
    legs = jnp.concatenate([body.joints[_LEGS], body.toes[:, None]], 1)
    limbs = jax.vmap(lambda arm, leg: _stack([*_arm(arm, outfit), *_leg(leg, outfit)]))(arms, legs)
    return jax.tree.map(
        lambda m, s: jnp.concatenate([m, s.reshape(-1, *s.shape[2:])]), _stack(middle), limbs
    )


# Shoulder, elbow, wrist and hip, knee, ankle; right and left.
_ARMS = np.array([[8, 7, 6], [9, 10, 11]])
_LEGS = np.array([[2, 1, 0], [3, 4, 5]])


def _stack(parts: list[Part]) -> Part:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)


def _trunk(body: Body, outfit: Outfit) -> list[Part]:
    g = outfit.girth * (0.9 + 0.1 * outfit.loose)
    joints, neck = body.joints, body.joints[12]
    up, left = -body.chest_frame[:, 1], body.chest_frame[:, 0]
    hip_up, hip_left = -body.pelvis_frame[:, 1], body.pelvis_frame[:, 0]
    pelvis = (joints[2] + joints[3]) / 2
    shirt = plain(outfit.shirt)._replace(stripe=outfit.stripe, pattern=outfit.pattern)
    shirt = shirt._replace(
        bare=outfit.panel, front=-body.chest_frame[:, 2], hairline=outfit.panel_from
    )
    yoke = plain(outfit.shirt)
    shorts = plain(outfit.trousers)
    ribs = neck - 0.16 * up
    return [
        _part(ribs, body.waist, (0.15 * g, 0.125 * g), shirt, left, 0.7),
        _part(joints[8], joints[9], (0.055 * g, 0.055 * g), yoke),
        _part(joints[8] - 0.06 * up, body.waist - 0.05 * left, (0.05 * g, 0.07 * g), yoke),
        _part(joints[9] - 0.06 * up, body.waist + 0.05 * left, (0.05 * g, 0.07 * g), yoke),
        _part(body.waist, pelvis + 0.08 * hip_up, (0.125 * g, 0.14 * g), shirt, hip_left, 0.72),
        _part(joints[2] + 0.02 * hip_up, joints[3] + 0.02 * hip_up, (0.085 * g, 0.085 * g), shorts),
    ]


def _head(body: Body, outfit: Outfit) -> list[Part]:
    """Neck, skull with a face on one side, eyes, and hair down the back."""
    neck, top = body.joints[12], body.joints[13]
    left, down, back = body.head_frame.T
    # The skull's upper end is the joint at the top of the head.
    crown, chin = top + 0.085 * down, top + 0.155 * down - 0.012 * back
    face = plain(outfit.hair)._replace(
        bare=outfit.skin, front=0.5 * down - 0.87 * back, hairline=jnp.array(0.25)
    )
    eyes = top + 0.115 * down - 0.083 * back
    nape = top + 0.1 * down + 0.045 * back
    iris = plain(jnp.array([0.05, 0.04, 0.04]))
    hair_end = nape + (0.02 + outfit.long_hair) * (0.9 * down + 0.3 * back)
    return [
        _part(neck, (neck + chin) / 2, (0.055 * outfit.girth, 0.05), plain(outfit.skin)),
        _part(crown, chin, (0.085, 0.072), face),
        _part(eyes - 0.032 * left, eyes - 0.03 * left, (0.009, 0.009), iris),
        _part(eyes + 0.032 * left, eyes + 0.03 * left, (0.009, 0.009), iris),
        _part(nape, hair_end, (0.055, 0.035), plain(outfit.hair)),
    ]


def _arm(points: Float[Array, "4 3"], outfit: Outfit) -> list[Part]:
    shoulder, elbow, wrist, fingertips = points
    g, loose, sleeves = outfit.girth, outfit.loose, outfit.sleeves
    upper = plain(outfit.shirt)._replace(bare=outfit.skin, cuff=sleeves)
    fore = plain(outfit.shirt)._replace(
        cloth=jnp.where(sleeves > 1.0, outfit.shirt, outfit.skin),
        bare=outfit.skin,
        cuff=sleeves - 1,
    )
    upper_girth = g * jnp.where(sleeves > 0.0, loose, 1.0)
    fore_girth = g * jnp.where(sleeves > 1.0, loose, 1.0)
    return [
        _part(shoulder, elbow, (0.052 * upper_girth, 0.04 * upper_girth), upper),
        _part(elbow, wrist, (0.04 * fore_girth, 0.028 * fore_girth), fore),
        _part(
            wrist + 0.3 * (fingertips - wrist), fingertips, (0.034 * g, 0.026), plain(outfit.skin)
        ),
    ]


def _leg(points: Float[Array, "4 3"], outfit: Outfit) -> list[Part]:
    hip, knee, ankle, toes = points
    g, loose, legs = outfit.girth, outfit.loose, outfit.legs
    thigh = plain(outfit.trousers)._replace(bare=outfit.skin, cuff=legs)
    long = legs > 1.0
    shin = plain(jnp.where(long, outfit.trousers, outfit.skin))._replace(
        bare=outfit.sock, cuff=jnp.where(long, legs - 1.0, outfit.sock_from)
    )
    thigh_girth, shin_girth = g * loose, g * jnp.where(long, loose, 1.0)
    heel = ankle - 0.15 * (toes - ankle)
    return [
        _part(hip, knee, (0.083 * thigh_girth, 0.055 * thigh_girth), thigh),
        _part(knee, ankle, (0.055 * shin_girth, 0.036 * shin_girth), shin),
        _part(heel, toes, (0.045, 0.034), plain(outfit.shoe)),
    ]


def capsules(parts: Part, camera: Camera) -> Capsules:
    """The parts projected into the picture."""
    points = jnp.stack([parts.start, parts.stop], -2)  # [n, 2, 3]
    ends = camera.project(points)
    axis = ends[:, 1] - ends[:, 0]
    normal = jnp.stack([axis[:, 1], -axis[:, 0]], -1)
    normal = normal / (jnp.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6)

    def breadth(towards):
        """Half-width of an elliptical part along a direction, relative to its radius."""
        share = jnp.square(towards)
        return jnp.sqrt(share + jnp.square(parts.flatness) * (1.0 - share))

    width = breadth(jnp.sum(parts.wide[:, :2] * normal, -1))
    thickness = breadth(parts.wide[:, 2])
    return Capsules(
        ends=ends,
        radii=parts.radii * width[:, None] * camera.scale(points),
        depths=points[..., 2],
        bulge=parts.radii.mean(-1) * thickness,
        square=jnp.zeros(len(ends)),
        look=parts.look,
    )
