"""CUDA's run-time compiler from its wheel: no GPU, no toolkit, no driver."""

import ctypes
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_WHEEL = "nvidia-cuda-nvrtc-cu12"
_LIBRARY = "libnvrtc.so.12"
_SUCCESS = 0
_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for .*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_SHARED = re.compile(r"(\d+) bytes smem")


class CompilerError(Exception):
    """NVRTC is absent, or refused the source."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel takes, as the compiler says.

    Parameters
    ----------
    registers : int
        A thread.
    shared_bytes : int
        Static shared memory a block.
    stack_bytes, spill_bytes : int
        Local memory a thread, and how much of it is spilled registers, stored and loaded.
    """

    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """A binary and, for a cubin, the resources of each of its kernels."""

    data: bytes
    resources: dict[str, Resources]


class Nvrtc:
    """The compiler.

    Raises
    ------
    CompilerError
        If its wheel is not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("nvidia")
        folders = list(spec.submodule_search_locations or ()) if spec else []
        found = [Path(each) / "cuda_nvrtc" / "lib" / _LIBRARY for each in folders]
        library = next((path for path in found if path.is_file()), None)
        if library is None:
            raise CompilerError(
                f"{_WHEEL} is not installed, but it compiles the kernels; "
                "install it with: pip install -e '.[kernels]'"
            )
        self._library = ctypes.CDLL(str(library))
        self.version = importlib.metadata.version(_WHEEL)

    def cubin(self, source: Path, target: str, options: tuple[str, ...]) -> Compiled:
        """Compile to machine code for one compute capability, such as 8.6."""
        architecture = f"--gpu-architecture=sm_{target.replace('.', '')}"
        # The assembler's own report: it alone knows registers and spills.
        data, log = self._compile(
            source, (architecture, *options, "--ptxas-options=-v"), form="CUBIN"
        )
        return Compiled(data, _resources(log))

    def ptx(self, source: Path, target: str, options: tuple[str, ...]) -> Compiled:
        """Compile to PTX for a compute capability and every later one."""
        architecture = f"--gpu-architecture=compute_{target.replace('.', '')}"
        data, _ = self._compile(source, (architecture, *options), form="PTX")
        return Compiled(data.rstrip(b"\0"), {})

    def _compile(self, source: Path, options: tuple[str, ...], *, form: str) -> tuple[bytes, str]:
        library, program = self._library, ctypes.c_void_p()
        text, name = source.read_bytes(), source.name.encode()
        made = library.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None)
        if made != _SUCCESS:
            raise CompilerError(f"NVRTC did not take {source.name} (status {made})")
        try:
            given = (ctypes.c_char_p * len(options))(*(each.encode() for each in options))
            status = library.nvrtcCompileProgram(program, len(options), given)
            log = self._result(program, "ProgramLog").rstrip(b"\0").decode()
            if status != _SUCCESS:
                raise CompilerError(f"NVRTC refused {source.name}:\n{log}")
            return self._result(program, form), log
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _result(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw


def _resources(log: str) -> dict[str, Resources]:
    found = {}
    for entry in _ENTRY.finditer(log):
        shared = _SHARED.search(entry["rest"])
        found[entry["name"]] = Resources(
            int(entry["registers"]),
            int(shared[1]) if shared else 0,
            int(entry["stack"]),
            int(entry["stores"]) + int(entry["loads"]),
        )
    return found
