"""Results of metrics.score as lines of text, in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

from anomaly_jax.config import ThresholdConfig
from anomaly_jax.thresholds import Promise
from engine_jax.tables import INTERVAL_LEGEND, aligned, percent

RATES = ("recall", "precision", "accuracy")


def ranking_table(score: Mapping[str, Any], threshold: str) -> str:
    """How well scores rank faulty above good, and F1: a line for each defect and one for all images.

    Args:
        score: see `metrics.score`.
        threshold: name of the threshold whose F1 stands beside the best possible F1.
    """
    rows = [["%", "images", "pixel AUROC", "AUPRO", "pixel AP"]]
    rows[0] += [f"pixel F1 {threshold}", "oracle", "image AUROC", f"image F1 {threshold}", "oracle"]
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


def decision_table(score: Mapping[str, Any], threshold: str) -> str:
    """Images at a named threshold of their scores: good ones that are taken for faulty, and faulty ones for good."""
    rows = [[f"images at {threshold}", "wrong", "of", "%"]]
    level = score["image_level"][threshold]
    names = {"good, taken for faulty": (score["good_images"], level["false_positive_rate"])}
    for defect, row in score["defects"].items():
        found = row["image_level"][threshold]["recall"]
        missed = None if found is None else 1 - found
        names[f"{defect}, taken for good"] = (row["images"] - row["good_images"], missed)
    for name, (count, rate) in names.items():
        wrong = "-" if rate is None else str(round(rate * count))
        rows.append([name, wrong, str(count), percent(rate)])
    return "\n".join(aligned(rows))


def untested(score: Mapping[str, Any]) -> list[str]:
    """What a test set can't tell, as it lacks the images or the masks; see `metrics.score`."""
    found = []
    if not score["good_images"]:
        found.append("whether the promised rate of false alarms is kept: no good test images")
    if not score["defects"]:
        found.append("whether faults are found: no faulty test images")
    for name, row in score["defects"].items():
        if not row["pixel_images"]:
            found.append(f"which pixels of {name} are found: no masks")
    return found


def untested_lines(found: Sequence[str]) -> str:
    """The same as text."""
    return "\n".join(["Not tested:", *(f"- {line}" for line in found)])


def promise_lines(promise: Promise, config: ThresholdConfig, averaged: bool = False) -> str:
    """What the thresholds from good images promise, in words.

    Args:
        promise: of `thresholds.from_good`.
        config: what was asked for.
        averaged: whether new images get the mean of several maps, where the thresholds come from one map an image.
    """
    source = {
        "held_out": "held-out good images",
        "cross_fit": "good images, each scored by the member that never saw it",
    }[config.calibration]
    low, high = promise.band
    lines = [
        f"Thresholds are from {promise.images} {source}. Of new good images like these",
        f"{percent(promise.rate)} % [{percent(low)}, {percent(high)}] are taken for faulty, and in as many more than "
        f"{percent(config.pixel, digits=2)} % of the pixels; [low, high]: 95 % interval, given these images",
    ]
    if averaged:
        lines.append(
            "or fewer: a new image's map is the members' mean, which is calmer than the one map behind each score"
        )
    if not promise.kept:
        needed = promise.images_needed
        more = "no number of images can" if needed is None else f"that takes {needed} images"
        lines.append(
            f"warning: {promise.images} images can't promise the {percent(promise.wanted)} % that was asked for: {more}"
        )
    return "\n".join(lines)
