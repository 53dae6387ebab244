"""The shipped kernels on the host: compiled by g++, launched by the package's own geometry."""

import ctypes
import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuroscan_edge.preprocess.launch_geometry import SIGNATURES, THREADS, Geometry, Launch
from neuroscan_edge.preprocess.packing import pack, packed_bytes
from neuroscan_edge.spec import Preprocessing
from support.places import ROOT

HERE = Path(__file__).parent
KERNEL_SOURCE = ROOT / "neuroscan_edge" / "preprocess" / "kernels" / "resize_clahe.cu"
POISON = 0xCD
ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
GXX = shutil.which("g++")
NO_GXX = "g++ is not on this machine: the kernels cannot be run on the host"
# No contraction, as on the device; the kernels read bytes as words, as the device may.
_FLAGS = ["-std=c++17", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-unknown-pragmas"]
_ASAN_FLAGS = ["-g", "-fsanitize=address", "-fsanitize-sections=emulated_shared"]
_C_TYPES = {"P": ctypes.c_uint64, "i": ctypes.c_int32, "f": ctypes.c_float}
_BUFFER = 1


def compile_kernels(target: Path, *flags: str, source: Path = KERNEL_SOURCE) -> Path:
    """Build the harness around a kernel source."""
    command = [GXX or "g++", *_FLAGS, *flags, f'-DKERNEL_SOURCE="{source}"']
    command += [str(HERE / "harness.cpp"), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


class Emulator:
    """The kernels as a library in this process, over NumPy memory."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(
            str(compile_kernels(folder / "kernels.so", "-O2", "-shared", "-fPIC"))
        )
        # Shared memory of the emulated device is static: one launch at a time.
        self._lock = threading.Lock()

    def launch(self, launch: Launch, order: str = "forward", seed: int = 0) -> None:
        """Run a launch whose addresses are of this process."""
        values = [
            _C_TYPES[kind](value)
            for kind, value in zip(SIGNATURES[launch.kernel], launch.arguments, strict=True)
        ]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        name = launch.kernel.encode()
        with self._lock:
            failed = self._library.emulate(
                name, *launch.grid, THREADS, ORDERS[order], seed, pointers
            )
        assert failed == 0, f"{launch.kernel}: failure {failed}"

    def preprocess(
        self,
        slices: Sequence[np.ndarray],
        spec: Preprocessing,
        order: str = "forward",
        seed: int = 0,
    ) -> np.ndarray:
        """Preprocess a batch: (H, W) uint8 each, to (N, height, width) uint8."""
        geometry = Geometry(spec)
        packed = np.empty(packed_bytes(slices), np.uint8)
        pack(slices, spec, packed)
        output = np.full((len(slices), *spec.shape), POISON, np.uint8)
        scratch = np.full(geometry.scratch_bytes(geometry.turn(len(slices))), POISON, np.uint8)
        places = [each.ctypes.data for each in (packed, output, scratch)]
        for launch in geometry.launches(len(slices), *places):
            self.launch(launch, order, seed)
        return output


@dataclass(frozen=True)
class Outcome:
    """How a program run ended."""

    code: int
    errors: str
    output: np.ndarray | None


def run_program(
    program: Path,
    slices: Sequence[np.ndarray],
    spec: Preprocessing,
    order: str = "forward",
    seed: int = 0,
) -> Outcome:
    """Preprocess a batch in a process of its own, in buffers of exactly the size used."""
    geometry = Geometry(spec)
    packed = pack(slices, spec, np.empty(packed_bytes(slices), np.uint8))
    output = np.full((len(slices), *spec.shape), POISON, np.uint8)
    scratch = np.full(geometry.scratch_bytes(geometry.turn(len(slices))), POISON, np.uint8)
    buffers = [packed, output, scratch]
    data = [_words(len(buffers))]
    for each in buffers:
        data += [_words(each.nbytes), each.tobytes()]
    # Far apart, so that an address tells its buffer.
    places = [(index + 1) << 40 for index in range(len(buffers))]
    launches = geometry.launches(len(slices), *places)
    data.append(_words(len(launches)))
    for launch in launches:
        signature = SIGNATURES[launch.kernel]
        data += [launch.kernel.encode().ljust(32, b"\0"), _words(*launch.grid, THREADS)]
        data.append(_words(ORDERS[order], seed, len(signature)))
        for kind, value in zip(signature, launch.arguments, strict=True):
            if kind == "P":
                index, offset = (int(value) >> 40) - 1, int(value) & (1 << 40) - 1
                assert offset == 0, "the program runs batches of one turn"
                data.append(_words(_BUFFER, index))
            else:
                data += [_words(0), struct.pack(f"={kind}", value).ljust(8, b"\0")]
    case, result = program.with_suffix(".case"), program.with_suffix(".result")
    case.write_bytes(b"".join(data))
    result.unlink(missing_ok=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [program, case, result], capture_output=True, text=True, env=environment, timeout=120
    )
    found = None
    if done.returncode == 0:
        written = np.fromfile(result, np.uint8)
        found = written[packed.nbytes : packed.nbytes + output.nbytes].reshape(output.shape)
    return Outcome(done.returncode, done.stderr, found)


def compile_program(folder: Path, *, sanitized: bool, source: Path = KERNEL_SOURCE) -> Path:
    """Build the program of a kernel source, with AddressSanitizer or without."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-O0", "-DAS_PROGRAM", *(_ASAN_FLAGS if sanitized else [])]
    return compile_kernels(folder / "program", *flags, source=source)


def _words(*values: int) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)
