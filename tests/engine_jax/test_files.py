import os
import resource
import subprocess
import sys

import pytest

from engine_jax import lock
from engine_jax.errors import UserError
from engine_jax.files import check_folder, write_file
from tests.engine_jax.odd_paths import ODD


@pytest.mark.parametrize(
    ("odd", "message"),
    ODD,
)
def test_a_path_that_cannot_be_a_folder_is_named(odd, message, tmp_path):
    with pytest.raises(UserError, match=message):
        check_folder(odd(tmp_path))


def test_a_folder_is_there_or_could_be(tmp_path):
    assert check_folder(tmp_path)
    assert not check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_place_is_named(tmp_path, monkeypatch):
    """As a user other than root finds it."""
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(UserError, match="can't be written to"):
        check_folder(tmp_path / "run")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_file(path, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"a\.json: can't be written \(File too large\)"):
            write_file(path, "x" * 2000)
        with pytest.raises(UserError, match=r"a\.json: can't be written \(File too large\)"):
            write_file(path, lambda file: file.write(b"x" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.json"]
    write_file(path, lambda file: file.write(b"after"))
    assert path.read_text() == "after"


HOLD = """
import pathlib, sys
from engine_jax import lock
lock.acquire(pathlib.Path(sys.argv[1]))
print(1, flush=True)
input()
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        for refused in (lock.acquire, lock.check):
            with pytest.raises(UserError, match="another process is running here"):
                refused(tmp_path)
        other.kill()
    lock.check(tmp_path)
    lock.acquire(tmp_path)
    lock.release(tmp_path)
