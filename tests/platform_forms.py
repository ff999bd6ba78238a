"""Forms that are computed on one platform only, computed on any."""

from contextlib import AbstractContextManager
from unittest import mock

import jax


def computed_as_on(platform: str) -> AbstractContextManager:
    """`jax.lax.platform_dependent` takes the form of this platform, "default" or "tpu", while it is traced."""
    take = mock.Mock(side_effect=lambda *inputs, **forms: forms[platform](*inputs))
    return mock.patch.object(jax.lax, "platform_dependent", take)
