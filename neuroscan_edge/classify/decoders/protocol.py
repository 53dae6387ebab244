"""What a decoder process and its parent say to each other, over a socket.

A message is the length of a header, the header in JSON, and the bytes of the arrays that it names.
No pickle: a process that decodes hostile files might be taken over, and unpickling what it sends
would run its code in the parent. For the same reason sizes are checked before they are allocated.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.classify.decoders.prepare import Preparation, Prepared
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.scans import DicomUids, Limits, Provenance
from neuroscan_edge.scans.quality import QualityThresholds
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.scans.series_rule import SeriesRule
from neuroscan_edge.spec import MAX_SIDE, Finding, MrSequence, Plane, Preprocessing

_LENGTH = struct.Struct("<I")
_HEADER_LIMIT_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 17
_HELD_BYTES = 1 << 18

_MAX_EVIDENCE, _MAX_EVIDENCE_TEXT = 64, 200

_UIDS = tuple(each.name for each in fields(DicomUids))

_UInt8 = npt.NDArray[np.uint8]


class MessageError(NeuroScanError):
    """A process sent what is no message."""


class Channel:
    """One end of a socket between a parent and a decoder process.

    Parameters
    ----------
    end : socket
        Connected; owned from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        # What was received and not yet read: a slice comes in one piece, with its header.
        self._buffer = bytearray(_BUFFER_BYTES)
        self._ahead = memoryview(b"")
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._deadline: float | None = None

    def set_deadline(self, seconds: float | None) -> None:
        """Let every receipt from now on fail with TimeoutError after this time; None waits."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def send(
        self, header: Mapping[str, Any], arrays: Sequence[_UInt8] = (), *, hold: bool = False
    ) -> None:
        """Send a header and C-contiguous arrays, or hold them to go with what is sent next.

        Every piece that is sent wakes the other side. Once some hundred kilobytes are held, all is
        sent.
        """
        text = json.dumps(header, separators=(",", ":")).encode()
        pieces = [_LENGTH.pack(len(text)), text, *(array.tobytes() for array in arrays)]
        self._held += pieces
        self._held_bytes += sum(map(len, pieces))
        if hold and self._held_bytes < _HELD_BYTES:
            return
        data = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        self._end.settimeout(self._remaining())
        self._end.sendall(data)

    def has_next(self) -> bool:
        """Whether a message has come already, or begun to, after those that were received."""
        return len(self._ahead) > 0

    def receive(self) -> Any:
        """Return the next header.

        Raises
        ------
        EOFError
            If the other side is gone.
        TimeoutError
            If the deadline passes.
        MessageError
            If it is no message.
        """
        (length,) = _LENGTH.unpack(self._read(bytearray(_LENGTH.size)))
        if length > _HEADER_LIMIT_BYTES:
            raise MessageError(f"a header of {length} bytes")
        try:
            return json.loads(self._read(bytearray(length)))
        except (ValueError, RecursionError) as error:
            raise MessageError("a header that is no JSON") from error

    def receive_array(self, shape: tuple[int, int]) -> _UInt8:
        """Return the next array, (H, W) uint8, of the shape that the header named."""
        array = np.empty(shape, np.uint8)
        if array.size:
            self._read(array.data.cast("B"))
        return array

    def shut(self) -> None:
        """End the connection: whoever waits on it, in another thread too, is woken."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other side was faster.
            return

    def close(self) -> None:
        """Give the socket back."""
        self._end.close()

    def _read(self, buffer: Any) -> Any:
        wanted = memoryview(buffer)
        while wanted:
            count = min(len(wanted), len(self._ahead))
            if count:
                wanted[:count] = self._ahead[:count]
                self._ahead = self._ahead[count:]
            elif len(wanted) >= len(self._buffer):
                count = self._receive_into(wanted)
            else:
                self._ahead = memoryview(self._buffer)[: self._receive_into(self._buffer)]
            wanted = wanted[count:]
        return buffer

    def _receive_into(self, buffer: Any) -> int:
        self._end.settimeout(self._remaining())
        try:
            count = self._end.recv_into(buffer)
        except ConnectionError as error:
            raise EOFError from error
        if not count:
            raise EOFError
        return count

    def _remaining(self) -> float | None:
        if self._deadline is None:
            return None
        # Zero would mean not to wait at all, and fail otherwise.
        return max(self._deadline - time.monotonic(), 1e-3)


def send_requests(channel: Channel, paths: Sequence[Path], preparation: Preparation | None) -> None:
    """Ask for the slices of files; None prepares them as those of the file before."""
    for number, path in enumerate(paths, 1):
        header = _request(path, preparation if number == 1 else None)
        channel.send(header, hold=number < len(paths))


def _request(path: Path, preparation: Preparation | None) -> dict[str, Any]:
    header: dict[str, Any] = {"path": str(path)}
    if preparation is not None:
        header["preparation"] = {
            "preprocessing": preparation.preprocessing.to_json(),
            "raw": preparation.raw,
            "limits": asdict(preparation.limits),
            "keep_original": preparation.keep_original,
            "quality": preparation.quality.to_json(),
            "series": [str(rule) for rule in preparation.series],
        }
    return header


def receive_request(channel: Channel) -> tuple[Path, Preparation | None]:
    """Return the file asked for, and how to prepare it; None if as the one before."""
    header = channel.receive()
    path, stated = Path(header["path"]), header.get("preparation")
    if stated is None:
        return path, None
    preparation = Preparation(
        Preprocessing.from_json(stated["preprocessing"]),
        stated["raw"],
        Limits(**stated["limits"]),
        stated["keep_original"],
        QualityThresholds.from_json(stated["quality"]),
        tuple(SeriesRule.parse(rule) for rule in stated["series"]),
    )
    return path, preparation


def send_prepared(channel: Channel, item: Prepared, *, hold: bool = False) -> None:
    """Hand over a slice or an error."""
    arrays = [
        None if each is None else np.ascontiguousarray(each)
        for each in (item.pixels, item.original)
    ]
    header: dict[str, Any] = {
        "provenance": _provenance(item.provenance),
        "error": item.error,
        "findings": [str(finding) for finding in item.findings],
        "shapes": [None if each is None else each.shape for each in arrays],
    }
    # Raster images, of which there are most, have neither.
    if item.series is not None:
        header["series"] = asdict(item.series)
    if item.unwanted:
        header["unwanted"] = True
    channel.send(header, [each for each in arrays if each is not None and each.size], hold=hold)


def send_end(channel: Channel, *, hold: bool = False) -> None:
    """Say that the file is done."""
    channel.send({"end": True}, hold=hold)


def receive_prepared(channel: Channel, limits: Limits) -> Prepared | None:
    """Return the next slice or error of a file; None at its end."""
    header = channel.receive()
    try:
        if header.get("end"):
            return None
        stated = header["provenance"]
        provenance = Provenance(**{**stated, "uids": DicomUids(**stated["uids"])})
        findings = tuple(Finding(word) for word in header["findings"])
        shapes = [_shape(each, limits) for each in header["shapes"]]
        series = _series(header.get("series"))
        unwanted = bool(header.get("unwanted", False))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise MessageError("a header with other fields") from error
    pixels, original = (None if each is None else channel.receive_array(each) for each in shapes)
    return Prepared(
        provenance,
        pixels,
        header["error"],
        findings,
        original,
        series=series,
        unwanted=unwanted,
    )


def _series(stated: Any) -> SeriesFacts | None:
    """Read what was sent of a series, each word one that is known."""
    if stated is None:
        return None
    plane, evidence, orientation = stated["plane"], stated["evidence"], stated["orientation"]
    contrast = stated["contrast_agent"]
    texts = [*evidence, *([] if orientation is None else [orientation])]
    if len(evidence) > _MAX_EVIDENCE or not all(_is_short_text(each) for each in texts):
        raise ValueError("evidence that is no list of short texts")
    return SeriesFacts(
        MrSequence(stated["sequence"]),
        tuple(evidence),
        None if plane is None else Plane(plane),
        orientation,
        None if contrast is None else bool(contrast),
    )


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_EVIDENCE_TEXT


def _provenance(provenance: Provenance) -> dict[str, Any]:
    # `asdict` copies deeply, at ten times the cost; this is done for every slice.
    uids = {name: getattr(provenance.uids, name) for name in _UIDS}
    return {"path": provenance.path, "frame": provenance.frame, "uids": uids}


def _shape(value: Any, limits: Limits) -> tuple[int, int] | None:
    if value is None:
        return None
    height, width = map(int, value)
    if min(height, width) < 0 or height * width > max(limits.image_pixels, MAX_SIDE * MAX_SIDE):
        raise MessageError(f"an array of {height}x{width}")
    return height, width
