import jax
import numpy as np
import pytest

from engine_jax.config import from_mapping
from engine_jax.errors import UserError
from engine_jax.randomness import entropy_for, key_for, root_key
from tests.engine_jax.seeded import Seeded


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_purposes_and_seeds_never_share_a_key():
    purposes = [
        (part, use)
        for part in ("stage_1_frozen", "stage_1", "stage_2", "detector")
        for use in ("parameters", "steps", "validation")
    ]
    keys = {bits(key_for(seed, *purpose)) for seed in range(50) for purpose in purposes}
    assert len(keys) == 50 * len(purposes)
    # Step keys are folded in from a purpose's key, and meet none of these either.
    steps = {
        bits(jax.random.fold_in(key_for(seed, "stage_1", "steps"), step))
        for seed in range(5)
        for step in range(40)
    }
    assert len(steps) == 200
    assert not steps & keys
    orders = {tuple(entropy_for(seed, *p)) for seed in range(50) for p in purposes}
    assert len(orders) == 50 * len(purposes)


def test_small_seeds_are_jaxs_and_large_ones_all_differ():
    assert bits(root_key(7)) == bits(jax.random.key(7))
    large = (2**32 - 1, 2**32, 2**32 + 7, 2**33, 2**33 + 7, 2**63 - 1, 7, 0)
    assert len({bits(root_key(seed)) for seed in large}) == len(large)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds_from_0_to_2_to_the_63_are_taken(seed):
    assert from_mapping(Seeded, {"seed": seed}).seed == seed
    np.random.default_rng([*entropy_for(seed, "stage_1", "order"), 3])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_other_seeds_are_refused(seed):
    with pytest.raises(UserError, match=r"config\.seed: .* out of range; accepted: >= 0 and <= "):
        from_mapping(Seeded, {"seed": seed})
