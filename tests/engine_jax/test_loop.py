import gc
import json
import math
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from engine_jax.errors import UserError
from engine_jax.feed import make_train_call
from engine_jax.interruption import Interrupted, heeded
from engine_jax.loop import fit
from engine_jax.phases import Phase
from engine_jax.plan import Plan
from engine_jax.run_folder import RunFolder
from engine_jax.sharding import device_mesh, replicated, split
from engine_jax.state import create_state
from engine_jax.writer import read_metrics

# Two steps an epoch, an evaluation after each epoch.
PLAN = Plan(
    steps=12, steps_per_epoch=2, steps_per_call=1, evaluate_every=1, patience=0, batch_size=1
)


class Counter(nnx.Module):
    """Its parameter is the number of steps taken."""

    def __init__(self, rngs):
        self.steps = nnx.Param(jnp.zeros(()))


def begin(phase):
    del phase
    state = create_state(Counter, optax.sgd(1.0), jax.random.key(0), replicated(device_mesh()))

    @jax.jit
    def step(state):
        grads = jax.tree.map(lambda x: -jnp.ones_like(x), state.params)
        return state.apply_gradients(optax.sgd(1.0), grads, state.model_state), jnp.ones(1)

    return state, lambda state, done: step(state)


def fitted(folder, losses, plan=PLAN, evaluations=None, begin=begin):
    """A fit whose validation losses are those given, by epoch; `evaluations` gets the epochs that were evaluated."""
    (folder / "run").mkdir(exist_ok=True)

    def evaluate(variables):
        epoch = round(float(variables.params["steps"][...]) / plan.steps_per_epoch)
        if evaluations is not None:
            evaluations.append(epoch)
        return {"validation/loss": losses[epoch - 1]}

    return fit([Phase("net", plan)], begin, evaluate, RunFolder(folder / "run"), field="config.x")


def steps_in(variables):
    return float(variables.params["steps"][...])


def steps_of(result):
    return steps_in(result.best)


def test_the_variables_of_the_lowest_validation_loss_are_chosen(tmp_path):
    found = fitted(tmp_path, [5.0, 3.0, 4.0, 3.0, 3.5, 6.0])
    # Epoch 4 is as good as epoch 2, and later.
    assert (found.best_step, steps_of(found)) == (4, 4)
    assert (found.best_epoch, found.epochs) == (2, 6)


def test_a_criterion_chooses_in_place_of_the_validation_loss(tmp_path):
    """The highest score is epoch 2's; two evaluations without a better one, NaN among them, end training."""
    losses, scores = [5.0, 4.0, 3.0, 2.0, 1.0, 0.5], [10.0, 30.0, math.nan, 20.0, 40.0, 50.0]
    (tmp_path / "run").mkdir()

    def evaluate(variables):
        epoch = round(steps_in(variables) / PLAN.steps_per_epoch)
        return {"validation/loss": losses[epoch - 1], "score": scores[epoch - 1]}

    phase, folder = Phase("net", replace(PLAN, patience=2)), RunFolder(tmp_path / "run")
    found = fit([phase], begin, evaluate, folder, criterion=lambda metrics: -metrics["score"])
    assert (found.best_epoch, found.epochs, steps_of(found)) == (2, 4, 4)


@pytest.mark.parametrize(
    ("patience", "epochs", "best"), [(0, 6, 6), (1, 3, 2), (2, 6, 6), (3, 6, 6)]
)
def test_training_stops_after_evaluations_without_a_lower_loss(patience, epochs, best, tmp_path):
    evaluated = []
    losses = [5.0, 3.0, 4.0, 2.0, 3.0, 1.0]
    found = fitted(tmp_path, losses, replace(PLAN, patience=patience), evaluated)
    assert evaluated == list(range(1, epochs + 1))
    assert (found.epochs, found.best_epoch) == (epochs, best)
    assert steps_of(found) == 2 * best


def test_patience_counts_through_a_restart(tmp_path):
    """Stopped after epoch 3, one evaluation after the best; one more without a lower loss ends training."""
    losses = [5.0, 3.0, 4.0, 4.0, 1.0, 1.0]
    plan = replace(PLAN, patience=2)
    with pytest.raises(IndexError):
        fitted(tmp_path, losses[:3], plan)
    evaluated = []
    found = fitted(tmp_path, losses, plan, evaluated)
    assert evaluated == [4]
    assert (found.epochs, found.best_epoch, steps_of(found)) == (4, 2, 4)
    assert fitted(tmp_path, losses, plan, evaluated).best_step == 4
    assert evaluated == [4]


def test_the_best_variables_are_those_that_the_progress_names(tmp_path):
    """Not the newest: as if the run had been killed between the two writes of a later evaluation."""
    losses = [5.0, 3.0, 4.0, 6.0, 6.0, 6.0]
    with pytest.raises(IndexError):
        fitted(tmp_path, losses[:3])
    best = tmp_path / "run" / "checkpoints" / "net" / "best"
    shutil.copytree(best / "2", best / "99")
    found = fitted(tmp_path, losses)
    assert (found.best_step, steps_of(found)) == (4, 4)
    assert not (best / "99").exists()


def test_a_run_whose_checkpoints_were_lost_does_not_start_from_scratch(tmp_path):
    losses = [5.0, 4.0, 3.0, 2.0, 1.0, 0.5]
    part = tmp_path / "run" / "checkpoints" / "net"
    for evaluations, starts in ((1, True), (3, False)):
        with pytest.raises(IndexError):
            fitted(tmp_path, losses[:evaluations])
        shutil.rmtree(part / "last")
        evaluated = []
        if starts:  # The first checkpoint may not have been complete yet.
            fitted(tmp_path, losses, evaluations=evaluated)
            assert evaluated == [1, 2, 3, 4, 5, 6]
            shutil.rmtree(tmp_path / "run")
            continue
        with pytest.raises(
            UserError, match="no complete checkpoint here, where some were; to train"
        ):
            fitted(tmp_path, losses, evaluations=evaluated)
        assert evaluated == []
    shutil.rmtree(part)  # As the message says.
    assert fitted(tmp_path, losses).steps == 12


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_loss_that_is_never_finite_is_named(loss, tmp_path):
    with pytest.raises(UserError) as error:
        fitted(tmp_path, [loss] * 6)
    assert str(error.value) == (
        f"net: the validation loss is {loss} at step 2; "
        "try a lower config.x.optimizer.learning_rate, in another --workdir"
    )


def test_a_training_loss_that_is_not_finite_names_its_step(tmp_path):
    def diverging(phase):
        state, call = begin(phase)
        diverge = jax.jit(lambda loss: loss * jnp.nan)

        def diverged(state, done):
            state, loss = call(state, done)
            return state, loss if done < 4 else diverge(loss)

        return state, diverged

    with pytest.raises(UserError, match=r"^net: the loss is nan at step 5; try a lower config\.x"):
        fitted(tmp_path, [3.0, 2.0, 1.0], begin=diverging)
    # The checkpoint of epoch 2 is there, and the rows up to it.
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl", "net")
    assert [row["validation/loss"] for row in rows if "validation/loss" in row] == [3.0, 2.0]
    assert steps_of(fitted(tmp_path, [3.0, 2.0, 1.0] * 2)) == 6


def test_a_call_is_sent_before_the_losses_of_the_one_before_are_read(tmp_path):
    """Read, in the end, are all of them, each once, and before an evaluation all that came before it."""
    events = []

    class Losses:
        """A call's losses, which say when they are read."""

        def __init__(self, done):
            self.done = done

        def __len__(self):
            return 1

        def __array__(self, dtype=None, copy=None):
            events.append(("read", self.done))
            return np.ones(1, dtype)

    def noted(phase):
        state, call = begin(phase)

        def train_call(state, done):
            events.append(("sent", done))
            return call(state, done)[0], Losses(done)

        return state, train_call

    def evaluate(variables):
        events.append(("evaluated", round(steps_in(variables))))
        return {"validation/loss": 1.0}

    (tmp_path / "run").mkdir()
    plan = replace(PLAN, steps=6, steps_per_epoch=3)
    fit([Phase("net", plan)], noted, evaluate, RunFolder(tmp_path / "run"))
    first = [("sent", 0), ("sent", 1), ("read", 0), ("sent", 2), ("read", 1), ("read", 2)]
    second = [(event, done + 3) for event, done in first]
    assert events == [*first, ("evaluated", 3), *second, ("evaluated", 6)]


@pytest.mark.parametrize("stop", range(1, 8))
def test_an_interrupted_call_is_finished_and_goes_on_where_it_stopped(stop, tmp_path):
    """Told to stop while the call that begins at any step is sent: no row is lost, and none is there twice."""
    plan = replace(PLAN, steps=8, steps_per_epoch=4)

    def stopped(phase):
        state, call = begin(phase)

        def train_call(state, done):
            if done == stop:
                signal.raise_signal(signal.SIGTERM)
            return call(state, done)

        return state, train_call

    with pytest.raises(Interrupted) as interrupted, heeded():
        fitted(tmp_path, [2.0, 1.0], plan, begin=stopped)
    assert interrupted.value.__notes__ == [f"net is saved at step {stop + 1} of 8"]
    metrics = tmp_path / "run" / "metrics.jsonl"
    rows = [row["step"] for row in read_metrics(metrics, "net") if "train/loss" in row]
    assert rows == list(range(1, stop + 2))
    found = fitted(tmp_path, [2.0, 1.0], plan)
    assert (found.steps, steps_of(found)) == (8, 8)
    rows = [row["step"] for row in read_metrics(metrics, "net") if "train/loss" in row]
    assert rows == list(range(1, 9))


def test_training_moves_nothing_to_the_device_that_nobody_asked_to_move(tmp_path):
    def moving(phase):
        state, call = begin(phase)
        add = jax.jit(lambda losses, value: losses + value)

        def train_call(state, done):
            state, losses = call(state, done)
            return state, add(losses, np.float32(done))

        return state, train_call

    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        fitted(tmp_path, [2.0] * 6, begin=moving)


def test_nothing_of_a_finished_phase_but_its_best_variables_stays_on_the_device(tmp_path):
    """Neither the optimiser's moments nor the training set, of a phase that is trained and of one that is read."""

    class Wide(nnx.Module):
        def __init__(self, rngs):
            self.steps = nnx.Param(jnp.zeros(1001))

    optimizer = optax.adam(0.1)

    def step(state, batch):
        grads = jax.tree.map(lambda x: x + batch.mean(), state.params)
        return state.apply_gradients(optimizer, grads, state.model_state), batch.mean()

    def begin(phase):
        mesh = device_mesh(1)
        everywhere = replicated(mesh)
        state = create_state(Wide, optimizer, jax.random.key(0), everywhere)
        data = np.ones((2, 1003), np.float32)
        place = (phase.plan, [0], everywhere, split(mesh, axis=1))
        return state, make_train_call(step, data, "device", *place)

    def sizes():
        gc.collect()
        return sorted(array.size for array in jax.live_arrays() if array.size > 1000)

    (tmp_path / "run").mkdir()
    phases = [Phase(name, replace(PLAN, steps=4)) for name in ("frozen", "net")]
    before = sizes()
    for _ in range(2):
        found = fit(phases, begin, lambda _: {"validation/loss": 1.0}, RunFolder(tmp_path / "run"))
        assert sizes() == sorted([*before, 1001])
        assert found.best.parameter_count == 1001
        del found


def test_metrics_stay_json_where_a_later_loss_is_not_finite(tmp_path):
    losses = [5.0, math.nan, 4.0, math.inf, -math.inf, math.nan]
    assert fitted(tmp_path, losses).best_step == 6

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    written = [row["validation/loss"] for row in rows if "validation/loss" in row]
    assert written == [5.0, None, 4.0, None, None, None]
    read = read_metrics(tmp_path / "run" / "metrics.jsonl", "net")
    np.testing.assert_array_equal(
        [row["validation/loss"] for row in read if "validation/loss" in row],
        [5.0, math.nan, 4.0, math.nan, math.nan, math.nan],
    )
