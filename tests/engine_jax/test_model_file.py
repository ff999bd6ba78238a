import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from engine_jax import model_file
from engine_jax.errors import UserError
from engine_jax.state import variables_by_name


class Net(nnx.Module):
    def __init__(self, width: int = 3, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(2, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])


def written(path, **kwargs) -> Net:
    model = Net(rngs=nnx.Rngs(1))
    model.norm.mean[...] = np.array([1.0, -2.0, 3.0], np.float32)
    model_file.write(path, {"width": 3}, model, **kwargs)
    return model


def test_every_variable_comes_back_and_the_model_evaluates(tmp_path):
    model = written(tmp_path / "m.safetensors")
    assert model_file.read_config(tmp_path / "m.safetensors") == {"width": 3}
    found = model_file.read_model(tmp_path / "m.safetensors", Net)
    expected, read = variables_by_name(model), variables_by_name(found)
    assert expected.keys() == read.keys()
    assert len(read) == 10
    for name, values in expected.items():
        np.testing.assert_array_equal(read[name], values, err_msg=name)
    assert found.norm.use_running_average is True


def test_halved_numbers_are_rounded_to_float16(tmp_path):
    model = written(tmp_path / "m.safetensors", half=True)
    found = model_file.read_model(tmp_path / "m.safetensors", Net)
    kernel = np.asarray(model.linear.kernel[...])
    read = np.asarray(found.linear.kernel[...])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, kernel.astype(np.float16).astype(np.float32))
    assert (read != kernel).any()


def test_numbers_beyond_float16_are_refused(tmp_path):
    model = Net(rngs=nnx.Rngs(1))
    model.norm.var[...] = np.array([1.0, 1e5, 1.0], np.float32)
    with pytest.raises(UserError, match=r"norm\.var: holds 100000; 16 bits end at 65504"):
        model_file.write(tmp_path / "m.safetensors", {}, model, half=True)
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_named(tmp_path):
    written(tmp_path / "m.safetensors")

    def wider(*, rngs: nnx.Rngs) -> Net:
        return Net(4, rngs=rngs)

    with pytest.raises(UserError, match=r"layers\.0\.bias is \(3,\); its configuration takes \(4,"):
        model_file.read_model(tmp_path / "m.safetensors", wider)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_damaged_file_is_one_line(keep, tmp_path):
    path = tmp_path / "m.safetensors"
    written(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"m\.safetensors: no safetensors file, or a damaged one"):
        model_file.read_config(path)


def test_a_file_of_weights_alone_is_named_as_that(tmp_path):
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2, np.float32)}, path)
    with pytest.raises(UserError, match="holds weights without the configuration of a model"):
        model_file.read_config(path)
