"""Short forms of the soak cases on interruptions and damage."""

import signal
import time

import pytest

from tests.soak import damage, full_disk, long_run, small_run


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A run that was never stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "expected"
    status, said = small_run.finish(workdir, full_disk.EPOCHS, "--nopictures")
    assert status == 0, said
    return workdir


def test_a_run_that_is_killed_goes_on_as_if_it_never_was(expected, tmp_path):
    """After the first epoch; `python -m tests.soak kills` tries any moment."""
    run, epochs = tmp_path / "run", full_disk.EPOCHS
    with small_run.start(run, epochs, "--nopictures") as process:
        while not written(run, rows=30):
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
        process.communicate()
    assert not (run / "results.json").exists()
    status, said = small_run.finish(run, epochs, "--nopictures")
    assert status == 0, said
    assert small_run.same(run, expected)


def written(run, rows=1):
    metrics = run / "metrics.jsonl"
    return metrics.exists() and metrics.read_bytes().count(b"\n") >= rows


@pytest.mark.parametrize(
    ("told", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_run_that_is_told_to_stop_is_saved_and_says_how_to_go_on(told, status, tmp_path):
    run = tmp_path / "run"
    with small_run.start(run, 1000, "--nopictures") as process:
        while not written(run):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(told)
        sent = time.monotonic()
        _, said = process.communicate()
    assert time.monotonic() - sent < 30
    assert process.returncode == status
    assert "Traceback" not in said
    line = said.strip().splitlines()[-1]
    assert "is saved at step" in line
    assert "the same command goes on" in line
    assert any((run / "checkpoints" / small_run.PART / "last").iterdir())


def test_damaged_files_change_no_number_without_a_word():
    assert damage.run(1, kinds=("one bit", "nested"), files=("config.json", "metrics.jsonl")) == []


def test_a_full_disk_costs_one_line(expected):
    assert full_disk.run((256,), expected) == []


def test_memory_and_files_stay_flat():
    # Beside other tests the rate says nothing.
    assert long_run.run(450, samples=6, slowest=100, every=2) == []
