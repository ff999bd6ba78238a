"""A human body in three dimensions: poses drawn from families of joint angles, and forward kinematics.

The body's frame has x to the person's own left, y down and z to the back, in metres; with no rotation the person
faces a camera that looks along +z, and stands upright with hanging arms.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

# The angles of a pose, in degrees; all zero is standing at attention. Positive lean, flex, nod and flexion of shoulder,
# elbow and hip are forward; a knee flexes backward; abduction is away from the body's middle.
TRUNK = ("lean", "side", "flex", "bend", "twist", "nod", "tilt", "turn")
ARM = ("shoulder_flex", "shoulder_abduct", "shoulder_twist", "elbow")
LEG = ("hip_flex", "hip_abduct", "hip_twist", "knee")

# The joints' ranges of motion; the lean of the whole body is free.
LIMITS = {
    "flex": (-25, 60),
    "bend": (-30, 30),
    "twist": (-45, 45),
    "nod": (-40, 45),
    "tilt": (-30, 30),
    "turn": (-70, 70),
    "shoulder_flex": (-60, 178),
    "shoulder_abduct": (-15, 110),
    "shoulder_twist": (-60, 60),
    "elbow": (0, 140),
    "hip_flex": (-30, 120),
    "hip_abduct": (-12, 60),
    "hip_twist": (-20, 40),
    "knee": (0, 140),
}

_ANY_TRUNK = {
    "lean": (-8, 14),
    "side": (-10, 10),
    "flex": (-5, 20),
    "bend": (-12, 12),
    "twist": (-25, 25),
    "nod": (-15, 30),
    "tilt": (-15, 15),
    "turn": (-50, 50),
}
_ANY_ARM = {
    "shoulder_flex": (-35, 70),
    "shoulder_abduct": (0, 50),
    "shoulder_twist": (-40, 40),
    "elbow": (0, 120),
}
_ANY_LEG = {
    "hip_flex": (-15, 30),
    "hip_abduct": (0, 18),
    "hip_twist": (-10, 30),
    "knee": (0, 30),
}
_RAISED_ARM = _ANY_ARM | {
    "shoulder_flex": (110, 175),
    "shoulder_abduct": (0, 40),
    "elbow": (0, 80),
}
_WIDE_ARM = _ANY_ARM | {"shoulder_flex": (-20, 50), "shoulder_abduct": (40, 110), "elbow": (0, 70)}
_FOLDED_LEG = {
    "hip_flex": (55, 115),
    "hip_abduct": (0, 40),
    "hip_twist": (-10, 30),
    "knee": (55, 135),
}
_LOOSE_LEG = _ANY_LEG | {"hip_flex": (-20, 60), "hip_abduct": (0, 50), "knee": (0, 60)}

# A family is (weight, trunk, left arm, right arm, left leg, right leg), with a range for each angle. Half of the
# poses are mirrored, so that neither side is favoured.
_FAMILIES = {
    "standing": (0.24, _ANY_TRUNK, _ANY_ARM, _ANY_ARM, _ANY_LEG, _ANY_LEG),
    "running": (
        0.22,
        _ANY_TRUNK | {"lean": (0, 30)},
        _ANY_ARM | {"shoulder_flex": (-60, 0), "shoulder_abduct": (0, 30), "elbow": (50, 125)},
        _ANY_ARM | {"shoulder_flex": (20, 85), "shoulder_abduct": (0, 30), "elbow": (50, 125)},
        _ANY_LEG | {"hip_flex": (25, 100), "knee": (30, 115)},
        _ANY_LEG | {"hip_flex": (-28, 10), "knee": (5, 95)},
    ),
    "crouching": (
        0.10,
        _ANY_TRUNK | {"lean": (5, 45), "flex": (0, 40)},
        _ANY_ARM | {"shoulder_flex": (10, 110)},
        _ANY_ARM | {"shoulder_flex": (10, 110)},
        _FOLDED_LEG,
        _FOLDED_LEG,
    ),
    "arms up": (0.15, _ANY_TRUNK, _RAISED_ARM, _RAISED_ARM, _LOOSE_LEG, _ANY_LEG),
    "serving": (
        0.13,
        _ANY_TRUNK | {"side": (-25, 25), "twist": (-40, 40)},
        _RAISED_ARM,
        _ANY_ARM,
        _ANY_LEG | {"hip_flex": (20, 80), "knee": (15, 90)},
        _ANY_LEG | {"hip_flex": (-28, 5), "knee": (0, 45)},
    ),
    "kicking": (
        0.08,
        _ANY_TRUNK | {"lean": (-35, 10)},
        _WIDE_ARM,
        _WIDE_ARM,
        _ANY_LEG | {"hip_flex": (60, 118), "hip_abduct": (0, 40), "knee": (0, 50)},
        _ANY_LEG,
    ),
    "flying": (
        0.04,
        _ANY_TRUNK | {"lean": (45, 110), "flex": (-20, 20), "nod": (-35, 10)},
        _RAISED_ARM,
        _WIDE_ARM,
        _LOOSE_LEG,
        _LOOSE_LEG,
    ),
    "upside down": (
        0.04,
        _ANY_TRUNK | {"lean": (135, 225), "side": (-30, 30), "nod": (-35, 10)},
        _RAISED_ARM,
        _RAISED_ARM,
        _LOOSE_LEG,
        _LOOSE_LEG,
    ),
}
ANGLES = TRUNK + tuple(f"{side}_{name}" for side in ("left", "right") for name in ARM + LEG)


def _family_ranges() -> tuple[np.ndarray, np.ndarray]:
    """Weights [f] and ranges [f, a, 2] of the families, clipped to the joints' limits."""
    weights, ranges = [], []
    for weight, trunk, left_arm, right_arm, left_leg, right_leg in _FAMILIES.values():
        rows = [(name, trunk[name]) for name in TRUNK]
        for arm, leg in ((left_arm, left_leg), (right_arm, right_leg)):
            rows += [(name, arm[name]) for name in ARM] + [(name, leg[name]) for name in LEG]
        ranges.append([np.clip(r, *LIMITS.get(name, (-360, 360))) for name, r in rows])
        weights.append(weight)
    return np.array(weights) / sum(weights), np.array(ranges, np.float32)


_WEIGHTS, _RANGES = _family_ranges()
# Mirroring a pose negates these angles and swaps the angles of the two sides.
_TURNS = np.array([-1.0 if n in ("side", "bend", "twist", "tilt", "turn") else 1.0 for n in ANGLES])
_MIRROR = np.r_[: len(TRUNK), len(TRUNK) + 8 : len(ANGLES), len(TRUNK) : len(TRUNK) + 8]


class Body(NamedTuple):
    """Points in metres, and frames whose columns are a part's left, down and back directions."""

    joints: Float[Array, "14 3"]  # in LSP's order
    fingertips: Float[Array, "2 3"]  # right, left
    toes: Float[Array, "2 3"]  # right, left
    waist: Float[Array, "3"]
    pelvis_frame: Float[Array, "3 3"]
    chest_frame: Float[Array, "3 3"]
    head_frame: Float[Array, "3 3"]


def sample_angles(u: Float[Array, "26"]) -> Float[Array, "24"]:
    """A pose's joint angles in degrees, in the order of `ANGLES`, from uniform numbers in [0, 1)."""
    chosen = jnp.asarray(_RANGES)[jnp.sum(u[0] > np.cumsum(_WEIGHTS)[:-1])]  # [a, 2]
    angles = chosen[:, 0] + u[2:] * (chosen[:, 1] - chosen[:, 0])
    mirrored = (angles * jnp.asarray(_TURNS, jnp.float32))[_MIRROR]
    return jnp.where(u[1] < 0.5, mirrored, angles)


_AXES = {"x": 0, "y": 1, "z": 2}


def rotation(axis: str, degrees: Float[Array, "*n"]) -> Float[Array, "*n 3 3"]:
    """Rotation matrices about one axis, right-handed: about z they take x towards y."""
    unit = np.eye(3, dtype=np.float32)[_AXES[axis]]
    still = jnp.asarray(np.outer(unit, unit))
    # Rodrigues' formula: the component along the axis stays, the rest is rotated.
    cross = np.cross(unit, np.eye(3)).T.astype(np.float32)
    radians = jnp.radians(degrees)[..., None, None]
    turning = jnp.eye(3) - still
    return still + jnp.cos(radians) * turning + jnp.sin(radians) * cross


# Mean lengths in metres for a person of 1.75 m.
LENGTHS = {
    "shin": 0.43,
    "thigh": 0.44,
    "hip": 0.095,  # half the distance between the hips
    "loin": 0.21,  # hips to waist
    "chest": 0.29,  # waist to neck
    "shoulder": 0.185,  # half the distance between the shoulders
    "upper_arm": 0.30,
    "forearm": 0.26,
    "head": 0.28,  # neck to the top of the head
    "hand": 0.10,
    "foot": 0.17,
}


def pose_body(angles: Float[Array, "24"], lengths: dict[str, Array]) -> Body:
    """Forward kinematics: joint angles in degrees and bone lengths in metres to points, pelvis at the origin."""
    trunk = dict(zip(TRUNK, angles[: len(TRUNK)], strict=True))
    left, right = angles[len(TRUNK) :].reshape(2, -1)
    sides = dict(zip(ARM + LEG, jnp.stack([right, left], -1), strict=True))  # [2] each
    pelvis_frame = rotation("z", trunk["side"]) @ rotation("x", trunk["lean"])
    # Half of the spine's motion is below the waist, half above it.
    half = (
        rotation("y", trunk["twist"] / 2)
        @ rotation("z", trunk["bend"] / 2)
        @ rotation("x", trunk["flex"] / 2)
    )
    loin_frame = pelvis_frame @ half
    chest_frame = loin_frame @ half
    head_frame = (
        chest_frame
        @ rotation("y", trunk["turn"])
        @ rotation("z", trunk["tilt"])
        @ rotation("x", trunk["nod"])
    )
    waist = -lengths["loin"] * loin_frame[:, 1]
    neck = waist - lengths["chest"] * chest_frame[:, 1]
    head_top = neck - lengths["head"] * (0.3 * chest_frame[:, 1] + 0.7 * head_frame[:, 1])
    arms = _arms(sides, neck, chest_frame, lengths)
    legs = _legs(sides, pelvis_frame, lengths)
    limbs = [legs[2::-1, 0], legs[:3, 1], arms[2::-1, 0], arms[:3, 1]]
    return Body(
        joints=jnp.concatenate([*limbs, neck[None], head_top[None]]),
        fingertips=arms[3],
        toes=legs[3],
        waist=waist,
        pelvis_frame=pelvis_frame,
        chest_frame=chest_frame,
        head_frame=head_frame,
    )


# Outward directions of the right and of the left side; the person's own left is +x.
_OUT = np.array([-1.0, 1.0], np.float32)


def _arms(sides, neck, chest_frame, lengths) -> Float[Array, "4 2 3"]:
    """Shoulder, elbow, wrist and fingertips, right and left."""
    upper = (
        chest_frame
        @ rotation("x", -sides["shoulder_flex"])
        @ rotation("z", -_OUT * sides["shoulder_abduct"])
        @ rotation("y", _OUT * sides["shoulder_twist"])
    )  # [2, 3, 3]
    fore = upper @ rotation("x", -sides["elbow"])
    # A raised arm lifts its shoulder.
    raised = (1 - upper[..., 1] @ chest_frame[:, 1]) / 2
    drop = 0.03 - 0.07 * raised
    shoulder = (
        neck
        + lengths["shoulder"] * _OUT[:, None] * chest_frame[:, 0]
        + drop[:, None] * chest_frame[:, 1]
    )
    elbow = shoulder + lengths["upper_arm"] * upper[..., 1]
    wrist = elbow + lengths["forearm"] * fore[..., 1]
    return jnp.stack([shoulder, elbow, wrist, wrist + lengths["hand"] * fore[..., 1]])


def _legs(sides, pelvis_frame, lengths) -> Float[Array, "4 2 3"]:
    """Hip, knee, ankle and toes, right and left."""
    thigh = (
        pelvis_frame
        @ rotation("x", -sides["hip_flex"])
        @ rotation("z", -_OUT * sides["hip_abduct"])
        @ rotation("y", -_OUT * sides["hip_twist"])
    )  # [2, 3, 3]
    shin = thigh @ rotation("x", sides["knee"])
    hip = lengths["hip"] * _OUT[:, None] * pelvis_frame[:, 0]
    knee = hip + lengths["thigh"] * thigh[..., 1]
    ankle = knee + lengths["shin"] * shin[..., 1]
    toes = ankle + lengths["foot"] * (0.35 * shin[..., 1] - 0.94 * shin[..., 2])
    return jnp.stack([hip, knee, ankle, toes])


def sample_body(key: PRNGKeyArray) -> Body:
    """A person of random proportions in a random pose, upright, facing in any direction."""
    # A single draw, because each one adds its own generator to the compiled program.
    u = jax.random.uniform(key, (1 + len(LENGTHS) + 2 + len(ANGLES),))
    yaw, spread, rest = 2 * u[0] - 1, 2 * u[1 : 1 + len(LENGTHS)] - 1, u[1 + len(LENGTHS) :]
    mean = jnp.array(list(LENGTHS.values()))
    lengths = dict(zip(LENGTHS, mean * (1 + 0.12 * spread), strict=True))
    body = pose_body(sample_angles(rest), lengths)
    # Any direction, but more often from the front than from behind, as in photographs.
    turn = rotation("y", 180.0 * jnp.sign(yaw) * jnp.abs(yaw) ** 2.2)
    return move(body, turn, jnp.zeros(3))


def move(body: Body, turn: Float[Array, "3 3"], shift: Float[Array, "3"]) -> Body:
    """The body rotated about the origin, then shifted."""
    points, frames = body[:4], body[4:]
    return Body(*(p @ turn.T + shift for p in points), *(turn @ frame for frame in frames))
