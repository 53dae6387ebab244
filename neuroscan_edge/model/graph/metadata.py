"""Labels and preprocessing stated inside a graph file, so that altering model.json alone shows.

The statements stand in ``ModelProto.metadata_props``. They are read from the file without loading
the graph and without the onnx package: the fields of the outermost message are skipped by their
lengths.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

LABELS = "neuroscan_edge.labels"
PREPROCESSING = "neuroscan_edge.preprocessing_sha256"

# onnx.proto: ModelProto.metadata_props = 14, StringStringEntryProto.key = 1 and .value = 2.
_METADATA_FIELD = 14
_KEY_FIELD = 1
_VALUE_FIELD = 2
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_ENTRY_BYTES = 1 << 20
_MAX_FIELDS = 10_000


def stamp(model: Any, labels: Sequence[str], preprocessing_sha256: str) -> None:
    """State labels and preprocessing in a ModelProto; earlier statements are replaced."""
    ours = {
        LABELS: json.dumps(list(labels), ensure_ascii=False),
        PREPROCESSING: preprocessing_sha256,
    }
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key not in ours]
    del model.metadata_props[:]
    for key, value in sorted([*kept, *ours.items()]):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of an ONNX file by key.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a serialized ModelProto.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        found: dict[str, str] = {}
        for field, start, length in _fields(stream, size):
            if field == _METADATA_FIELD:
                if length > _MAX_ENTRY_BYTES:
                    raise ValueError(f"a metadata entry has {length} bytes")
                stream.seek(start)
                entry = _entry(stream, start + length)
                found[entry.get(_KEY_FIELD, "")] = entry.get(_VALUE_FIELD, "")
                stream.seek(start + length)
        return found


def differing_statement(
    metadata: dict[str, str], labels: Sequence[str], preprocessing_sha256: str
) -> str | None:
    """Say which statement of a graph contradicts a manifest; None where none does.

    A graph of an earlier version states nothing.
    """
    stated = metadata.get(LABELS)
    if stated is not None and _parsed(stated) != list(labels):
        return f"labels {stated}"
    stated = metadata.get(PREPROCESSING)
    if stated is not None and stated != preprocessing_sha256:
        return f"preprocessing hash {stated}"
    return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _entry(stream: BinaryIO, end: int) -> dict[int, str]:
    found = {}
    for field, start, length in _fields(stream, end):
        stream.seek(start)
        found[field] = stream.read(length).decode("utf-8")
    return found


def _fields(stream: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and length of each length-delimited field up to `end`."""
    for _ in range(_MAX_FIELDS):
        if stream.tell() == end:
            return
        tag = _varint(stream)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(stream)
        elif kind in (_FIXED64, _FIXED32):
            stream.seek(8 if kind == _FIXED64 else 4, 1)
        elif kind == _LENGTH:
            length = _varint(stream)
            start = stream.tell()
            if start + length > end:
                raise ValueError("a field reaches beyond the end of the message")
            yield field, start, length
            stream.seek(start + length)
        else:
            raise ValueError(f"wire type {kind} is not used by ONNX")
        if stream.tell() > end:
            raise ValueError("a field reaches beyond the end of the message")
    raise ValueError(f"the message has more than {_MAX_FIELDS} fields")


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("the message ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a number is longer than ten bytes")
