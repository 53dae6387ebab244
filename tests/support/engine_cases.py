"""An engine that fits, and every way in which one may not: by name, with the error it must give."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from neuroscan_edge import errors
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.engine import Installed, StoredEngine, open_engine, verify_engine
from neuroscan_edge.model.engine.manifest import (
    ENGINE_MANIFEST,
    BatchProfile,
    EngineManifest,
    file_records,
    write_engine,
)
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.gpu_probe import Gpu, GpuProbe
from neuroscan_edge.system.machine import Machine

RTX = Installed(RuntimeName.TENSORRT_RTX, "1.7.1.116", 13)
MACHINE = Machine(
    "linux",
    "x86_64",
    "a processor",
    GpuProbe((Gpu("NVIDIA RTX A4000", "8.6", 16 << 30),), (13, 0), "580.65.06"),
)
PLAN = b"a serialized engine " * 50


def fitting_engine(bundle: Bundle, folder: Path, **changes: object) -> StoredEngine:
    """An engine for `MACHINE` and `RTX` as `build_engine` writes it, but for its plan."""
    manifest = EngineManifest(
        model=bundle.name,
        runtime=RTX.name,
        runtime_version=RTX.version,
        precision=Precision.FP16,
        files=file_records({"engine.plan": PLAN}),
        graph={
            "source": "model.fp16.onnx",
            "source_sha256": bundle.files["model.fp16.onnx"].sha256,
            "sha256": bundle.files["model.fp16.onnx"].sha256,
            "size_bytes": bundle.files["model.fp16.onnx"].size_bytes,
        },
        platform=MACHINE.platform,
        compute_capabilities=("8.6", "8.9"),
        cuda_major=13,
        built_on={"gpu": None, "driver": None, "driver_cuda": None},
        input=bundle.manifest["input"],
        output=bundle.manifest["output"],
        batch=BatchProfile(1, 8, 32),
        layers={
            "planned": {},
            "found": {"int8_planned": 0, "int8_found": 0, "int8_missing": []},
        },
        calibration=None,
        preprocessing_sha256=bundle.preprocessing.sha256,
        labels=bundle.labels,
        builder={},
        build_s=1.5,
    )
    return write_engine(folder, replace(manifest, **changes), {"engine.plan": PLAN})


@dataclass(frozen=True)
class Attempt:
    """What is about to be loaded, and where; cases change one thing."""

    folder: Path
    bundle: Bundle
    installed: Installed = RTX
    machine: Machine = MACHINE
    batch_size: int | None = 8

    def load(self) -> dict[str, bytes]:
        engine = open_engine(self.folder)
        return verify_engine(engine, self.bundle, self.installed, self.machine, self.batch_size)


@dataclass(frozen=True)
class Mismatch:
    """One way not to fit.

    `error` is the class it must raise, `says` what the message must hold: found, wanted, the fix.
    """

    name: str
    change: Callable[[Attempt], Attempt]
    error: type[errors.EngineError]
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def _plan(change: Callable[[bytes], bytes]) -> Callable[[Attempt], Attempt]:
    def apply(attempt: Attempt) -> Attempt:
        path = attempt.folder / "engine.plan"
        path.write_bytes(change(path.read_bytes()))
        return attempt

    return apply


def _manifest(**changes: object) -> Callable[[Attempt], Attempt]:
    def apply(attempt: Attempt) -> Attempt:
        path = attempt.folder / ENGINE_MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return attempt

    return apply


def _without(name: str) -> Callable[[Attempt], Attempt]:
    def apply(attempt: Attempt) -> Attempt:
        (attempt.folder / name).unlink()
        return attempt

    return apply


def _with(**changes: object) -> Callable[[Attempt], Attempt]:
    return lambda attempt: replace(attempt, **changes)


def _gpu(**changes: object) -> Callable[[Attempt], Attempt]:
    return _with(machine=replace(MACHINE, gpu=replace(MACHINE.gpu, **changes)))


def _flip(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


MISMATCHES = (
    Mismatch(
        "altered byte",
        _plan(_flip),
        errors.EngineIntegrityError,
        ("engine.plan", "found SHA-256", "wanted SHA-256", 'run "neuroscan-edge build-engine '),
    ),
    Mismatch(
        "truncated engine",
        _plan(lambda data: data[:-1]),
        errors.EngineIntegrityError,
        ("found 999 bytes", "wanted 1000 bytes", "truncated", 'run "neuroscan-edge build-engine '),
    ),
    Mismatch(
        "longer engine",
        _plan(lambda data: data + b"x"),
        errors.EngineIntegrityError,
        ("found more than 1000 bytes", 'run "neuroscan-edge build-engine '),
    ),
    Mismatch(
        "engine file gone",
        _without("engine.plan"),
        errors.EngineIntegrityError,
        ("no readable file", 'run "neuroscan-edge build-engine '),
    ),
    Mismatch(
        "missing manifest",
        _without(ENGINE_MANIFEST),
        errors.EngineMissingError,
        ("no readable manifest.json", "neuroscan-edge build-engine"),
    ),
    Mismatch(
        "newer schema",
        _manifest(schema=2),
        errors.EngineSchemaError,
        ("found schema 2", "wanted schema 1", "pip install --upgrade neuroscan-edge"),
    ),
    Mismatch(
        "malformed manifest",
        _manifest(files=[{"name": "../../engine", "sha256": "0" * 64, "size_bytes": 1}]),
        errors.EngineSchemaError,
        ("malformed", "neuroscan-edge build-engine"),
    ),
    Mismatch(
        "other flavour",
        _with(installed=Installed(RuntimeName.TENSORRT, "10.3.0")),
        errors.EngineFlavourError,
        ("found an engine of tensorrt-rtx", "wanted one of tensorrt;", "--runtime tensorrt "),
    ),
    Mismatch(
        "other version",
        _with(installed=replace(RTX, version="1.8.0.1")),
        errors.EngineVersionError,
        ("tensorrt-rtx 1.7.1.116", "1.8.0.1", "--runtime tensorrt-rtx --precision fp16"),
    ),
    Mismatch(
        "other architecture",
        _with(machine=replace(MACHINE, architecture="aarch64")),
        errors.EnginePlatformError,
        ("an engine for linux x86_64", "one for linux aarch64", "on this machine run"),
    ),
    Mismatch(
        "other system",
        _with(machine=replace(MACHINE, system="windows")),
        errors.EnginePlatformError,
        ("linux x86_64", "windows x86_64", "build-engine"),
    ),
    Mismatch(
        "processor without VNNI",
        lambda attempt: replace(
            _manifest(runtime="onnxruntime", precision="int8", platform="linux x86_64 with VNNI")(
                attempt
            ),
            installed=Installed(RuntimeName.ONNXRUNTIME, RTX.version),
            machine=replace(MACHINE, exact_int8=False),
        ),
        errors.EnginePlatformError,
        ("linux x86_64 with VNNI", "one for linux x86_64 without VNNI", "build-engine"),
    ),
    Mismatch(
        "other GPU",
        _gpu(gpus=(Gpu("NVIDIA H200", "9.0", 141 << 30),)),
        errors.EngineGpuError,
        ("an engine for sm_86, sm_89", "one for sm_90 (NVIDIA H200)", "build-engine"),
    ),
    Mismatch(
        "no GPU",
        _gpu(gpus=(), cuda=None, driver=None, reason="no NVIDIA driver is installed"),
        errors.EngineGpuError,
        ("no usable GPU: no NVIDIA driver is installed", "sm_86", "--runtime onnxruntime"),
    ),
    Mismatch(
        "older driver",
        _gpu(cuda=(12, 8), driver="570.86.15"),
        errors.EngineDriverError,
        ("driver 570.86.15 for CUDA 12.8", "CUDA 13", "upgrade the NVIDIA driver"),
    ),
    Mismatch(
        "other labels",
        _manifest(labels=["no_tumor", "glioma_tumor", "meningioma_tumor", "pituitary_tumor"]),
        errors.EngineContractError,
        ("labels ['no_tumor'", "as the bundle states", "build-engine"),
    ),
    Mismatch(
        "other preprocessing",
        _manifest(preprocessing_sha256="1" * 64),
        errors.EngineContractError,
        ("preprocessing 1111", "as the bundle states", "build-engine"),
    ),
    Mismatch(
        "other input",
        _manifest(input={"name": "image", "dtype": "float32", "shape": ["batch", 32, 32, 3]}),
        errors.EngineContractError,
        ("input {'name': 'image', 'dtype': 'float32'", "'uint8'", "build-engine"),
    ),
    Mismatch(
        "other graph",
        _manifest(graph={"source": "model.fp16.onnx", "source_sha256": "2" * 64}),
        errors.EngineContractError,
        ("graph 2222", "as the bundle states", "build-engine"),
    ),
    Mismatch(
        "other batch",
        _with(batch_size=64),
        errors.EngineBatchError,
        ("1 to 32 slices", "one for 64", "--batch-size 32", "--max-batch 64"),
    ),
)
