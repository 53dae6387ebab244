"""The bundle: one folder that carries a model from the lab to the edge, hash-checked before use."""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import (
    BundleError,
    BundleIntegrityError,
    BundleVersionError,
    PrecisionNotAvailableError,
    SpecError,
    UsageError,
)
from neuroscan_edge.model.graph.output_names import OUTLIER_SCORE
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.spec import RESEARCH_USE, Precision, Preprocessing
from neuroscan_edge.system.files import sha256_file, write_whole

BUNDLE_SCHEMA = 1
MANIFEST = "model.json"
CALIBRATION = "calibration.json"
MODEL_CARD = "model-card.md"
KNOWN_ANSWERS = "known_answers"
"""Of the manifest: by precision, rows of probabilities of the probes."""
GRAPHS = {
    Precision.FP32: "model.onnx",
    Precision.FP16: "model.fp16.onnx",
    Precision.INT8: "model.int8.onnx",
}
DEFAULT_BUNDLE = "xception-tuned"

_MANIFEST_LIMIT_BYTES = 4 << 20
# One path component of plain characters, or several: nothing that leaves the folder.
_FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest says of one file: its SHA-256 and size in bytes."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A verified graph: `data` has the SHA-256 `sha256`."""

    precision: Precision
    data: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle; make one with `open_bundle`.

    Parameters
    ----------
    folder : Path
        Where it is.
    name : str
        The model's name.
    labels : tuple of str
        Class names in the order of the model's outputs.
    preprocessing : Preprocessing
        What turns a slice into the model's input.
    input_name, output_name : str
        Tensor names: uint8 (N, H, W, 1) in, float32 (N, classes) out.
    files : mapping of str to FileRecord
        Every file but the manifest.
    manifest : mapping
        The whole of model.json.
    judging : Judging
        When a classification is an answer.
    """

    folder: Path
    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    input_name: str
    output_name: str
    files: Mapping[str, FileRecord]
    manifest: Mapping[str, Any] = field(repr=False)
    judging: Judging = Judging()

    @property
    def extra_outputs(self) -> tuple[dict[str, Any], ...]:
        """Outputs of its graphs beside the probabilities: name, dtype and shape of each."""
        if not self.judging.outliers:
            return ()
        return ({"name": OUTLIER_SCORE, "dtype": "float32", "shape": ["batch"]},)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions this bundle has a graph of."""
        return tuple(precision for precision, name in GRAPHS.items() if name in self.files)

    def read(self, name: str) -> bytes:
        """Read a file and verify the very bytes returned.

        Raises
        ------
        BundleIntegrityError
            If the file is missing, unreadable or altered.
        """
        record = self.files.get(name)
        if record is None:
            listed = ", ".join(sorted(self.files))
            raise BundleError(f"{self.folder / MANIFEST} lists no {name}; it lists {listed}")
        path = self.folder / name
        with _integrity(path, record):
            data = _regular(path).read_bytes()
        _compare(path, record, len(data), hashlib.sha256(data).hexdigest())
        return data

    def graph(self, precision: Precision) -> Graph:
        """Read and verify the graph of one precision.

        Raises
        ------
        PrecisionNotAvailableError
            If the bundle has none.
        BundleIntegrityError
            If its file is missing or altered.
        """
        name = GRAPHS[precision]
        if name not in self.files:
            held = ", ".join(map(str, self.precisions)) or "none"
            raise PrecisionNotAvailableError(
                f"{self.folder} has no {precision} graph ({name}); it has: {held}. "
                'Make one with "neuroscan-edge export" or "neuroscan-edge calibrate"'
            )
        return Graph(precision, self.read(name), self.files[name].sha256)


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle: read its manifest and check that every file it lists is there and unaltered.

    Raises
    ------
    BundleError
        If the folder or its manifest is missing or malformed.
    BundleVersionError
        If its schema is newer than this version reads.
    BundleIntegrityError
        If a listed file is missing or altered; the message names file and hash.
    """
    manifest = _read_manifest(folder)
    try:
        bundle = Bundle(
            folder=folder,
            name=_text(manifest["name"]),
            labels=_labels(manifest["labels"]),
            preprocessing=Preprocessing.from_json(manifest["preprocessing"]),
            input_name=_text(manifest["input"]["name"]),
            output_name=_text(manifest["output"]["name"]),
            files=_file_records(manifest["files"]),
            manifest=manifest,
            judging=_judging(manifest),
        )
        stated = manifest["preprocessing_sha256"]
    except SpecError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{folder / MANIFEST} is malformed ({error!r}); copy the bundle again"
        ) from error
    if stated != bundle.preprocessing.sha256:
        raise BundleIntegrityError(
            f"{folder / MANIFEST} states preprocessing hash {stated}, its specification hashes to "
            f"{bundle.preprocessing.sha256}; copy the bundle again"
        )
    for name, record in bundle.files.items():
        _verify(folder / name, record)
    return bundle


def find_bundle(model: str | None = None) -> Path:
    """Locate a bundle by path or by the name of one that is shipped; None is the default one.

    Raises
    ------
    UsageError
        If there is no such folder.
    """
    # os.path: a locked folder above is no reason to raise.
    if model is not None and os.path.isdir(model):
        return Path(model)
    name = model or DEFAULT_BUNDLE
    package = Path(__file__).parent.parent
    # In the wheel; in a checkout.
    shipped = (package / "bundles", package.parent / "engines")
    for root in shipped:
        if (root / name / MANIFEST).is_file() and Path(name).name == name:
            return root / name
    known = sorted({each.parent.name for root in shipped for each in root.glob(f"*/{MANIFEST}")})
    raise UsageError(
        f"there is no bundle {name!r}; give a bundle folder, or one of: {', '.join(known) or '-'}"
    )


def new_manifest(
    *,
    name: str,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    input_name: str,
    output_name: str,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Compose the manifest of a bundle that has no files yet.

    `about` holds what describes the model without deciding how it runs: recipe, data, metrics.
    """
    return {
        "schema": BUNDLE_SCHEMA,
        "intended_use": RESEARCH_USE,
        "licence": "Apache-2.0",
        "name": name,
        "labels": list(labels),
        "preprocessing": preprocessing.to_json(),
        "preprocessing_sha256": preprocessing.sha256,
        "input": {
            "name": input_name,
            "dtype": "uint8",
            "shape": ["batch", preprocessing.height, preprocessing.width, 1],
        },
        "output": {"name": output_name, "dtype": "float32", "shape": ["batch", len(labels)]},
        **about,
        "files": {},
    }


def write_files(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Add files to a bundle and record them in its manifest, which is written last.

    Parameters
    ----------
    folder : Path
        The bundle; made if absent.
    manifest : mapping
        From `new_manifest`, or an opened bundle's; records of other files are kept.
    files : mapping of str to bytes
        Content by file name.
    """
    records = dict(manifest["files"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
        digest = hashlib.sha256(data).hexdigest()
        records[name] = {"sha256": digest, "size_bytes": len(data)}
    text = json.dumps({**manifest, "files": dict(sorted(records.items()))}, indent=2) + "\n"
    write_whole(folder / MANIFEST, text.encode())
    return open_bundle(folder)


def without_file(folder: Path, name: str) -> Bundle:
    """Take one file out of a bundle and its manifest: the FP32 graph, to ship less."""
    bundle = open_bundle(folder)
    records = {key: value for key, value in bundle.manifest["files"].items() if key != name}
    write_files(folder, {**bundle.manifest, "files": records}, {})
    (folder / name).unlink(missing_ok=True)
    return open_bundle(folder)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        if _regular(path).stat().st_size > _MANIFEST_LIMIT_BYTES:
            raise BundleError(f"{path} is over {_MANIFEST_LIMIT_BYTES} bytes; it is no manifest")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}); give the folder of a bundle"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); copy the bundle again") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise BundleError(f"{path} states schema {schema!r}; it is no bundle manifest")
    if schema > BUNDLE_SCHEMA:
        raise BundleVersionError(
            f"{path} has schema {schema}, this version reads up to {BUNDLE_SCHEMA}; "
            "upgrade neuroscan-edge"
        )
    return dict(manifest)


def _verify(path: Path, record: FileRecord) -> None:
    with _integrity(path, record):
        size = _regular(path).stat().st_size
        # A file of another size is not worth hashing.
        digest = sha256_file(path) if size == record.size_bytes else ""
    _compare(path, record, size, digest)


def _compare(path: Path, record: FileRecord, size_bytes: int, digest: str) -> None:
    if size_bytes != record.size_bytes:
        raise BundleIntegrityError(
            f"{path} has {size_bytes} bytes, {MANIFEST} lists {record.size_bytes} with SHA-256 "
            f"{record.sha256}; it is truncated or altered: copy the bundle again"
        )
    if digest != record.sha256:
        raise BundleIntegrityError(
            f"{path} has SHA-256 {digest}, {MANIFEST} lists {record.sha256}; "
            "it was altered or damaged: copy the bundle again"
        )


@contextlib.contextmanager
def _integrity(path: Path, record: FileRecord) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleIntegrityError(
            f"{path} cannot be read ({error.strerror}), but {MANIFEST} lists it with SHA-256 "
            f"{record.sha256}; copy the bundle again"
        ) from error


def _regular(path: Path) -> Path:
    # Opening a pipe would wait for a writer for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path


def _file_records(files: Mapping[str, Any]) -> dict[str, FileRecord]:
    records = {}
    for name, entry in files.items():
        if not _FILE_NAME.match(name) or ".." in name:
            raise ValueError(f"file name {name!r}")
        digest, size = _text(entry["sha256"]), entry["size_bytes"]
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not isinstance(size, int):
            raise ValueError(f"record of {name!r}")
        records[name] = FileRecord(digest, size)
    return records


def _judging(manifest: Mapping[str, Any]) -> Judging:
    stated = manifest.get("judging")
    return Judging() if stated is None else Judging.from_json(stated)


def _labels(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ValueError(f"labels {values!r}")
    labels = tuple(_text(value) for value in values)
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ValueError(f"labels {labels}")
    return labels


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a word")
    return value
