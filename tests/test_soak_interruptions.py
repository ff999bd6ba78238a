"""Short forms of the soak cases on interruptions and damage."""

import signal
import time

import pytest

from tests.soak import damage, full_disk, kills, long_run, small_run


def test_a_run_that_is_killed_goes_on_as_if_it_never_was():
    assert kills.run(1, epochs=4) == []


@pytest.mark.parametrize(
    ("told", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_run_that_is_told_to_stop_is_saved_and_says_how_to_go_on(told, status, tmp_path):
    run = tmp_path / "run"
    with small_run.start(run, 1000, "--nopictures") as process:
        while not (run / "metrics.jsonl").exists():
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


def test_a_full_disk_costs_one_line():
    assert full_disk.run((256,)) == []


def test_memory_and_files_stay_flat():
    # Beside other tests the rate says nothing.
    assert long_run.run(900, samples=6, slowest=100, every=2) == []
