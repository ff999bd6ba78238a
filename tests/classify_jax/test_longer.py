"""A finished run that is given more epochs."""

import json

import pytest

from classify_jax.train import train_and_evaluate
from engine_jax.errors import UserError
from tests.classify_jax.settings import shrink, tiny_config
from tests.soak.small_run import same


def trained(workdir, epochs, **changes):
    changes |= {"optimizer__schedule": "constant", "train__epochs": epochs}
    return train_and_evaluate(tiny_config(**changes), workdir, pictures=False)


def test_a_finished_run_with_more_epochs_ends_as_one_that_had_them_from_the_start(
    tmp_path, monkeypatch
):
    """With a constant learning rate, bit for bit; its random numbers are those of the epochs."""
    shrink(monkeypatch)
    expected = trained(tmp_path / "long", 3)
    workdir = tmp_path / "grown"
    assert trained(workdir, 2)["epochs"] == 2
    assert not same(workdir, tmp_path / "long")
    found = trained(workdir, 3)
    assert same(workdir, tmp_path / "long")
    assert found["single_view"] == expected["single_view"]
    assert (found["epochs"], found["best_epoch"]) == (3, expected["best_epoch"])
    assert json.loads((workdir / "config.json").read_text())["train"]["epochs"] == 3
    for changes in ({"epochs": 2}, {"epochs": 4, "seed": 1}):
        with pytest.raises(UserError, match="holds a run of another config"):
            trained(workdir, **changes)
    assert json.loads((workdir / "results.json").read_text()) == found
