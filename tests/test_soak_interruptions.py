"""Short forms of the soak cases on interruptions and damage."""

from tests.soak import damage, full_disk, kills, long_run


def test_a_run_that_is_told_to_stop_goes_on_as_if_it_never_was():
    assert kills.run(1, epochs=4) == []


def test_damaged_files_change_no_number_without_a_word():
    assert damage.run(1, kinds=("one bit",), files=("config.json",)) == []


def test_a_full_disk_costs_one_line():
    assert full_disk.run((256,)) == []


def test_memory_and_files_stay_flat():
    # Beside other tests the rate says nothing.
    assert long_run.run(900, samples=6, slowest=100, every=2) == []
