import argparse
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from engine_jax import cli
from engine_jax.errors import UserError
from engine_jax.files import user_path


def values(monkeypatch, *arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--threshold", type=cli.finite)
    parser.add_argument("--box")
    parser.add_argument("rest", nargs="*")
    found = []
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    cli.run(found.append, parser)
    return found[0]


def test_negative_values_follow_their_flag_with_a_space_or_an_equals_sign(monkeypatch):
    for box in (("--box", "-5,0,50,60"), ("--box=-5,0,50,60",)):
        found = values(monkeypatch, "a.png", *box, "--threshold", "-.5", "b.png")
        assert (found.box, found.threshold, found.rest) == ("-5,0,50,60", -0.5, ["a.png", "b.png"])


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "high"])
def test_numbers_that_are_not_finite_are_refused(monkeypatch, capsys, text):
    with pytest.raises(SystemExit):
        values(monkeypatch, "--threshold", text)
    assert f"--threshold: {text!r}; accepted: a finite number" in capsys.readouterr().err


def test_a_name_that_the_output_cannot_show_ends_no_program(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(
        sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True)
    )
    cli.guard(lambda: print("日本 \udcff.png"), debug=False)
    assert shown.getvalue() == b"\\u65e5\\u672c \\udcff.png\n"


def test_what_memory_does_not_hold_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.guard(lambda: np.zeros((2**40, 2**10)), debug=False)  # pyright: ignore[reportArgumentType]
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "error: not enough memory: Unable to allocate 8.00 PiB for an array with"
    )
    assert said.count("\n") == 1


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_path("~/run") == Path("/home/someone/run")
    assert user_path("a/~/run") == Path("a/~/run")
    with pytest.raises(UserError, match="~nobody_of_this_name/run"):
        user_path("~nobody_of_this_name/run")
