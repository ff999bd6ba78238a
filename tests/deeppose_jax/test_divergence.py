"""What a run says whose learning rate is too high."""

import pytest

from deeppose_jax.train import train_and_evaluate
from engine_jax.config import to_mapping
from engine_jax.errors import UserError
from engine_jax.writer import read_metrics
from tests.deeppose_jax.lsp_folder import tiny_lsp
from tests.deeppose_jax.settings import tiny


def test_the_stage_that_diverged_is_named_and_what_to_do(tmp_path):
    folder = tiny_lsp(tmp_path / "lsp", count=20).path
    changes = {"data__dir": str(folder), "data__validation": 3, "data__canvas": 48, "stages": 2}
    changes |= {"evaluation__batch_size": 8, "evaluation__bootstrap": 10, "refiner__form": "shared"}
    changes["evaluation__thresholds"] = ()  # which is a run as any other
    for stage in ("", "refiner__"):
        changes |= {f"{stage}train__epochs": 1, f"{stage}train__batch_size": 7}
        changes[f"{stage}model__backbone"] = "compact"

    def run(rate, name):
        config = tiny(**changes, refiner__optimizer__learning_rate=rate)
        return train_and_evaluate(to_mapping(config), tmp_path / name, pictures=False)

    for _ in range(2):  # The same command says the same again.
        with pytest.raises(UserError) as caught:
            run(1e30, "run")
        assert str(caught.value).startswith("stage_2: the validation loss is ")
        assert str(caught.value).endswith(
            " at step 1; try a lower config.refiner.optimizer.learning_rate, in another --workdir"
        )
    # Of stage 2 there are training losses only, of stage 1 all.
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl", "stage_1")
    assert any("validation/loss" in row for row in rows)
    with pytest.raises(
        UserError, match=r"learning_rate: 1e\+30 there, 0\.001 here\); give the same"
    ):
        run(1e-3, "run")
    assert [stage["pdj"] for stage in run(1e-3, "another")["stages"]] == [{}, {}]
