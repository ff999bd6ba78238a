"""Scores of metrics.score as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine_jax.tables import aligned

# Where a score holds a value, and its interval.
Keys = tuple[str, ...]


def score_table(score: Mapping[str, Any], floor: Mapping[str, Any] | None = None) -> str:
    """A score part by part and joint by joint, each value with its 95 % interval and the floor's value."""
    pcp: dict[str, Keys] = {"strict": ("pcp_strict",), "loose": ("pcp_loose",)}
    pdj: dict[str, Keys] = {f"at {t}": ("pdj", t) for t in score["pdj"]}
    pdj |= {"area 0-0.5": ("pdj_auc",)}
    lines = []
    for title, columns in (("PCP at 0.5, %", pcp), ("PDJ, %", pdj)):
        rows = [[title, *columns]]
        for name in _at(score, next(iter(columns.values()))):
            cells = [_cell(score, (*keys, name), floor) for keys in columns.values()]
            rows.append([name.replace("_", " "), *cells])
        lines += [*aligned(rows), ""]
    legend = ["[low, high]: 95 % bootstrap interval over images"] if score.get("intervals") else []
    legend += ["(n): the mean pose, a guess without looking"] if floor is not None else []
    return "\n".join([*lines, "; ".join(legend)]).rstrip()


def stages_table(stages: Sequence[Mapping[str, Any]], floor: Mapping[str, Any]) -> str:
    """The main scores, a line for the mean pose and one for each stage: PCP of the four limbs, PDJ of all joints."""
    columns: dict[str, Keys] = {
        "PCP strict": ("pcp_strict", "four_limbs"),
        "PCP loose": ("pcp_loose", "four_limbs"),
    }
    columns |= {f"PDJ at {t}": ("pdj", t, "total") for t in floor["pdj"]}
    named = {"mean pose": floor} | {f"stage {stage['stage']}": stage for stage in stages}
    rows = [["%", *columns]]
    for name, score in named.items():
        rows.append([name, *(_cell(score, keys) for keys in columns.values())])
    return "\n".join(aligned(rows))


def _cell(score: Mapping[str, Any], keys: Keys, floor: Mapping[str, Any] | None = None) -> str:
    value = _at(score, keys)
    if value is None:
        return "not labelled"
    text = f"{value:5.1f}"
    if intervals := score.get("intervals"):
        low, high = _at(intervals, keys)
        text += f" [{low:.1f}, {high:.1f}]"
    if floor is not None and (guess := _at(floor, keys)) is not None:
        text += f" ({guess:.1f})"
    return text


def _at(tree: Mapping[str, Any], keys: Keys) -> Any:
    for key in keys:
        tree = tree[key]
    return tree
