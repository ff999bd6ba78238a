import os
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from engine_jax import checkpoint, sharding
from engine_jax.checkpoint import Checkpoints, DamagedError
from engine_jax.errors import UserError
from engine_jax.state import abstract_variables, create_state, graph_defs


class Net(nnx.Module):
    def __init__(self, width, *, rngs):
        self.linear = nnx.Linear(3, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x, rngs=None):
        return self.dropout(self.norm(self.linear(x)), rngs=rngs)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """What fails here is the only array, so that there are no errors of others to wait for."""
    monkeypatch.setattr(checkpoint, "_OTHERS", 0)


def state_of(width):
    everywhere = sharding.replicated(sharding.device_mesh())
    return create_state(
        lambda rngs: Net(width, rngs=rngs), optax.adam(1e-3), jax.random.key(0), everywhere
    )


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = state_of(4)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, {"state": state, "best": np.asarray(0.1)})
    blank = {"state": jax.tree.map(jnp.zeros_like, state), "best": np.asarray(0.0)}
    assert checkpoint.steps(tmp_path) == [7]
    restored = checkpoint.restore(tmp_path, blank, 7)
    assert restored["best"] == 0.1
    assert jax.tree.structure(restored["state"]) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored["state"], state)


def saved(folder, *pairs):
    """A folder with a checkpoint of each step, whose three values are all `value`."""
    with Checkpoints(folder) as checkpoints:
        for step, value in pairs:
            checkpoints.save(step, {"x": jnp.full(3, value)})


def read_newest(folder):
    like = {"x": jnp.zeros(3)}
    return checkpoint.newest(folder, lambda step: checkpoint.restore(folder, like, step))


def test_the_two_newest_are_kept_and_a_step_can_be_written_again(tmp_path):
    saved(tmp_path, (1, 1.0), (2, 2.0), (3, 3.0), (3, 4.0))
    np.testing.assert_array_equal(read_newest(tmp_path)["x"], np.full(3, 4.0))
    assert checkpoint.steps(tmp_path) == [3, 2]


def test_a_save_leaves_no_file_open(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        counts = []
        for step in range(4):
            checkpoints.save(step, {"x": jnp.zeros(3)})
            checkpoints.wait()
            counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] == counts[1]


def test_another_architecture_is_refused_by_name_and_shape(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": state_of(4).params})
    with pytest.raises(UserError, match=r"linear\.bias.* is \(4,\) there, \(5,\) in the model"):
        checkpoint.restore(tmp_path, {"params": state_of(5).params}, 1)


def test_readers_change_nothing_and_make_no_folders(tmp_path):
    saved(tmp_path / "run", (1, 1.0))
    unfinished = tmp_path / "run" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "run" / "1", unfinished)
    before = sorted(tmp_path.rglob("*"))
    assert read_newest(tmp_path / "none") is None
    read_newest(tmp_path / "run")
    with pytest.raises(UserError, match="none/4: no complete checkpoint here"):
        checkpoint.restore(tmp_path / "none", {"x": jnp.zeros(3)}, 4)
    assert sorted(tmp_path.rglob("*")) == before
    saved(tmp_path / "run")  # The run itself removes what it left.
    assert not unfinished.exists()


def data_file(folder, step):
    """The file that holds the values."""
    files = (folder / str(step) / "state").rglob("d/*")
    return max(files, key=lambda path: path.stat().st_size)


def flip(path, position=0.5):
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_which_a_line_says(tmp_path, caplog):
    saved(tmp_path, (1, 1.0), (2, 2.0))
    shutil.rmtree(tmp_path / "2" / "state")
    np.testing.assert_array_equal(read_newest(tmp_path)["x"], np.ones(3))
    assert "2: this checkpoint is damaged" in caplog.text
    assert "the one before it, of step 1, is used" in caplog.text
    shutil.rmtree(tmp_path / "1" / "state")
    with pytest.raises(UserError, match=r"none before it can be read; .* delete"):
        read_newest(tmp_path)


@pytest.mark.parametrize("value", [1.0, 1e-3])
def test_other_values_of_the_same_shape_are_damage(value, tmp_path):
    """As if a flipped bit had passed what the file format checks itself."""
    saved(tmp_path / "run", (1, 2.0))
    saved(tmp_path / "other", (1, value))
    swapped = tmp_path / "run" / "1" / "state"
    shutil.rmtree(swapped)
    shutil.copytree(tmp_path / "other" / "1" / "state", swapped)
    with pytest.raises(DamagedError, match="the values of x have changed"):
        checkpoint.restore(tmp_path / "run", {"x": jnp.zeros(3)}, 1)
    with pytest.raises(DamagedError, match="the values of x have changed"):
        checkpoint.restore_leaf(tmp_path / "run", "x", 1)


def test_checksums_that_were_changed_are_damage(tmp_path):
    saved(tmp_path, (1, 2.0))
    path = tmp_path / "1" / "_CHECKPOINT_METADATA"
    text = path.read_text()
    path.write_text(text.replace('"crc32": ', '"crc32": 1'))
    with pytest.raises(DamagedError, match="its checksums have changed"):
        checkpoint.restore(tmp_path, {"x": jnp.zeros(3)}, 1)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file/last: can't be written"):
        saved(tmp_path / "file" / "last", (1, 1.0))


def test_a_process_that_has_ended_is_no_fault_of_the_disk(tmp_path, monkeypatch):
    """Errors as jaxlib 0.10.2 and tensorstore raise them while two processes write a checkpoint."""
    lost = (
        "UNKNOWN: Gloo AllGather failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:56024"
    )
    full = (
        "RESOURCE_EXHAUSTED: Failed writing: d/d2e6: No space left on device [os_error_code='28']"
    )
    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(ValueError, match="Gloo") as error, checkpoints._named_errors():
            raise ValueError(lost)
        assert not isinstance(error.value, UserError)
        with pytest.raises(UserError, match="can't be written"), checkpoints._named_errors():
            raise ValueError(full)
        monkeypatch.undo()


def test_abstract_variables_are_the_states_shapes():
    everywhere = sharding.replicated(sharding.device_mesh())
    like = abstract_variables(lambda rngs: Net(4, rngs=rngs), everywhere)
    variables = state_of(4).variables
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, variables)


def test_the_two_graph_definitions_differ_in_dropout_and_batch_norm():
    state = state_of(4)
    graphs = graph_defs(lambda rngs: Net(4, rngs=rngs))
    x = np.arange(12, dtype=np.float32).reshape(4, 3)

    @partial(jax.jit, static_argnums=0)
    def outputs(graphdef, seed):
        model = nnx.merge(graphdef, state.params, state.model_state, copy=True)
        return model(x, nnx.Rngs(dropout=jax.random.key(seed)))

    assert np.array_equal(outputs(graphs.evaluate, 1), outputs(graphs.evaluate, 2))
    assert not np.array_equal(outputs(graphs.train, 1), outputs(graphs.train, 2))
