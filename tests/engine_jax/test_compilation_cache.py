import os
import subprocess
import sys

import jax
import pytest

PROGRAM = """
import jax, numpy as np
from engine_jax.devices import check_devices
check_devices()
print(jax.config.jax_compilation_cache_dir)
jax.jit(lambda x: x @ x.T)(np.ones((5, 5))).block_until_ready()
"""


def folder_of(**variables):
    """The folder that a program keeps what it compiled in, by what it prints."""
    unset = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    kept |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.strip()


def test_programs_are_kept_under_the_users_cache_folder(tmp_path):
    folder = tmp_path / "deeppose-jax" / "compiled"
    assert folder_of(XDG_CACHE_HOME=str(tmp_path)) == str(folder)
    assert list(folder.glob("*-cache"))


def test_the_default_is_the_cache_folder_of_the_home(tmp_path):
    folder = tmp_path / ".cache" / "deeppose-jax" / "compiled"
    assert folder_of(HOME=str(tmp_path), XDG_CACHE_HOME="") == str(folder)
    assert list(folder.glob("*-cache"))


def test_jax_own_folder_goes_before(tmp_path):
    own = tmp_path / "own"
    found = folder_of(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(own))
    assert found == str(own)
    assert list(own.glob("*-cache"))
    assert not (tmp_path / "deeppose-jax").exists()


def test_it_can_be_switched_off(tmp_path):
    found = folder_of(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="false")
    assert found == "None"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["a file", "no home"])
def test_without_a_folder_nothing_is_kept(kind, tmp_path):
    (tmp_path / "file").write_text("")
    blocked = str(tmp_path / "file")
    if kind == "a file":
        assert folder_of(XDG_CACHE_HOME=blocked) == "None"
    else:
        assert folder_of(HOME=blocked, XDG_CACHE_HOME="") == "None"


def test_tests_read_and_write_the_cache_too():
    """The variables of tests/conftest.py are set before JAX is imported, which reads them then."""
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.05
