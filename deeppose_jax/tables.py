"""Results of metrics.score as lines of text; what wasn't measured is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from deeppose_jax.metrics import look_up
from engine_jax.tables import INTERVAL_LEGEND, aligned, with_interval

Keys = tuple[str, ...]  # where a score holds a value, see metrics.look_up


def score_table(score: Mapping[str, Any], floor: Mapping[str, Any] | None = None) -> str:
    """PCP by part, PDJ and PCKh by joint, each with its 95 % interval and the mean pose's value, and COCO's OKS AP.

    Args:
        score: see `metrics.score`; with `oks_scores` under "oks" if they are known.
        floor: the same for the mean training pose.
    """
    pcp: dict[str, Keys] = {"strict": ("pcp_strict",), "loose": ("pcp_loose",)}
    pdj: dict[str, Keys] = {f"at {t}": ("pdj", t) for t in score["pdj"] or {}}
    pdj |= {"area 0-0.5": ("pdj_auc",)}
    pckh: dict[str, Keys] = {f"at {t}": ("pckh", t) for t in score.get("pckh") or {}}
    oks: dict[str, Keys] = {"": ("oks",)}
    lines = []
    tables = {"PCP at 0.5, %": pcp, "PDJ, %": pdj, "PCKh, %": pckh, "OKS, %": oks}
    for title, columns in tables.items():
        names = look_up(score, next(iter(columns.values()), ("",)))
        if not names:
            continue
        rows = [[title, *columns]]
        for name in names:
            cells = [_cell(score, (*keys, name), floor) for keys in columns.values()]
            rows.append([name.replace("_", " "), *cells])
        lines += [*aligned(rows), ""]
    legend = [INTERVAL_LEGEND] if score.get("intervals") else []
    legend += ["(n): the mean pose, a guess without looking"] if floor is not None else []
    return "\n".join([*lines, "; ".join(legend)]).rstrip()


def stages_table(
    stages: Sequence[Mapping[str, Any]], floor: Mapping[str, Any], limbs: str | None = "four_limbs"
) -> str:
    """PCP of the limbs, PDJ or, without a torso, PCKh of all joints, OKS AP: a line for the mean pose, one a stage.

    Args:
        stages: results of `metrics.score`, each with its number under `stage`.
        floor: the score of the mean training pose.
        limbs: the group of parts whose mean stands for PCP, `Skeleton.limb_parts`.
    """
    columns: dict[str, Keys] = {}
    if limbs and floor["pcp_strict"]:
        columns = {"PCP strict": ("pcp_strict", limbs), "PCP loose": ("pcp_loose", limbs)}
    columns |= {f"PDJ at {t}": ("pdj", t, "total") for t in floor["pdj"] or {}}
    if not floor["pdj"]:
        columns |= {f"PCKh at {t}": ("pckh", t, "total") for t in floor.get("pckh") or {}}
    if floor.get("oks"):
        columns["OKS AP"] = ("oks", "ap")
    named = {"mean pose": floor} | {f"stage {stage['stage']}": stage for stage in stages}
    rows = [["%", *columns]]
    for name, score in named.items():
        rows.append([name, *(_cell(score, keys) for keys in columns.values())])
    return "\n".join(aligned(rows))


def scale_lines(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each stage that predicts scales: the mean expected and the mean seen error of a coordinate."""
    lines = []
    for stage in stages:
        pairs = stage.get("scales") or {"expected_error": [], "error": []}
        known = [
            pair
            for pair in zip(pairs["expected_error"], pairs["error"], strict=True)
            if None not in pair
        ]
        if known:
            expected, seen = (sum(values) / len(values) for values in zip(*known, strict=True))
            lines.append(
                f"stage {stage['stage']}: expected error of a coordinate {expected:.2f} px on the canvas, "
                f"seen {seen:.2f}"
            )
    return lines


def _cell(score: Mapping[str, Any], keys: Keys, floor: Mapping[str, Any] | None = None) -> str:
    value = look_up(score, keys)
    if value is None:
        return "not labelled"
    text = with_interval(value, look_up(score, ("intervals", *keys)), "5.1f")
    guess = look_up(floor or {}, keys)
    return text if guess is None else f"{text} ({guess:.1f})"
