"""Short form of the soak case of mutated files."""

from tests.soak import fuzz


def test_mutated_files_are_read_or_refused_in_one_line():
    assert fuzz.run(1000) == []
