"""Pixel data of a DICOM file, frame by frame: found, and decoded to words or to channels."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from neuroscan_edge.errors import CorruptScanError, RejectedScanError, UnsupportedScanError
from neuroscan_edge.scans.dicom import rle
from neuroscan_edge.scans.dicom.colour import has_equal_channels, unpack_422
from neuroscan_edge.scans.dicom.elements import named, text
from neuroscan_edge.scans.dicom.fragments import EncapsulatedFrames
from neuroscan_edge.scans.dicom.frame_checks import (
    Declared,
    begins_jpeg,
    begins_jpeg_2000,
    check_end,
    check_jpeg,
    check_jpeg_2000,
    codestream,
    ends_image,
    holds_rgb,
)
from neuroscan_edge.scans.dicom.layout import PixelLayout, check_frames
from neuroscan_edge.scans.dicom.stored_values import Coded
from neuroscan_edge.scans.jpeg import lossless as jpeg_lossless
from neuroscan_edge.scans.scan import Limits
from neuroscan_edge.spec import Finding

_JPEG_LOSSLESS = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1})
_JPEG_LOSSY = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_JPEG_LS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
_JPEG_2000 = frozenset(
    {uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K}
)
_OWN = _JPEG_LOSSLESS | {uid.RLELossless}
_NATIVE = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
# One decoder a syntax, whatever else is installed: the same file gives the same pixels everywhere.
_PLUGINS = (
    {each: "pillow" for each in _JPEG_LOSSY}
    | {each: "pyjpegls" for each in _JPEG_LS}
    | {each: "pylibjpeg" for each in _JPEG_2000}
)
_PACKAGES = {"pyjpegls": "pyjpegls", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
_LUMINANCE = frozenset({"YBR_FULL", "YBR_FULL_422"})
_CODESTREAM_FORMAT = 0
_BY_PLANE = 0


@dataclass(frozen=True, slots=True)
class Channels:
    """Three channels of a frame.

    Parameters
    ----------
    samples : (H, W, 3) uint8 or uint16
        Red, green and blue, or luminance and two colour differences.
    luminance : bool
        Whether they are the latter.
    doubtful : bool
        Whether they lie otherwise than the header says.
    """

    samples: npt.NDArray[Any]
    luminance: bool
    doubtful: bool = False


class FramePixels:
    """The frames of one data set.

    Parameters
    ----------
    dataset : Dataset
        With its meta information.
    layout : PixelLayout
        What its header says of the pixels.
    limits : Limits
        Refusals made before a frame is decoded.

    Raises
    ------
    UnsupportedScanError
        If there is no decoder for its transfer syntax.
    CorruptScanError
        If the data is encapsulated where the syntax says otherwise, or nothing tells where its
        frames are.
    ScanTooLargeError
        If it holds more frames than allowed.
    """

    def __init__(self, dataset: Dataset, layout: PixelLayout, limits: Limits) -> None:
        self._layout = layout
        self._syntax = _transfer_syntax(dataset)
        _check_decoder(self._syntax)
        self._declared = Declared(
            layout.rows, layout.columns, layout.bits.allocated, layout.samples
        )
        encapsulated = bool(dataset["PixelData"].is_undefined_length)
        if encapsulated and self._syntax in _NATIVE:
            raise CorruptScanError(
                "the pixel data is compressed, but the transfer syntax says it is not; "
                "export the image again"
            )
        if not encapsulated and self._syntax not in _NATIVE:
            raise CorruptScanError(
                "the transfer syntax says that the pixel data is compressed, but it lies in one "
                "piece; export the image again"
            )
        self._frames: _NativeFrames | EncapsulatedFrames
        if encapsulated:
            self._frames = self._encapsulated(dataset)
        else:
            self._frames = _NativeFrames(_native_data(dataset, layout, self._syntax), layout)
        self._count = max(len(self._frames), layout.frames or 1)
        if len(self._frames) > (layout.frames or 1):
            check_frames(len(self._frames), layout.rows, layout.columns, limits)

    def __len__(self) -> int:
        """Return how many frames there are, declared or found."""
        return self._count

    @property
    def exceeds_header(self) -> bool:
        """Whether the pixel data holds more than the header says."""
        more = len(self._frames) > (self._layout.frames or 1)
        return more or (isinstance(self._frames, _NativeFrames) and self._frames.has_rest)

    def frame(self, index: int) -> bytes:
        """Return a frame as it lies in the file.

        Raises
        ------
        CorruptScanError
            If the pixel data ends before it.
        """
        if index >= len(self._frames):
            raise CorruptScanError(
                f"the pixel data ends after {len(self._frames)} of {self._count} frames; "
                "copy or export the image again"
            )
        return self._frames[index]

    def words(self, encoded: bytes) -> Coded:
        """Decode one frame of one sample a pixel.

        Raises
        ------
        CorruptScanError
            If it is damaged, or declares another size than the header.
        UnsupportedScanError
            If it is of a variant without a decoder.
        """
        layout, allocated = self._layout, self._layout.bits.allocated
        if self._syntax in _NATIVE:
            return Coded(self._native_words(encoded).reshape(layout.shape))
        if self._syntax == uid.RLELossless:
            width = allocated // 8
            octets = rle.decode(encoded, layout.rows * layout.columns, width)
            return Coded(octets.view(f"<u{width}").reshape(layout.shape))
        samples, precision, signed = self._decoded(encoded)
        if samples.shape != layout.shape:
            raise self._other_shape(samples)
        kind = f"i{allocated // 8}" if signed else f"u{allocated // 8}"
        return Coded(samples.astype(kind).view(f"u{allocated // 8}"), precision, signed)

    def channels(self, encoded: bytes) -> Channels:
        """Decode one frame of three samples a pixel.

        Raises
        ------
        CorruptScanError, UnsupportedScanError
            As for `words`.
        RejectedScanError
            If the compression is not read in colour.
        """
        layout, bits = self._layout, self._layout.bits
        luminance = layout.photometric in _LUMINANCE
        if bits.allocated > 16 or self._syntax in _JPEG_LOSSLESS:
            raise RejectedScanError(
                Finding.COLOUR,
                "the DICOM image is in colour; of its compression or depth, three channels are "
                "not compared",
            )
        doubtful = False
        if self._syntax in _NATIVE:
            samples, doubtful = self._native_channels(encoded)
        elif self._syntax == uid.RLELossless:
            width = bits.allocated // 8
            octets = rle.decode(encoded, layout.rows * layout.columns, width * 3)
            # The least significant byte of the last channel comes first.
            by_channel = octets.reshape(-1, 3, width)[:, ::-1]
            samples = np.ascontiguousarray(by_channel).view(f"<u{width}")
            samples = samples.reshape(*layout.shape, 3)
        elif self._syntax in _JPEG_LOSSY:
            samples, luminance = self._lossy_channels(encoded)
        else:
            samples = self._decoded(encoded)[0]
        if samples.shape != (*layout.shape, 3):
            raise self._other_shape(samples)
        if bits.stored <= 8:
            samples = samples.astype(np.uint8)
        return Channels(samples, luminance and samples.dtype == np.uint8, doubtful)

    def _encapsulated(self, dataset: Dataset) -> EncapsulatedFrames:
        width = self._layout.samples * self._layout.bits.allocated // 8
        if self._syntax == uid.RLELossless:
            begins, ends = (lambda data: rle.begins(data, width)), (lambda data: True)
        else:
            begins = begins_jpeg_2000 if self._syntax in _JPEG_2000 else begins_jpeg
            ends = ends_image
        return EncapsulatedFrames(
            dataset.PixelData, self._layout.frames, begins, ends, _extended_offsets(dataset)
        )

    def _native_words(self, encoded: bytes) -> npt.NDArray[Any]:
        order = ">" if self._syntax == uid.ExplicitVRBigEndian else "<"
        return np.frombuffer(encoded, f"{order}u{self._layout.bits.allocated // 8}")

    def _native_channels(self, encoded: bytes) -> tuple[npt.NDArray[Any], bool]:
        """Return the channels and whether they lie otherwise than the header says."""
        layout = self._layout
        words = self._native_words(encoded)
        words = words.astype(words.dtype.newbyteorder("="))
        if layout.photometric == "YBR_FULL_422":
            return unpack_422(words, *layout.shape), False
        by_pixel = words.reshape(*layout.shape, 3)
        by_plane = np.moveaxis(words.reshape(3, *layout.shape), 0, -1)
        stated, other = (by_plane, by_pixel) if layout.planar else (by_pixel, by_plane)
        # Read by pixel, planes of a smooth picture may pass for grey.
        grey_otherwise = not has_equal_channels(stated) and has_equal_channels(other)
        if layout.photometric == "RGB" and grey_otherwise:
            return other, True
        return stated, False

    def _decoded(self, encoded: bytes) -> tuple[npt.NDArray[Any], int, bool | None]:
        """Return the samples of a compressed frame, their precision and whether it has a sign."""
        declared = self._declared
        if self._syntax in _JPEG_2000:
            from openjpeg.utils import decode

            stream = codestream(encoded)
            precision, signed = check_jpeg_2000(stream, declared)
            return decode(stream, _CODESTREAM_FORMAT), precision, signed
        precision = check_jpeg(encoded, declared)
        if self._syntax in _JPEG_LOSSLESS:
            return jpeg_lossless.decode(encoded), precision, None
        if self._syntax in _JPEG_LS:
            check_end(encoded)
            return _decode_jpeg_ls(encoded, declared), precision, None
        _check_lossy(precision)
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            return np.asarray(image), precision, None

    def _lossy_channels(self, encoded: bytes) -> tuple[npt.NDArray[Any], bool]:
        """Return the channels of a lossy JPEG, and whether they are luminance and chroma."""
        _check_lossy(check_jpeg(encoded, self._declared))
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            if holds_rgb(encoded):
                return np.asarray(image), False
            # As they are stored: converting them would add rounding.
            image.draft("YCbCr", image.size)
            marked = "jfif" in image.info or "adobe_transform" in image.info
            return np.asarray(image), marked or self._layout.photometric != "RGB"

    def _other_shape(self, samples: npt.NDArray[Any]) -> CorruptScanError:
        rows, columns = self._layout.shape
        return CorruptScanError(
            f"the decoded frame has shape {samples.shape}, the header declares {rows} rows and "
            f"{columns} columns of {self._layout.samples} samples; export the image again"
        )


class _NativeFrames:
    """The frames of pixel data that is not compressed."""

    def __init__(self, data: bytes, layout: PixelLayout) -> None:
        self._data = data
        self._size = layout.frame_bytes
        declared = layout.frames or 1
        found = len(data) // self._size
        if found > declared:
            # Zeros behind what is declared fill up a block.
            found = max(declared, min(found, -(-len(data.rstrip(b"\0")) // self._size)))
        self._found = found
        if found > declared and layout.bits.allocated == 8 and layout.samples == 1:
            _check_single_bytes(np.frombuffer(data, np.uint8, self._size))
        rest = data[found * self._size :] if found >= declared else b""
        self.has_rest = bool(rest.strip(b"\0"))
        """Whether something that is no whole frame follows the frames."""

    def __len__(self) -> int:
        return self._found

    def __getitem__(self, index: int) -> bytes:
        return self._data[index * self._size : (index + 1) * self._size]


def _check_single_bytes(first: npt.NDArray[np.uint8]) -> None:
    """Refuse words of two bytes that the header takes for pixels of one: twice as many frames.

    Of a picture, bytes are closer to the next than to the one after it; of words, the reverse, for
    low and high bytes take turns.
    """
    values = first.astype(np.int16)
    if np.abs(values[2:] - values[:-2]).sum() < np.abs(values[2:] - values[1:-1]).sum():
        raise CorruptScanError(
            f"the pixel data has two bytes a pixel, {named('BitsAllocated')} says 8; "
            "export the image again"
        )


def _native_data(dataset: Dataset, layout: PixelLayout, syntax: uid.UID) -> bytes:
    data: bytes = dataset.PixelData
    if (
        syntax == uid.ExplicitVRBigEndian
        and layout.bits.allocated == 8
        and dataset["PixelData"].VR == "OW"
    ):
        # Two pixels are one word there.
        data = np.frombuffer(data[: len(data) // 2 * 2], np.uint16).byteswap().tobytes()
    return data


def _extended_offsets(dataset: Dataset) -> list[int]:
    if "ExtendedOffsetTable" not in dataset:
        return []
    value = dataset.get_item("ExtendedOffsetTable").value
    if not isinstance(value, bytes):
        return []
    offsets: list[int] = np.frombuffer(value[: len(value) // 8 * 8], "<u8").tolist()
    return offsets


def _decode_jpeg_ls(encoded: bytes, declared: Declared) -> npt.NDArray[Any]:
    import jpeg_ls

    buffer, info = jpeg_ls.decode_pixel_data(encoded)
    samples = np.frombuffer(buffer, "<u1" if info["bits_per_sample"] <= 8 else "<u2")
    shape = (declared.rows, declared.columns)
    if declared.samples == 1:
        return samples.reshape(shape)
    if info["interleave_mode"] == _BY_PLANE:
        return np.moveaxis(samples.reshape(declared.samples, *shape), 0, -1)
    return samples.reshape(*shape, declared.samples)


def _check_lossy(precision: int) -> None:
    if precision != 8:
        raise UnsupportedScanError(
            f"no decoder is at hand for lossy JPEG of {precision} bits; "
            "export the image uncompressed"
        )


def _transfer_syntax(dataset: Dataset) -> uid.UID:
    if "TransferSyntaxUID" in dataset.file_meta:
        return uid.UID(text(dataset.file_meta, "TransferSyntaxUID"))
    # Without meta information the encoding shows, but not a compression.
    if dataset["PixelData"].is_undefined_length:
        raise UnsupportedScanError(
            "the pixel data is compressed and the file does not say how; export it again"
        )
    implicit, little = dataset.original_encoding
    if not little:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _check_decoder(syntax: uid.UID) -> None:
    if syntax in _NATIVE or syntax in _OWN:
        return
    if not syntax.is_transfer_syntax:
        # Its text is not quoted: it could be anything.
        raise UnsupportedScanError("the transfer syntax is unknown; export the image uncompressed")
    plugin = _PLUGINS.get(syntax)
    if plugin is None:
        raise UnsupportedScanError(
            f"the transfer syntax {syntax.name} is not read; export the image uncompressed"
        )
    if plugin not in get_decoder(syntax).available_plugins:
        raise UnsupportedScanError(
            f"the decoder for {syntax.name} is not installed; "
            f"run pip install {_PACKAGES.get(plugin, plugin)}"
        )
