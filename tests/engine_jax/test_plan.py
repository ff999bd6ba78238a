import pytest

from engine_jax.errors import UserError
from engine_jax.plan import Plan, TrainConfig, in_epochs, make_plan, steps_in_a_call
from engine_jax.sharding import device_mesh


@pytest.mark.parametrize(
    ("steps", "per_epoch", "expected"), [(0, 3, 0), (6, 3, 2), (1, 3, 0.3333), (7, 2, 3.5)]
)
def test_steps_in_epochs(steps, per_epoch, expected):
    epochs = in_epochs(steps, per_epoch)
    assert epochs == expected
    assert isinstance(epochs, int) == (steps % per_epoch == 0)


def test_the_last_call_of_an_epoch_and_of_a_plan_takes_the_steps_that_are_left():
    plan = Plan(
        steps=70, steps_per_epoch=7, steps_per_call=3, evaluate_every=1, patience=0, batch_size=4
    )
    calls = list(plan.stretch(16).calls(0))
    assert [len(call) for call in calls] == [3, 3, 1, 3, 3, 1, 2]
    assert [step for call in calls for step in call] == list(range(16))


@pytest.mark.parametrize("done", range(16))
def test_calls_after_any_step_are_those_of_an_uninterrupted_run(done):
    plan = Plan(
        steps=16, steps_per_epoch=7, steps_per_call=3, evaluate_every=1, patience=0, batch_size=4
    )
    resumed = list(plan.calls(done))
    assert [step for call in resumed for step in call] == list(range(done, 16))
    assert {call.stop for call in resumed} <= {call.stop for call in plan.calls(0)}


@pytest.mark.parametrize(
    ("steps", "limit", "expected"),
    [(64, 16, 16), (20, 16, 10), (77, 16, 11), (79, 16, 16), (5, 16, 5)],
)
def test_steps_per_call_divide_an_epoch_only_where_many_do(steps, limit, expected):
    assert steps_in_a_call(steps, limit) == expected


def test_a_plan_counts_whole_batches():
    train = TrainConfig(epochs=5, batch_size=8, steps_per_call=1, patience=0)
    plan = make_plan(train, 2, size=30, mesh=device_mesh())
    assert (plan.steps, plan.steps_per_epoch, plan.evaluate_every) == (15, 3, 2)
    with pytest.raises(
        UserError, match=r"field\.train\.batch_size: 8 is more than the 7 training images"
    ):
        make_plan(train, 2, size=7, mesh=device_mesh(), field="field")
