"""Results of a run as lines of text, in percent."""

from collections.abc import Mapping
from typing import Any

from engine_jax.tables import INTERVAL_LEGEND, aligned, percent

_CLASSES = 20  # shown in the table of classes


def error_table(results: Mapping[str, Any]) -> str:
    """Top-1 and top-5 error with their intervals; without intervals those of single views and of a constant guess.

    Args:
        results: the content of results.json.
    """
    intervals = results["intervals"]
    rows = [["%", "top-1 error", "top-5 error"]]
    names = ("top1_error", "top5_error")
    rows.append(["test", *(percent(results[name], intervals.get(name)) for name in names)])
    if results["views"] > 1:
        rows[-1][0] = f"test, mean of {results['views']} views"
        rows.append(["centre crop alone", *(percent(results["single_view"][n]) for n in names)])
    rows.append(["always the commonest class", *(percent(results["floor"][n]) for n in names)])
    return "\n".join([*aligned(rows), INTERVAL_LEGEND])


def class_table(results: Mapping[str, Any]) -> str:
    """The accuracy of each class and the class it is most often mistaken for, the worst classes first."""
    names = list(results["per_class"])
    known = [
        (row["accuracy"], i) for i, row in enumerate(results["per_class"].values()) if row["images"]
    ]
    rows = [["class", "images", "accuracy, %", "most often taken for"]]
    for accuracy, i in sorted(known)[:_CLASSES]:
        row = list(results["confusion"][i])
        count, row[i] = sum(row), 0
        worst = max(range(len(row)), key=row.__getitem__)
        mistaken = f"{names[worst]} ({row[worst]})" if row[worst] else "-"
        rows.append([names[i], str(count), percent(accuracy), mistaken])
    more = [f"and {len(known) - _CLASSES} better classes"] if len(known) > _CLASSES else []
    return "\n".join([*aligned(rows), *more])
