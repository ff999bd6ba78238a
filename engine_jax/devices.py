"""The devices that JAX computes on."""

import os
from typing import Any

import jax

from engine_jax.compilation_cache import keep_compiled_programs
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
    """Makes JAX find its devices, and keep what it compiles for them; the start of every program.

    Raises:
        UserError: it finds none, such as of the platform that JAX_PLATFORMS asks for; with JAX's reason.
    """
    keep_compiled_programs()
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS")
        # Where there is no NVIDIA GPU, JAX passes over "cuda" and fails an assertion without a message.
        reason = str(error) or "JAX sees no NVIDIA GPU on this machine"
        raise UserError(f"{f'JAX_PLATFORMS={asked}' if asked else 'JAX'}: {reason}") from error


def memory() -> int:
    """Bytes of a device's memory; of a CPU the machine's."""
    device = jax.local_devices(backend=platform())[0]
    stats = device.memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return stats.get("bytes_limit", machine)
