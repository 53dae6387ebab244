"""What an engine is, what it was made from, and for which machine: `manifest.json` beside it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import (
    EngineIntegrityError,
    EngineMissingError,
    EngineSchemaError,
    OutputError,
)
from neuroscan_edge.model.bundle import Bundle, FileRecord
from neuroscan_edge.model.graph.output_names import HEATMAPS
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName
from neuroscan_edge.system.files import write_whole

ENGINE_SCHEMA = 1
ENGINES = "engines"
ENGINE_MANIFEST = "manifest.json"

_REBUILD = 'build it again with "neuroscan-edge build-engine"'
_LIMIT_BYTES = 4 << 20
_TUNED_BATCH = 8
_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """Slices a batch that an engine takes: at least, tuned for, at most."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"{self.min} to {self.max} slices"

    @classmethod
    def tuned(cls, least: int, opt: int | None, most: int) -> "BatchProfile":
        """Make a profile that is tuned for 8 slices, or what is nearest, unless told otherwise."""
        return cls(least, max(least, min(_TUNED_BATCH, most)) if opt is None else opt, most)


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """All that decides whether an engine may run here, and what it computes.

    Parameters
    ----------
    model : str
        The bundle's name.
    runtime : RuntimeName
        What built it and runs it.
    runtime_version : str
        Exactly.
    precision : Precision
        Of the graph.
    files : mapping of str to FileRecord
        The engine; the first file is what the runtime opens.
    graph : mapping
        Name and SHA-256 of the bundle's graph, SHA-256 and size of the form that was compiled.
    platform : str
        ``linux x86_64``.
    compute_capabilities : tuple of str
        GPUs it runs on; empty for a CPU.
    cuda_major : int or None
        Of the CUDA that the runtime was built with, where known.
    built_on : mapping
        GPU, driver and CUDA of the building machine, where known.
    input, output : mapping
        Name, dtype and shape.
    batch : BatchProfile
        Batches it takes.
    layers : mapping
        The graph's plan, and what was found in the engine.
    calibration : mapping or None
        Method and SHA-256 of the table of an INT8 graph.
    preprocessing_sha256 : str
        Of the specification.
    labels : tuple of str
        In output order.
    builder : mapping
        Options of the builder.
    build_s : float
        How long the build took, in seconds.
    extra_outputs : tuple of mapping
        Name, dtype and shape of each output beside the probabilities.
    """

    model: str
    runtime: RuntimeName
    runtime_version: str
    precision: Precision
    files: Mapping[str, FileRecord]
    graph: Mapping[str, Any]
    platform: str
    compute_capabilities: tuple[str, ...]
    cuda_major: int | None
    built_on: Mapping[str, str | None]
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    batch: BatchProfile
    layers: Mapping[str, Any]
    calibration: Mapping[str, Any] | None
    preprocessing_sha256: str
    labels: tuple[str, ...]
    builder: Mapping[str, Any]
    build_s: float
    extra_outputs: tuple[Mapping[str, Any], ...] = ()

    @property
    def gives_heatmaps(self) -> bool:
        """Whether the engine was built to draw."""
        return any(output["name"] == HEATMAPS for output in self.extra_outputs)

    @property
    def engine_sha256(self) -> str:
        """SHA-256 of the file that the runtime opens."""
        return next(iter(self.files.values())).sha256

    def to_bytes(self) -> bytes:
        """Deterministic JSON: the same manifest gives the same bytes."""
        fields = asdict(self)
        fields["files"] = [{"name": name, **asdict(record)} for name, record in self.files.items()]
        document = {"schema": ENGINE_SCHEMA, "intended_use": RESEARCH_USE, **fields}
        return (json.dumps(document, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "EngineManifest":
        """Read `to_bytes`, decoded.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing, unknown or malformed.
        """
        fields = dict(document)
        for stated in ("schema", "intended_use"):
            fields.pop(stated)
        fields["runtime"] = RuntimeName(fields["runtime"])
        fields["precision"] = Precision(fields["precision"])
        fields["files"] = _file_records(fields["files"])
        fields["batch"] = BatchProfile(**fields["batch"])
        for name in ("labels", "compute_capabilities"):
            fields[name] = tuple(_words(name, fields[name]))
        # Engines of earlier versions have none.
        fields["extra_outputs"] = tuple(fields.get("extra_outputs", ()))
        _check_values(fields)
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """A folder with an engine and its manifest; nothing is verified yet."""

    folder: Path
    manifest: EngineManifest = field(repr=False)

    def read(self, fix: str = _REBUILD) -> dict[str, bytes]:
        """Read the engine's files and verify the very bytes returned.

        Parameters
        ----------
        fix : str
            What an error tells the user to do.

        Raises
        ------
        EngineIntegrityError
            If a file is missing, truncated or altered.
        """
        files = self.manifest.files.items()
        return {name: self._read(name, record, fix) for name, record in files}

    def _read(self, name: str, record: FileRecord, fix: str) -> bytes:
        path = self.folder / name
        try:
            # One byte more than recorded: enough to see that a file is longer.
            with path.open("rb") as file:
                data = file.read(record.size_bytes + 1)
        except OSError as error:
            raise EngineIntegrityError(
                str(path),
                found=f"no readable file ({error.strerror})",
                wanted=f"{record.size_bytes} bytes with SHA-256 {record.sha256}",
                fix=fix,
            ) from error
        if len(data) != record.size_bytes:
            more = "more than " if len(data) > record.size_bytes else ""
            raise EngineIntegrityError(
                str(path),
                found=f"{more}{min(len(data), record.size_bytes)} bytes",
                wanted=f"{record.size_bytes} bytes: it is truncated or altered",
                fix=fix,
            )
        digest = hashlib.sha256(data).hexdigest()
        if digest != record.sha256:
            raise EngineIntegrityError(
                str(path),
                found=f"SHA-256 {digest}",
                wanted=f"SHA-256 {record.sha256}: it was altered or damaged",
                fix=fix,
            )
        return data


def open_engine(folder: Path) -> StoredEngine:
    """Read an engine's manifest.

    Raises
    ------
    EngineMissingError
        If the folder holds no manifest.
    EngineSchemaError
        If it is malformed, or newer than this version reads.
    """
    path = folder / ENGINE_MANIFEST
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise _malformed(path, f"more than {_LIMIT_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EngineMissingError(
            str(folder),
            found=f"no readable {ENGINE_MANIFEST} ({error.strerror})",
            wanted="an engine with the manifest that was written with it",
            fix='make one with "neuroscan-edge build-engine"',
        ) from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"no JSON ({error})") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise _malformed(path, f"schema {schema!r}")
    if schema > ENGINE_SCHEMA:
        raise EngineSchemaError(
            str(path),
            found=f"schema {schema}",
            wanted=f"schema {ENGINE_SCHEMA} or older",
            fix="upgrade neuroscan-edge: pip install --upgrade neuroscan-edge",
        )
    try:
        return StoredEngine(folder, EngineManifest.from_json(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(path, f"a malformed manifest ({error!r})") from error


def find_engines(bundle: Bundle) -> list[Path]:
    """List the folders under a bundle that hold an engine's manifest, by name."""
    return sorted(path.parent for path in (bundle.folder / ENGINES).glob(f"*/{ENGINE_MANIFEST}"))


def write_engine(
    folder: Path, manifest: EngineManifest, files: Mapping[str, bytes]
) -> StoredEngine:
    """Write an engine and then its manifest: an engine half written has none, and is none.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # An old manifest must not describe a new engine, not even for a moment.
        (folder / ENGINE_MANIFEST).unlink(missing_ok=True)
        for name, data in files.items():
            write_whole(folder / name, data)
        write_whole(folder / ENGINE_MANIFEST, manifest.to_bytes())
    except OSError as error:
        raise OutputError(
            f"the engine cannot be written to {folder} ({error.strerror}); give another --output"
        ) from error
    return open_engine(folder)


def file_records(files: Mapping[str, bytes]) -> dict[str, FileRecord]:
    """Hash files that are about to be written."""
    return {
        name: FileRecord(hashlib.sha256(data).hexdigest(), len(data))
        for name, data in files.items()
    }


def _file_records(entries: Any) -> dict[str, FileRecord]:
    records = {}
    for entry in entries:
        name, digest, size = entry["name"], entry["sha256"], entry["size_bytes"]
        if not isinstance(name, str) or not _FILE_NAME.match(name):
            raise ValueError(f"file name {name!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not isinstance(size, int) or size < 0:
            raise ValueError(f"record of {name!r}")
        records[name] = FileRecord(digest, size)
    if not records:
        raise ValueError("no files")
    return records


def _words(name: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"{name} {values!r}")
    return values


def _check_values(fields: Mapping[str, Any]) -> None:
    """Refuse a manifest whose values later code could not use: it may come from anywhere."""
    batch: BatchProfile = fields["batch"]
    sizes = (batch.min, batch.opt, batch.max)
    if not all(isinstance(each, int) for each in sizes) or not 1 <= min(sizes) <= max(sizes):
        raise ValueError(f"batch {sizes}")
    for tensor in (fields["input"], fields["output"], *fields["extra_outputs"]):
        if not isinstance(tensor["name"], str) or not isinstance(tensor["shape"], list):
            raise ValueError(f"tensor {tensor!r}")
        if not isinstance(tensor["dtype"], str):
            raise ValueError(f"tensor {tensor!r}")
    for name in ("model", "runtime_version", "platform", "preprocessing_sha256"):
        if not isinstance(fields[name], str):
            raise ValueError(f"{name} {fields[name]!r}")
    if not isinstance(fields["build_s"], int | float):
        raise ValueError(f"build_s {fields['build_s']!r}")
    cuda = fields["cuda_major"]
    if cuda is not None and not isinstance(cuda, int):
        raise ValueError(f"cuda_major {cuda!r}")
    if not isinstance(fields["graph"]["source_sha256"], str):
        raise ValueError(f"graph {fields['graph']!r}")
    found = fields["layers"]["found"]
    if not isinstance(found["int8_planned"], int) or not isinstance(found["int8_found"], int):
        raise ValueError(f"layers {found!r}")
    _words("int8_missing", found["int8_missing"])


def _malformed(path: Path, found: str) -> EngineSchemaError:
    return EngineSchemaError(
        str(path),
        found=found,
        wanted="an engine manifest",
        fix='build the engine again with "neuroscan-edge build-engine"',
    )
