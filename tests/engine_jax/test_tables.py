from engine_jax import tables


def test_columns_are_aligned_and_lines_have_no_trailing_blanks():
    assert tables.aligned([["a", "bb", "c"], ["aaa", "b", ""]]) == ["a    bb  c", "aaa  b"]


def test_rates_are_written_in_percent_with_their_interval():
    assert tables.percent(0.4714, (0.452, 0.49)) == "47.1 [45.2, 49.0]"
    assert tables.percent(0.4714, digits=0) == "47"
    assert tables.percent(None) == "-"
    assert tables.with_interval(7.25, None, "5.1f") == "  7.2"
