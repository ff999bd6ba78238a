"""The type of a network's activations, as configurations name it. Parameters are float32 in any case."""

from typing import Literal

import jax.numpy as jnp
from jax.typing import DTypeLike

from engine_jax.devices import platform

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def activation_dtype(name: Dtype) -> DTypeLike:
    """The type of a name; "auto" is float32 on CPU and bfloat16 on accelerators."""
    if name == "auto":
        return jnp.float32 if platform() == "cpu" else jnp.bfloat16
    return jnp.dtype(name)
