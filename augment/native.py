"""Compiled loops that are called without numba: it compiles them once, and their machine code is kept and loaded.

Importing numba takes longer than all else that a command needs to start. So its functions are in modules of their own,
which are imported where there is no machine code yet; LLVM alone loads what is there.
"""

import ctypes
import hashlib
import json
import os
import platform
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from llvmlite import __version__ as llvmlite_version
from llvmlite import binding as llvm

# Of an argument: for an array its dtype and its number of dimensions, for a number `int` or `float`.
Kind: TypeAlias = tuple[np.dtype[Any], int] | type

# What numba's machine code depends on, beside the machine.
_SETTINGS = (
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_ENABLE_AVX",
    "NUMBA_OPT",
    "NUMBA_LOOP_VECTORIZE",
    "NUMBA_SLP_VECTORIZE",
)
# What only numba's own library has, and machine code refers to: for exceptions, of which there are none.
_FOR_EXCEPTIONS = {
    "NRT_Free",
    "NRT_MemInfo_call_dtor",
    "numba_do_raise",
    "numba_gil_ensure",
    "numba_gil_release",
    "numba_runtime_build_excinfo_struct",
    "numba_unpickle",
}
_IMPORTS = re.compile(r"^from ((?:augment|pipeline|training)\.[\w.]+) import", re.MULTILINE)
_OF_NUMBA = re.compile("numba_|NRT_")
_FORMAT = 1
_compiling = threading.Lock()

told_of_compiling: list[Callable[[], None]] = []  # called before something is compiled, which takes seconds


class Kernel:
    """A function of a module that imports numba, called as if it were here.

    It takes arrays in C order, whole numbers (int64) and reals (float64), and writes into the arrays. It must not
    allocate, nor raise: there is nobody who would hear of it. The interpreter's lock is released while it runs.

    Args:
        module: where it is; imported only to compile it.
        name: of the function, which numba has compiled or will.
        returns_int: whether it returns a whole number, rather than nothing.
    """

    def __init__(self, module: str, name: str, *, returns_int: bool = False) -> None:
        self._module, self._name = module, name
        self._result = ctypes.c_int64 if returns_int else None
        self._loaded: dict[tuple[Kind, ...], _Loaded] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Run it; for the first arguments of their kinds, load it or compile it before.

        Raises:
            ValueError: an array is not in C order.
        """
        kinds = tuple(map(_kind, arguments))
        loaded = self._loaded.get(kinds) or self._load(kinds)
        flat: list[Any] = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                if not argument.flags.c_contiguous:
                    raise ValueError(f"{self._name}: expected arrays in C order, got strides {argument.strides}")
                flat += argument.__array_interface__["data"][0], *argument.shape
            else:
                flat.append(argument)
        return loaded.call(*flat)

    def _load(self, kinds: tuple[Kind, ...]) -> "_Loaded":
        with _compiling:
            if (loaded := self._loaded.get(kinds)) is None:
                file = self._file(kinds)
                code = self._find(file)
                if code is None:
                    for listener in told_of_compiling:
                        listener()
                    code = _compile(self._module, self._name, kinds, returns_int=self._result is not None)
                    _keep(file, code)
                loaded = self._loaded[kinds] = _Loaded(code, kinds, self._result)
        return loaded

    def _find(self, file: str) -> "MachineCode | None":
        for folder in cache_folders():
            if (code := _read(folder / file)) is not None:
                return code
        return None

    def _file(self, kinds: tuple[Kind, ...]) -> str:
        key = f"{_FORMAT} {kinds} {self._result} {_source_digest(self._module)} {_machine_key()}"
        return f"{self._module.rpartition('.')[2]}.{self._name}-{hashlib.sha256(key.encode()).hexdigest():.24}.o"


@dataclass(frozen=True, slots=True)
class MachineCode:
    """What numba made of a function.

    Attributes:
        symbol: the name of its entry.
        missing: what it refers to of numba's own library, and never calls; under names of our own, so that what others
            compile with numba in this process does not meet them.
        object_file: as a linker takes it.
    """

    symbol: str
    missing: tuple[str, ...]
    object_file: bytes


class _Loaded:
    """Machine code in memory, which stays as long as the process."""

    call: Callable[..., Any]

    def __init__(self, code: MachineCode, kinds: tuple[Kind, ...], result: Any) -> None:
        for name in code.missing:
            llvm.add_symbol(name, ctypes.cast(_stop(), ctypes.c_void_p).value)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code.object_file))
        self._engine.finalize_object()
        types = (kind for each in kinds for kind in _c_types(each))
        self.call = ctypes.CFUNCTYPE(result, *types)(self._engine.get_function_address(code.symbol))


def cache_folders() -> Iterator[Path]:
    """Return where machine code may be kept, the best place first: what is in it is run.

    That is the folder that numba is told to use, or else: beside the source; in the user's cache folder; in a folder of
    the user's own among the temporary files, for who has neither.
    """
    if told := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(told)
        return
    yield Path(__file__).with_name("__pycache__")
    with suppress(RuntimeError):  # there is no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augpipe"
    if (folder := own_folder()) is not None:
        yield folder


def own_folder() -> Path | None:
    """Return a folder for machine code among the temporary files; None where there can be none.

    It must belong to this user, and nobody else may write in it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"augpipe-kernels-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        if stat.S_ISDIR(state.st_mode) and (os.name == "nt" or (state.st_uid, state.st_mode & 0o077) == (user, 0)):
            return folder
    except OSError:
        pass
    return None


def _kind(argument: Any) -> Kind:
    if isinstance(argument, np.ndarray):
        return argument.dtype, argument.ndim
    return float if isinstance(argument, float) else int


def _c_types(kind: Kind) -> list[Any]:
    """Return what C takes for an argument: of an array, where it is and its shape."""
    if isinstance(kind, tuple):
        return [ctypes.c_void_p] + [ctypes.c_int64] * kind[1]
    return [ctypes.c_double if kind is float else ctypes.c_int64]


# Keeping machine code


def _keep(file: str, code: MachineCode) -> None:
    """Write machine code into the first folder that can be written; where none can, every process compiles anew."""
    header = json.dumps({"symbol": code.symbol, "missing": code.missing}).encode()
    content = header + b"\n" + code.object_file
    for folder in cache_folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{file}-")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(hashlib.sha256(content).digest() + content)
                Path(temporary).replace(folder / file)
            except BaseException:
                Path(temporary).unlink()
                raise
            return


def _read(path: Path) -> MachineCode | None:
    """Return the machine code in a file; None where there is none, or not all of it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, content = data[:32], data[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    header, _, object_file = content.partition(b"\n")
    found = json.loads(header)
    return MachineCode(found["symbol"], tuple(found["missing"]), object_file)


@cache
def _source_digest(module: str) -> str:
    """Return a digest of a module's source, and of all of this project that it imports: constants come from there."""
    sources: dict[str, bytes] = {}

    def read(name: str) -> None:
        if name not in sources:
            sources[name] = _file_of(name).read_bytes()
            for imported in _IMPORTS.findall(sources[name].decode("utf-8")):
                read(imported)

    read(__name__)
    read(module)
    return hashlib.sha256(b"".join(sources[name] for name in sorted(sources))).hexdigest()


@cache
def _machine_key() -> str:
    """Return what machine code depends on, beside its source."""
    settings = [os.environ.get(name) for name in _SETTINGS]
    return f"{platform.machine()} {llvmlite_version} {numba_version()} {settings} {_cpu()}"


@cache
def numba_version() -> str:
    """Return the version of the installed numba, without importing it."""
    text = _file_of("numba").with_name("_version.py").read_text(encoding="utf-8")
    found = re.search(r'"version": "([^"]+)"', text)
    return found[1] if found else hashlib.sha256(text.encode()).hexdigest()


def _file_of(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"{module} has no file", name=module)
    return Path(spec.origin)


# Machine code


def _cpu() -> tuple[str, str]:
    """Return the CPU's name and its features as LLVM writes them, or as numba is told to take them."""
    name = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    features = os.environ.get("NUMBA_CPU_FEATURES")
    return name, llvm.get_host_cpu_features().flatten() if features is None else features


def _target_machine() -> Any:
    """Return a new one: whoever loads machine code with it owns it from then on."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = _cpu()
    target = llvm.Target.from_default_triple()
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(name, features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True)


@cache
def _stop() -> Any:
    return ctypes.CFUNCTYPE(None)(os.abort)


def _compile(module: str, name: str, kinds: tuple[Kind, ...], *, returns_int: bool) -> MachineCode:
    """Return the machine code of a function for arguments of these kinds."""
    import numba
    from numba import types

    from augment.compiled import compiled

    function = getattr(import_module(module), name)
    if not hasattr(function, "py_func"):
        function = compiled(function)
    names: list[str] = []
    passed: list[str] = []
    signature: list[Any] = []
    for index, kind in enumerate(kinds):
        own = f"a{index}"
        names.append(own)
        if isinstance(kind, tuple):
            dtype, n_axes = kind
            sides = [f"{own}_{axis}" for axis in range(n_axes)]
            names += sides
            passed.append(f"carray({own}, ({''.join(f'{side}, ' for side in sides)}))")
            pointer: Any = types.CPointer
            signature += [pointer(numba.from_dtype(dtype)), *[types.int64] * n_axes]
        else:
            passed.append(own)
            signature.append(types.float64 if kind is float else types.int64)
    # A C function takes no arrays, but pointers and sizes, of which arrays are made: so many arguments want a function
    # written for them.
    source = f"def entry({', '.join(names)}):\n    {'return ' if returns_int else ''}function({', '.join(passed)})\n"
    scope = {"carray": vars(numba)["carray"], "function": function}
    exec(source, scope)  # noqa: S102  # of names that were made here
    result = types.int64 if returns_int else types.void
    entry = numba.cfunc(result(*signature), error_model="numpy")(scope["entry"])
    ir = llvm.parse_assembly(entry.inspect_llvm())
    of_numba = [function for function in ir.functions if function.is_declaration and _OF_NUMBA.match(function.name)]
    if needed := {function.name for function in of_numba} - _FOR_EXCEPTIONS:
        raise TypeError(f"{module}.{name}: needs {', '.join(sorted(needed))}, so it cannot run without numba")
    for function in of_numba:
        function.name = f"augpipe_has_no_{function.name}"
    missing = tuple(function.name for function in of_numba)
    return MachineCode(entry.native_name, missing, _target_machine().emit_object(ir))
