"""What figures show, for the tests of plots."""

from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from engine_jax.plots import save


def labels(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def line_of(ax: Axes, label: str) -> Line2D:
    (line,) = (line for line in ax.lines if line.get_label() == label)
    return line


def assert_no_overlap(figure: Figure, texts: list) -> None:
    figure.draw_without_rendering()
    # Of the words: an annotation's own extent takes in its line.
    boxes = [Text.get_window_extent(text) for text in texts]
    for i, box in enumerate(boxes):
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, texts[i]
        for j in range(i):
            assert not box.overlaps(boxes[j]), (texts[i], texts[j])


def assert_drawn_alike(draw: Callable[[], Figure], folder: Path) -> None:
    """Drawn and saved twice, a figure is the same bytes, and 1200 pixels wide."""
    for name in ("first.png", "second.png"):
        save(draw(), folder / name)
    assert (folder / "first.png").read_bytes() == (folder / "second.png").read_bytes()
    with Image.open(folder / "first.png") as image:
        assert image.width == 1200
        assert 700 < image.height < 1500


def some_history(
    metrics: Iterable[str] = (), epochs: int = 10, steps: int = 10
) -> list[dict[str, float]]:
    """Rows of a metrics.jsonl: the training loss by step; by epoch the validation loss, and each metric, 3 % more."""
    rows: list[dict[str, float]] = []
    for step in range(1, epochs * steps + 1):
        rows.append({"step": step, "epoch": step / steps, "train/loss": 1 / step})
        if step % steps == 0:
            epoch = step // steps
            row = {"step": step, "epoch": epoch, "validation/loss": 0.2 + 0.01 * (epoch - 4) ** 2}
            for split in ("train", "validation", "test"):
                row |= {f"{split}/{metric}": 3.0 * epoch for metric in metrics}
            rows.append(row)
    return rows
