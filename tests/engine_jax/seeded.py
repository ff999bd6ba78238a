"""A configuration of a seed alone."""

from dataclasses import dataclass

from engine_jax.randomness import Seed


@dataclass(frozen=True)
class Seeded:
    seed: Seed
