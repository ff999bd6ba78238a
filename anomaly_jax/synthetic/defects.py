"""Defects of a nut: cracks, cuts, holes and prints, all made of strokes with a core and a rim."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from anomaly_jax.synthetic.nut import Surface

DEFECTS = ("crack", "cut", "hole", "print")

STROKES = 16  # of every defect; unused strokes lie at _FAR, outside the picture
_FAR = 100.0


class Defect(NamedTuple):
    """Strokes on the nut's unit disc (see `Surface.at`), and their colours. Lengths are radii of the disc.

    Attributes:
        ends: both ends of each stroke.
        widths: half-widths at both ends.
        core, rim: colours of the strokes and of their surroundings.
        cover: opacity of core and rim, in [0, 1].
        rim_width: width of the rim around the strokes.
        ragged: amplitude of the noise along the strokes' edges.
        patchy: unevenness of the core's opacity, in [0, 1].
    """

    ends: Float[Array, "n 2 2"]
    widths: Float[Array, "n 2"]
    core: Float[Array, "3"]
    rim: Float[Array, "3"]
    cover: Float[Array, "2"]
    rim_width: Float[Array, ""]
    ragged: Float[Array, ""]
    patchy: Float[Array, ""]


def paint(
    colour: Float[Array, "3 s s"], defect: Defect, seen: Surface, rough: Float[Array, "s s"]
) -> tuple[Float[Array, "3 s s"], Float[Array, "s s"]]:
    """The shell's colour with the defect, and the share of the shell's gloss that remains, in [0, 1]."""

    def nearer(outside, stroke):
        """The signed distance of all pixels to the strokes so far, negative inside."""
        (start, stop), (width, end_width) = stroke
        axis = stop - start
        per_length = axis / (axis @ axis + 1e-6)
        x, y = seen.at[0] - start[0], seen.at[1] - start[1]
        along = jnp.clip(x * per_length[0] + y * per_length[1], 0, 1)
        x, y = x - along * axis[0], y - along * axis[1]
        away = jnp.sqrt(x * x + y * y) - width - along * (end_width - width)
        return jnp.minimum(outside, away), None

    # One stroke at a time, so that memory does not grow with the number of strokes.
    outside = jnp.full_like(rough, _FAR)
    outside, _ = jax.lax.scan(nearer, outside, (defect.ends, defect.widths))
    outside = outside + defect.ragged * rough
    core = defect.cover[0] * jnp.clip(0.5 - outside / seen.pitch, 0, 1)
    core = core * (1 - defect.patchy * jnp.clip(0.5 + rough, 0, 1))
    # The rim fades outwards.
    rim = defect.cover[1] * jnp.clip(1 - outside / (defect.rim_width + seen.pitch), 0, 1)
    colour = colour + rim * (defect.rim[:, None, None] - colour)
    colour = colour + core * (defect.core[:, None, None] - colour)
    return colour, (1 - rim) * (1 - core)


def defect_of(u: Float[Array, "n"], kind: Array | int) -> Defect:
    """A defect from at least 32 uniform numbers in [0, 1); kind: index into `DEFECTS`, or len(DEFECTS) for none."""
    return jax.lax.switch(kind, (crack, cut, hole, stamp, no_defect), u)


def no_defect(u: Float[Array, "n"]) -> Defect:
    """Strokes that change nothing."""
    del u
    zero = jnp.zeros(())
    return Defect(
        *_strokes(jnp.zeros((0, 2, 2)), jnp.zeros((0, 2))),
        core=jnp.zeros(3),
        rim=jnp.zeros(3),
        cover=jnp.zeros(2),
        rim_width=zero,
        ragged=zero,
        patchy=zero,
    )


def crack(u: Float[Array, "n"]) -> Defect:
    """A dark, jagged line, roughly from base to tip, with two branches."""
    heading = jnp.pi / 2 + 1.6 * (u[0] - 0.5)
    steps = (0.55 + 0.65 * u[1]) / 7 * (0.5 + u[2:9])
    turns = heading + 1.5 * (u[9:16] - 0.5)
    main = _walk(jnp.zeros(2), turns, steps)  # [8, 2]
    main = main - main.mean(0) + 0.5 * (u[16:18] - 0.5)
    side = jnp.where(u[18] < 0.5, 1.0, -1.0) * (0.5 + 0.6 * u[19:21])
    first = _walk(main[3], heading + side[0] + 1.2 * (u[21:24] - 0.5), 0.8 * steps[:3])
    second = _walk(main[5], heading - side[1] + 1.2 * (u[24:27] - 0.5), 0.6 * steps[3:6])

    half = 0.016 + 0.026 * u[27]
    taper = half * np.array([0.3, 0.8, 1.0, 1.2, 1.1, 0.9, 0.6, 0.2])
    branch = half * np.array([0.8, 0.6, 0.4, 0.2])
    lines = [_line(_inside(p), w) for p, w in ((main, taper), (first, branch), (second, branch))]
    ends, widths = (jnp.concatenate(part) for part in zip(*lines, strict=True))
    return Defect(
        *_strokes(ends, widths),
        core=jnp.array([0.07, 0.045, 0.03]),
        rim=jnp.array([0.22, 0.13, 0.08]) + 0.25 * u[28],
        cover=jnp.stack([0.8 + 0.2 * u[29], 0.3 + 0.3 * u[30]]),
        rim_width=0.01 + 0.02 * u[31],
        ragged=jnp.asarray(0.015),
        patchy=jnp.zeros(()),
    )


def cut(u: Float[Array, "n"]) -> Defect:
    """One to three straight, parallel scratches: the pale inside of the shell between dark edges."""
    angle = jnp.pi * u[0]
    reach = (0.18 + 0.34 * u[1:4]) * _unit(angle)[:, None]  # [2, 3]
    apart = (0.10 + 0.08 * u[4]) * jnp.array([0.0, 1.0, -1.0]) * _unit(angle + jnp.pi / 2)[:, None]
    slip = 0.15 * (u[5:8] - 0.5) * _unit(angle)[:, None]
    middle = (0.9 * (u[8:10, None] - 0.5) + apart + slip).T  # [3, 2]
    shown = jnp.stack([True, u[10] < 0.4, u[10] < 0.15])[:, None]  # pyright: ignore[reportArgumentType]
    middle = jnp.where(shown, middle, _FAR)
    half = (0.025 + 0.03 * u[11]) * jnp.ones(3)
    # Widest in its middle.
    ends = jnp.concatenate(
        [jnp.stack([middle, middle + sign * reach.T], 1) for sign in (1, -1)]
    )  # [6, 2, 2]
    widths = jnp.tile(jnp.stack([half, 0.2 * half], 1), (2, 1))
    return Defect(
        *_strokes(ends, widths),
        core=jnp.array([0.86, 0.70, 0.50]) * (0.85 + 0.25 * u[12]),
        rim=jnp.array([0.20, 0.12, 0.07]),
        cover=jnp.stack([0.75 + 0.25 * u[13], 0.15 + 0.3 * u[14]]),
        rim_width=0.01 + 0.015 * u[15],
        ragged=jnp.asarray(0.008),
        patchy=jnp.asarray(0.2),
    )


def hole(u: Float[Array, "n"]) -> Defect:
    """A round, dark bore with a paler rim."""
    middle = 0.62 * jnp.sqrt(u[0]) * _unit(2 * jnp.pi * u[1])
    radius = 0.06 + 0.09 * u[2] ** 1.5
    # Slightly elongated.
    reach = 0.3 * radius * u[3] * _unit(jnp.pi * u[4])
    ends = jnp.stack([middle - reach, middle + reach])[None]
    return Defect(
        *_strokes(ends, jnp.full((1, 2), radius)),
        core=jnp.array([0.06, 0.04, 0.03]) * (0.6 + 0.8 * u[5]),
        rim=jnp.array([0.74, 0.58, 0.40]) * (0.8 + 0.3 * u[6]),
        cover=jnp.stack([0.9 + 0.1 * u[7], 0.4 + 0.5 * u[8]]),
        rim_width=0.025 + 0.045 * u[9],
        ragged=jnp.asarray(0.008),
        patchy=jnp.zeros(()),
    )


_INKS = np.array(
    [[0.92, 0.92, 0.90], [0.35, 0.55, 0.85], [0.75, 0.15, 0.18], [0.20, 0.55, 0.35]], np.float32
)


def stamp(u: Float[Array, "n"]) -> Defect:
    """Two to four letters in ink, each of four strokes between the points of a 2 x 3 grid."""
    places = [jnp.floor(6 * u[0:4]).astype(jnp.int32)]
    for stroke in range(4):
        # 1 to 5 points further, so that no stroke ends where it starts.
        on = 1 + jnp.floor(5 * u[4 + 4 * stroke : 8 + 4 * stroke]).astype(jnp.int32)
        places.append((places[-1] + on) % 6)
    nodes = jnp.stack(places, 1)  # [4, 5]
    x, y = nodes % 2 - 0.5, nodes // 2 - 1.0

    height, count = 0.26 + 0.14 * u[20], 2 + jnp.floor(3 * u[21])
    letter = jnp.arange(4.0)[:, None]
    x = 0.5 * height * (x + 1.7 * (letter - (count - 1) / 2))
    y = 0.5 * height * y
    turn = 2 * jnp.pi * u[22]
    middle = 0.35 * (u[23:25] - 0.5)
    across, along = _unit(turn), _unit(turn + jnp.pi / 2)
    points = middle + x[..., None] * across + y[..., None] * along  # [4, 5, 2]
    points = jnp.where(letter[..., None] < count, points, _FAR)
    ends = jnp.stack([points[:, :-1], points[:, 1:]], 2).reshape(STROKES, 2, 2)
    return Defect(
        *_strokes(ends, jnp.full((STROKES, 2), 0.022 + 0.018 * u[25])),
        core=jnp.asarray(_INKS)[jnp.floor(4 * u[26]).astype(jnp.int32)] * (0.85 + 0.15 * u[27]),
        rim=jnp.zeros(3),
        cover=jnp.array([1.0, 0.0]) * (0.7 + 0.25 * u[28]),
        rim_width=jnp.zeros(()),
        ragged=jnp.asarray(0.006),
        patchy=0.2 + 0.3 * u[29],
    )


def _unit(angle: Float[Array, "*n"]) -> Float[Array, "2 *n"]:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _walk(start: Float[Array, "2"], headings: Float[Array, "n"], steps: Float[Array, "n"]):
    """The points [n + 1, 2] of a walk with the given headings and step lengths."""
    moves = steps[:, None] * _unit(headings).T
    return jnp.concatenate([start[None], start + jnp.cumsum(moves, 0)])


def _inside(points: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """Moves points beyond the nut's edge back onto it."""
    far = jnp.linalg.norm(points, axis=-1, keepdims=True)
    return points * jnp.minimum(1, 0.92 / jnp.maximum(far, 0.1))


def _line(points: Float[Array, "n 2"], widths: Float[Array, "n"]) -> tuple[Array, Array]:
    """The strokes [n - 1, 2, 2] that connect the points, and their half-widths [n - 1, 2]."""
    return jnp.stack([points[:-1], points[1:]], 1), jnp.stack([widths[:-1], widths[1:]], 1)


def _strokes(ends: Float[Array, "n 2 2"], widths: Float[Array, "n 2"]) -> tuple[Array, Array]:
    """The strokes, padded to `STROKES`."""
    missing = STROKES - len(ends)
    return (
        jnp.concatenate([ends, jnp.full((missing, 2, 2), _FAR)]),
        jnp.concatenate([widths, jnp.zeros((missing, 2))]),
    )
