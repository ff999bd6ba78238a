"""A finished run that is given more epochs."""

import json
import shutil

import pytest

from classify_jax.networks import NARROW
from classify_jax.train import train_and_evaluate
from classify_jax.training import NAME
from engine_jax.errors import UserError
from engine_jax.writer import read_metrics
from tests.classify_jax.settings import ONE_VIEW, shrink, tiny_config
from tests.soak.small_run import same


def trained(workdir, epochs, **changes):
    changes |= {"optimizer__schedule": "constant", "train__epochs": epochs}
    return train_and_evaluate(tiny_config(**ONE_VIEW, **changes), workdir, pictures=False)


def test_a_finished_run_with_more_epochs_ends_as_one_that_had_them_from_the_start(
    tmp_path, monkeypatch
):
    """With a constant learning rate, bit for bit, and of batch norm's statistics too; its random numbers are those of
    the epochs.
    """
    shrink(monkeypatch)
    norms = {"model__name": NARROW}
    expected = trained(tmp_path / "long", 3, **norms)
    workdir = tmp_path / "grown"
    assert trained(workdir, 2, **norms)["epochs"] == 2
    assert not same(workdir, tmp_path / "long")
    found = trained(workdir, 3, **norms)
    assert same(workdir, tmp_path / "long")
    assert found["single_view"] == expected["single_view"]
    assert (found["epochs"], found["best_epoch"]) == (3, expected["best_epoch"])
    assert json.loads((workdir / "config.json").read_text())["train"]["epochs"] == 3
    for changes in ({"epochs": 2}, {"epochs": 4, "seed": 1}):
        with pytest.raises(UserError, match="holds a run of another config"):
            trained(workdir, **changes, **norms)
    assert json.loads((workdir / "results.json").read_text()) == found


def test_evaluations_stay_at_the_same_epochs_and_old_pictures_go(tmp_path):
    workdir = tmp_path / "run"
    trained(workdir, 2, evaluation__every=3)
    (workdir / "plots" / "old.png").touch()
    trained(workdir, 4, evaluation__every=3)
    rows = read_metrics(workdir / "metrics.jsonl", NAME)
    assert [row["epoch"] for row in rows if "validation/loss" in row] == [2, 3, 4]
    assert not any((workdir / "plots").iterdir())


@pytest.mark.parametrize("damage", ["lost", "emptied"])
def test_a_run_that_cannot_be_trained_further_keeps_its_results(damage, tmp_path):
    workdir = tmp_path / "run"
    expected = trained(workdir, 1)
    last = workdir / "checkpoints" / NAME / "last"
    if damage == "lost":
        shutil.rmtree(last)
    else:
        for file in last.rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
    with pytest.raises(UserError, match=r"last.*(no complete checkpoint here|damaged)"):
        trained(workdir, 2)
    assert trained(workdir, 1) == expected
    assert (workdir / "results.json").exists()
