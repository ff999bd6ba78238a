import logging
import warnings

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from engine_jax import fonts
from engine_jax.pictures import drawing
from engine_jax.plots import save


def named(name):
    figure = Figure()
    axes = figure.subplots()
    axes.set_title(name)
    axes.set_yscale("log")
    axes.set_xticks([0, 1], [name, name])
    return figure


@pytest.mark.parametrize("name", ["$", "a$b$c", r"$\frac{$", "$x_{1$"])
def test_names_are_drawn_as_they_are(name, tmp_path):
    figure = named(name)
    save(figure, tmp_path / "a.png")
    assert not figure.axes[0].title.get_parse_math()
    assert (tmp_path / "a.png").stat().st_size


def test_a_script_that_no_font_has_is_one_line_without_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "_installed", list)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(named("日本語"), tmp_path / "a.png")
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'a.png'}: no installed font has some of its characters; "
        "a font such as Noto Sans CJK has"
    ]


def test_an_installed_font_is_used_for_what_the_usual_one_lacks(tmp_path, caplog, monkeypatch):
    font = "Last Resort High-Efficiency"  # Of matplotlib's own: a box for each character of any script.
    if font not in font_manager.get_font_names():
        pytest.skip(f"{font} is not there")
    monkeypatch.setattr(fonts, "_installed", lambda: [font])
    figure = named("日本語")
    save(figure, tmp_path / "a.png")
    assert figure.axes[0].title.get_fontfamily()[-1] == font
    assert caplog.text == ""


def test_what_cannot_be_drawn_is_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), drawing(tmp_path / "a.png"):
        raise ValueError("no\nmetric")
    assert [record.message for record in caplog.records] == [
        f"not drawn: {tmp_path / 'a.png'}: no metric"
    ]
    (tmp_path / "file").touch()
    with drawing(tmp_path / "file" / "a.png") as path:
        save(named("a"), path)
    assert "file: this folder can't be made" in caplog.text
