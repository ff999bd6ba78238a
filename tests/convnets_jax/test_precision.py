import jax
import jax.numpy as jnp
import pytest

from convnets_jax.precision import activation_dtype


@pytest.mark.parametrize(
    ("name", "backend", "expected"),
    [
        ("auto", "cpu", jnp.float32),
        ("auto", "gpu", jnp.bfloat16),
        ("auto", "tpu", jnp.bfloat16),
        ("float32", "tpu", jnp.float32),
        ("float16", "cpu", jnp.float16),
        ("bfloat16", "cpu", jnp.bfloat16),
    ],
)
def test_auto_depends_on_the_machine(name, backend, expected, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert activation_dtype(name) == jnp.dtype(expected)
