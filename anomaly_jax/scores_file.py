"""A table of the test images, one line each, for spreadsheets."""

import csv
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from anomaly_jax.curves import PerImage
from anomaly_jax.data.load import Part
from anomaly_jax.scoring import decide
from anomaly_jax.thresholds import Thresholds
from engine_jax.files import write_file

_COLUMNS = ("file", "kind", "score", "predicted", "threshold", "faulty_part", "true_faulty_part")


def write_scores(
    file: Path,
    part: Part,
    maps: PerImage,
    scores: Float[np.ndarray, " n"],
    thresholds: Thresholds,
) -> None:
    """Writes each image's name, kind and score, the decision ("faulty" or "good") and the threshold behind it, the part
    of its pixels that is predicted faulty, and that which is by its mask, both in 0 .. 1; empty is what isn't known.

    Args:
        file: to write.
        part: the images.
        maps: at the images' own sizes.
        scores: of the images.
        thresholds: to decide by.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    images = part.images
    for i, name in enumerate(part.names):
        found = decide(maps[i], scores[i], thresholds)
        predicted = {True: "faulty", False: "good", None: ""}[found.pred_label]
        marked = "" if found.pred_mask is None else f"{found.pred_mask.mean():.6g}"
        true = f"{part.masks[i].mean():.6g}" if images.labelled[i] else ""
        kind = images.defect_names[images.defects[i]]
        threshold = "" if thresholds.image is None else repr(thresholds.image)
        table.writerow([name, kind, repr(found.pred_score), predicted, threshold, marked, true])
    write_file(file, text.getvalue())
