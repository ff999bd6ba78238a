"""Compiled programs on disk, so that a program's second start doesn't compile again what its first one did."""

import os
from pathlib import Path

import jax

_FOLDER = "deeppose-jax"
_SECONDS = 0.1  # a program that compiles faster isn't kept


def keep_compiled_programs() -> Path | None:
    """Keeps what JAX compiles from now on under the user's cache folder, which is returned.

    XDG_CACHE_HOME, by default ~/.cache, is that folder. JAX's own settings go before: JAX_COMPILATION_CACHE_DIR names
    another folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. Nothing is kept, and None returned, where the
    folder can't be written to either.
    """
    config = jax.config
    if not config.jax_enable_compilation_cache:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    if chosen := config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return Path(chosen)
    folder = _user_folder()
    if folder is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS)
    return folder


def _user_folder() -> Path | None:
    """The folder under the user's cache folder, if there is one that can be written to."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # By the XDG standard a relative path is to be ignored.
        home = Path(named) if os.path.isabs(named) else Path.home() / ".cache"
        folder = home / _FOLDER / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home.
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
