"""Reading weights: safetensors, both of torch's formats, and files that are damaged, foreign or hostile.

torch is no dependency: the files are put together here, by the formats as torch.save writes them.
"""

import contextlib
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from convnets_jax import state_dict
from engine_jax.errors import UserError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
TENSORS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm.running_var": np.array([0.5, 2.0], np.float64),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}
STORAGES = {"f": "FloatStorage", "d": "DoubleStorage", "q": "LongStorage", "l": "LongStorage"}


class _Global:
    """Pickled as a name, as a function or class of a module that isn't there."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class _Call:
    """Pickled as a call: `function(*args)`, and where there is one, its state."""

    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state


class _Storage:
    def __init__(self, kind, key, size, view=()):
        self.pid = ("storage", _Global("torch", kind), key, "cpu", size, *view)


class _Pickler(pickle._Pickler):
    """Python's own pickler: names can be written of modules that aren't installed."""

    dispatch = pickle._Pickler.dispatch.copy()

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, _Storage) else None

    def save_global_name(self, obj):
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())

    def save_call(self, obj):
        self.save(obj.function)
        self.save(obj.args)
        self.write(pickle.REDUCE)
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    dispatch[_Global] = save_global_name
    dispatch[_Call] = save_call


def _pickled(obj):
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(obj)
    return file.getvalue()


def _tensor(storage, shape, strides, offset=0, function="_rebuild_tensor_v2"):
    hooks = (False, OrderedDict()) if function == "_rebuild_tensor_v2" else ()
    return _Call(_Global("torch._utils", function), storage, offset, shape, strides, *hooks)


def _as_torch(tensors, view=()):
    """The dictionary to pickle, and the bytes of its storages."""
    described, numbers = OrderedDict(), {}
    for number, (name, array) in enumerate(tensors.items()):
        storage = _Storage(STORAGES[array.dtype.char], str(number), array.size, view)
        strides = tuple(stride // array.itemsize for stride in array.strides)
        described[name] = _tensor(storage, array.shape, strides)
        numbers[str(number)] = array
    return described, numbers


def _zip(path, obj, numbers, byteorder=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", _pickled(obj))
        archive.writestr("model/byteorder", byteorder)
        for key, array in numbers.items():
            archive.writestr(f"model/data/{key}", array.tobytes())
        archive.writestr("model/version", b"3\n")
    return path


def _legacy(path, obj, numbers, little_endian=True):
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {}}
    parts = [_pickled(part) for part in (MAGIC_NUMBER, 1001, machine, obj, list(numbers))]
    parts += [struct.pack("<q", array.size) + array.tobytes() for array in numbers.values()]
    path.write_bytes(b"".join(parts))
    return path


def zip_file(path):
    return _zip(path, *_as_torch(TENSORS))


def legacy_file(path):
    return _legacy(path, *_as_torch(TENSORS, view=(None,)))


def _safetensors_file(path):
    safetensors.numpy.save_file(TENSORS, path)
    return path


formats = pytest.mark.parametrize("write", [zip_file, legacy_file, _safetensors_file])


@formats
def test_arrays_come_back(write, tmp_path):
    found = state_dict.read(write(tmp_path / "weights"))
    assert found.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected, strict=True)


@formats
def test_a_file_cut_anywhere_is_one_clear_line(write, tmp_path):
    whole = write(tmp_path / "weights").read_bytes()
    cut = tmp_path / "cut"
    for length in sorted({*range(0, len(whole), 17), len(whole) - 1}):
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"^[^\n]*cut: [^\n]+$"):
            state_dict.read(cut)


@pytest.mark.parametrize("write", [zip_file, legacy_file])
def test_changed_bytes_are_read_or_refused(write, tmp_path):
    whole = write(tmp_path / "weights").read_bytes()
    changed, rng = tmp_path / "changed", np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            damaged[place] = rng.integers(256)
        changed.write_bytes(damaged)
        with contextlib.suppress(UserError):
            state_dict.read(changed)


def test_views_of_one_storage_and_older_rebuild_functions(tmp_path):
    storage = _Storage("FloatStorage", "0", 12)
    transposed = _tensor(storage, (3, 2), (1, 3), offset=6)
    old = _tensor(storage, (2, 2), (2, 1), function="_rebuild_tensor")
    parameter = _Call(_Global("torch._utils", "_rebuild_parameter"), old, True, OrderedDict())
    tensors = {"transposed": transposed, "old": parameter}
    found = state_dict.read(_zip(tmp_path / "w", tensors, {"0": np.arange(12, dtype=np.float32)}))
    np.testing.assert_array_equal(found["transposed"], [[6, 9], [7, 10], [8, 11]])
    np.testing.assert_array_equal(found["old"], [[0, 1], [2, 3]])


def test_half_precision(tmp_path):
    ones = np.array([1.0, -2.5], jnp.bfloat16)
    storage = _Storage("BFloat16Storage", "0", 2)
    path = _zip(tmp_path / "w", {"x": _tensor(storage, (2,), (1,))}, {"0": ones})
    np.testing.assert_array_equal(state_dict.read(path)["x"], ones, strict=True)


class _Touch:
    """What an attacker pickles: a file appears when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [_zip, _legacy])
def test_no_code_is_executed(write, tmp_path):
    harm = tmp_path / "harm"
    path = write(tmp_path / "w", {"x": _Touch(harm)}, {})
    with pytest.raises(UserError, match=r"w: its pickle names posix\.mkdir, which is refused"):
        state_dict.read(path)
    assert not harm.exists()


@pytest.mark.parametrize("name", ["torch.load", "torch._utils.eval", "builtins.getattr"])
def test_other_names_are_refused(name, tmp_path):
    module, _, attribute = name.rpartition(".")
    path = _zip(tmp_path / "w", {"x": _Call(_Global(module, attribute))}, {})
    with pytest.raises(UserError, match=f"names {name}, which is refused"):
        state_dict.read(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "entry 2147483647 of the memo"),
        (b"\x80\x05C\x01x.", "unknown opcode SHORT_BINBYTES"),
    ],
    ids=["memo", "opcode"],
)
def test_a_pickle_that_torch_does_not_write_is_refused_before_it_takes_memory(
    pickled, message, tmp_path
):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("w/data.pkl", pickled)
    with pytest.raises(UserError, match=message):
        state_dict.read(tmp_path / "w")


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((13,), (1,), 0), ((2,), (1,), 11), ((2, 2), (11, 1), 0), ((2,), (-1,), 3), ((2,), (1,), -2)],
)
def test_a_tensor_outside_its_storage_is_refused(shape, strides, offset, tmp_path):
    tensors = {"x": _tensor(_Storage("FloatStorage", "0", 12), shape, strides, offset)}
    path = _zip(tmp_path / "w", tensors, {"0": np.arange(12, dtype=np.float32)})
    with pytest.raises(UserError, match="damaged torch file"):
        state_dict.read(path)


@pytest.mark.parametrize(
    "obj", [[1.0], {"epoch": 3}, {3: _tensor(_Storage("FloatStorage", "0", 1), (), ())}]
)
def test_a_file_of_something_else_holds_no_state_dict(obj, tmp_path):
    path = _zip(tmp_path / "w", obj, {"0": np.ones(1, np.float32)})
    with pytest.raises(UserError, match="w: holds no state dict"):
        state_dict.read(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "w"
    with pytest.raises(UserError, match="w: no such file"):
        state_dict.read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="neither a safetensors file nor"):
        state_dict.read(path)
    path.write_bytes(pickle.dumps({"x": 1}, protocol=2))
    with pytest.raises(UserError, match="a pickle, and not one"):
        state_dict.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(UserError, match=r"no data\.pkl"):
        state_dict.read(path)
    for write, mark in ((_zip, b"big"), (_legacy, False)):
        with pytest.raises(UserError, match="big-endian"):
            state_dict.read(write(path, {}, {}, mark))


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "state_dict.module."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_checkpoints_of_training_programs_are_looked_into(prefix, key, tmp_path, caplog):
    described, numbers = _as_torch({prefix + name: array for name, array in TENSORS.items()})
    saved = described if key is None else {"epoch": 3, key: described, "best": 0.5}
    with caplog.at_level("INFO"):
        found = state_dict.read(_zip(tmp_path / "w.pth", saved, numbers))
    assert found.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(found[name], expected)
    assert f"names begin with {prefix!r}, which is left out" in caplog.text
    assert (f"the state dict is its {key!r}" in caplog.text) == (key is not None)


def test_of_a_backbone_and_its_heads_the_backbone_is_taken(tmp_path, caplog):
    heads = {"module.head.weight": np.zeros(2, np.float32), "module.neck": np.zeros(1, np.float32)}
    backbone = {f"module.backbone.{name}": array for name, array in TENSORS.items()}
    described, numbers = _as_torch(backbone | heads)
    with caplog.at_level("INFO"):
        found = state_dict.read(_zip(tmp_path / "w.pth", {"state_dict": described}, numbers))
    assert found.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(found[name], expected)
    assert "beside 'module.backbone.' are module.head.weight, module.neck, which are" in caplog.text


def test_a_prefix_of_some_names_stays(tmp_path):
    tensors = {"module.a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    safetensors.numpy.save_file(tensors, tmp_path / "w")
    assert state_dict.read(tmp_path / "w").keys() == tensors.keys()


def test_a_type_that_numpy_lacks_is_named(tmp_path):
    header = b'{"a.weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(UserError, match=r"a\.weight is of type F8_E4M3; accepted: F64, F32"):
        state_dict.read(path)
