"""Named arrays from a file: safetensors, or either of torch's formats, read without executing pickled code.

torch's zip format holds `<name>/data.pkl`, a pickle of the dictionary whose tensors point to storages, and one record
`<name>/data/<key>` for each storage. The format before it (torch < 1.6) is a sequence of pickles (a magic
number, a version, the machine, the dictionary, the storages' keys), then each storage as a count and its numbers.
"""

import io
import logging
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from engine_jax.errors import UserError, listed
from engine_jax.files import user_path

# Where training programs keep the state dict among other things, and what wrappers put before its names.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_BACKBONE = "backbone."
_PREFIXES = ("module.", "model.", "state_dict.", _BACKBONE)
_SAFETENSORS_TYPES = (
    "F64",
    "F32",
    "F16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U64",
    "U32",
    "U16",
    "U8",
    "BOOL",
)
_ZIP_START = b"PK\x03\x04"
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PICKLE_START = b"\x80\x02"
_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# What torch writes, in protocol 2, on Python 2 too. Other opcodes build objects of other kinds, or allocate as many
# bytes as the file claims.
# fmt: off
_OPCODES = frozenset((
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID",
    "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "BINSTRING", "SHORT_BINSTRING",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS",
))
# fmt: on
# Exceptions of reading a damaged pickle: those that the documentation names ("including but not limited to"), and
# others that were found by trial.
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors` file, or of a `.pth` file that holds a state dict, by name.

    The format is recognised by the file's first bytes. Arrays may share memory: copy one before writing to it.

    Raises UserError for a file that is missing, damaged, of another format, or has anything but named tensors in it.
    """
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a .safetensors or .pth file of weights")
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if start.startswith(_ZIP_START):
            tensors = _read_zip(path)
        elif start.startswith(_PICKLE_START):
            tensors = _read_pickles(path)
        elif start[8:] == b"{":
            return _without_prefix(_read_safetensors(path), path)
        else:
            raise UserError(f"{path}: neither a safetensors file nor one that torch.save wrote")
    except UserError:
        raise
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: truncated or damaged safetensors file ({error})") from error
    except _DAMAGE as error:
        raise UserError(
            f"{path}: truncated or damaged torch file ({type(error).__name__}: {error})"
        ) from error
    for key in _WRAPPERS:
        if isinstance(tensors, dict) and _is_state_dict(tensors.get(key)):
            logging.info("%s: the state dict is its %r", path, key)
            tensors = tensors[key]
    if not _is_state_dict(tensors):
        raise UserError(
            f"{path}: holds no state dict, a dictionary from names to tensors alone, nor one as its "
            f"{' or '.join(map(repr, _WRAPPERS))}"
        )
    return _without_prefix(dict(tensors), path)


def _is_state_dict(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in value.items()
    )


def _without_prefix(tensors: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The tensors without what all of their names begin with because of the module that held the network.

    Of a network and its heads, whose names begin otherwise, the network's are taken.
    """
    found = ""
    while tensors and (prefix := _prefix_after(found, tensors)):
        found += prefix
    others = [name for name in tensors if not name.startswith(found + _BACKBONE)]
    if 0 < len(others) < len(tensors):
        found += _BACKBONE
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(found)}
        logging.info("%s: beside %r are %s, which are left out", path, found, listed(others))
    if found:
        logging.info("%s: names begin with %r, which is left out", path, found)
    return {name.removeprefix(found): tensor for name, tensor in tensors.items()}


def _prefix_after(found: str, names: Iterable[str]) -> str:
    """Which of `_PREFIXES` all names have after `found`."""
    common = (p for p in _PREFIXES if all(name.startswith(found + p) for name in names))
    return next(common, "")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with safetensors.safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118
            kind = file.get_slice(name).get_dtype()
            if kind not in _SAFETENSORS_TYPES:
                raise UserError(
                    f"{path}: {name} is of type {kind}; accepted: {', '.join(_SAFETENSORS_TYPES)}"
                )
    return safetensors.numpy.load_file(path)


def _unpickle(file: IO[bytes], path: Path, storage: Callable[[np.dtype, str, int], np.ndarray]):
    """Reads the pickle at the file's position and leaves the position after it."""
    start = file.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"unknown opcode {opcode.name}")
        # The memo is a list as long as its largest index.
        if opcode.name == "LONG_BINPUT" and (not isinstance(argument, int) or argument > count):
            raise pickle.UnpicklingError(f"entry {argument} of the memo after {count} opcodes")
    file.seek(start)
    return _Unpickler(file, path, storage).load()


class _Unpickler(pickle.Unpickler):
    """Rebuilds dictionaries of tensors; refuses every other class or function that a pickle names.

    `storage(dtype, key, size)` returns the numbers that a tensor is a view of. The pickle gets types of storages as
    strings and functions as bound methods, neither of which it can change.
    """

    def __init__(
        self, file: IO[bytes], path: Path, storage: Callable[[np.dtype, str, int], np.ndarray]
    ):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self._storage = storage

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        if (module, name) in (
            ("torch._utils", "_rebuild_tensor"),
            ("torch._utils", "_rebuild_tensor_v2"),
        ):
            return self._rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return self._rebuild_parameter
        raise UserError(
            f"{self._path}: its pickle names {module}.{name}, which is refused; "
            "save the state dict of a model, which holds tensors alone"
        )

    def persistent_load(self, pid):
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"unknown reference {pid}")
        return self._storage(np.dtype(_STORAGE_DTYPES[dtype]), key, size)

    def _rebuild_tensor(self, storage, offset, shape, strides, *_):
        if len(shape) != len(strides) or min(offset, *shape, *strides, 0) < 0:
            raise ValueError(f"a tensor of shape {shape}, strides {strides} and offset {offset}")
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if 0 not in shape and last >= storage.size:
            raise ValueError(f"a tensor of shape {shape} is beyond its {storage.size} numbers")
        bytes_ = [stride * storage.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_, writeable=False)

    def _rebuild_parameter(self, tensor, *_):
        return tensor


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise UserError(f"{path}: a compressed zip file, which torch.save doesn't write")
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise UserError(f"{path}: a zip file that torch.save didn't write: it has no data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise UserError(f"{path}: written in big-endian byte order; save it on another machine")
        storages: dict[str, np.ndarray] = {}

        def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
            if key not in storages:
                record = archive.getinfo(f"{folder}data/{key}")
                if record.file_size != size * dtype.itemsize:
                    raise ValueError(f"storage {key} has {record.file_size} bytes for {size} items")
                storages[key] = np.frombuffer(archive.read(record), dtype)
            return storages[key]

        return _unpickle(io.BytesIO(archive.read(pickles[0])), path, storage)


def _read_pickles(path: Path):
    file_size = path.stat().st_size
    storages: dict[str, np.ndarray] = {}

    def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
        if key not in storages:
            total = sum(numbers.nbytes for numbers in storages.values())
            if not 0 <= size * dtype.itemsize <= file_size - total:
                raise ValueError(f"storage {key} of {size} items is beyond the file's end")
            storages[key] = np.zeros(size, dtype)  # filled below: the numbers follow the pickle
        return storages[key]

    with path.open("rb") as file:

        def load():
            return _unpickle(file, path, storage)

        if load() != _MAGIC_NUMBER:
            raise UserError(f"{path}: a pickle, and not one that torch.save wrote")
        _version, machine = load(), load()
        if not machine["little_endian"]:
            raise UserError(f"{path}: written in big-endian byte order; save it on another machine")
        tensors, keys = load(), load()
        for key in keys:
            (size,) = struct.unpack("<q", file.read(8))
            numbers = storages[key]
            data = file.read(numbers.nbytes)
            if size != numbers.size or len(data) != numbers.nbytes:
                raise ValueError(f"storage {key} has another length than its tensors need")
            numbers[:] = np.frombuffer(data, numbers.dtype)
        if set(keys) != set(storages):
            raise ValueError("tensors without numbers")
    return tensors
