"""Text in pictures as it is written: names with $ or of any script, in the fonts that are installed."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

# Fonts with Chinese, Japanese and Korean characters, of Linux, macOS and Windows, in the order of preference.
CJK = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAexGothic", "IPAGothic", "TakaoGothic"),
    *("Droid Sans Fallback", "NanumGothic", "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo"),
    *("Yu Gothic", "Microsoft YaHei", "SimHei", "Malgun Gothic", "Arial Unicode MS"),
)
_FIRST_CJK = "\u2e80"


def write_plainly(figure: Figure) -> None:
    """Makes all texts of a figure mean what they say: no $formulas$, and fonts for the characters that they hold."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        said = text.get_text()
        if "$" in said and "\\mathdefault" not in said:  # Which matplotlib writes on its own axes.
            text.set_parse_math(False)
        if said and max(said) >= _FIRST_CJK and (found := _installed()):
            text.set_fontfamily([*text.get_fontfamily(), *found])


@contextmanager
def missing_characters_named(name: object) -> Iterator[None]:
    """One line about characters that no font has, instead of a warning for each."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    missing = [each for each in caught if "missing from" in str(each.message)]
    if missing:
        logging.warning(
            "%s: no installed font has some of its characters; a font such as Noto Sans CJK has",
            name,
        )
    for each in caught:
        if each not in missing:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


@cache
def _installed() -> list[str]:
    names = set(font_manager.get_font_names())
    return [name for name in CJK if name in names][:3]
