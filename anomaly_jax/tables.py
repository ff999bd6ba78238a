"""Results of metrics.score as lines of text, in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine_jax.tables import INTERVAL_LEGEND, aligned, percent

RATES = ("recall", "precision", "accuracy")


def ranking_table(score: Mapping[str, Any], threshold: str) -> str:
    """How well scores rank faulty above good, and F1: a line for each defect and one for all images.

    Args:
        score: see `metrics.score`.
        threshold: name of the threshold whose F1 stands beside the best possible F1.
    """
    rows = [["%", "images", "pixel AUROC", "AUPRO", "pixel AP", f"F1 {threshold}", "F1 oracle"]]
    rows[0] += ["image AUROC", f"F1 {threshold}", "F1 oracle"]
    for name, row in (*score["defects"].items(), ("all", score)):
        intervals = row.get("intervals", {})
        rows.append(
            [
                name,
                str(row["images"]),
                percent(row["pixel_auroc"], intervals.get("pixel_auroc")),
                percent(row["aupro"]),
                percent(row["ap"]),
                percent(row[threshold]["f1"]),
                percent(row["pixel_oracle"]["f1"]),
                percent(row["image_auroc"], intervals.get("image_auroc")),
                percent(row["image_level"][threshold]["f1"]),
                percent(row["image_oracle"]["f1"]),
            ]
        )
    legend = f"{INTERVAL_LEGEND}; oracle: chosen on the test images themselves"
    return "\n".join([*aligned(rows), legend])


def accuracy_table(score: Mapping[str, Any], names: Sequence[str]) -> str:
    """Recall, precision and accuracy of pixels at named thresholds: a line for each defect and one for all images."""
    rows = [["recall / precision / accuracy, %", *names]]
    for defect, row in (*score["defects"].items(), ("all", score)):
        cells = [" / ".join(percent(row[name][rate], digits=0) for rate in RATES) for name in names]
        rows.append([defect, *cells])
    return "\n".join(aligned(rows))
