import pytest

from engine_jax.errors import UserError
from engine_jax.plan import Plan, TrainConfig, in_epochs, make_plan
from engine_jax.sharding import device_mesh


@pytest.mark.parametrize(
    ("steps", "per_epoch", "expected"), [(0, 3, 0), (6, 3, 2), (1, 3, 0.3333), (7, 2, 3.5)]
)
def test_steps_in_epochs(steps, per_epoch, expected):
    epochs = in_epochs(steps, per_epoch)
    assert epochs == expected
    assert isinstance(epochs, int) == (steps % per_epoch == 0)


@pytest.mark.parametrize(("steps", "per_call"), [(60, 6), (20, 4), (7, 1), (18, 6)])
def test_a_stretch_ends_between_calls(steps, per_call):
    plan = Plan(
        steps=120, steps_per_epoch=12, steps_per_call=6, evaluate_every=1, patience=0, batch_size=4
    )
    stretch = plan.stretch(steps)
    assert (stretch.steps, stretch.steps_per_call) == (steps, per_call)
    assert stretch.steps_per_epoch == 12


def test_a_plan_counts_whole_batches():
    train = TrainConfig(epochs=5, batch_size=8, steps_per_call=1, patience=0)
    plan = make_plan(train, 2, size=30, mesh=device_mesh())
    assert (plan.steps, plan.steps_per_epoch, plan.evaluate_every) == (15, 3, 2)
    with pytest.raises(
        UserError, match=r"field\.train\.batch_size: 8 is more than the 7 training images"
    ):
        make_plan(train, 2, size=7, mesh=device_mesh(), field="field")
