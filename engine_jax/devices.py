"""The devices that JAX computes on."""

import os
from typing import Any

import jax

from engine_jax.errors import UserError


def platform() -> str:
    """ "cpu", "gpu" or "tpu": what `jax.default_device` asks for, without it JAX's choice."""
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        return jax.default_backend()
    return jax.devices(chosen)[0].platform if isinstance(chosen, str) else chosen.platform


def all_devices() -> list[Any]:
    """Those of this platform, of all hosts."""
    return jax.devices(platform())


def check_devices() -> None:
    """Makes JAX find its devices.

    Raises:
        UserError: there are none of the platform that JAX_PLATFORMS names; with JAX's reason.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        # JAX fails an assertion without a message where "cuda" is asked for and there is no NVIDIA GPU.
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(f"JAX_PLATFORMS={asked}: {error or 'JAX finds no such device'}") from error
