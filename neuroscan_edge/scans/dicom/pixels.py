"""Pixel data of a DICOM file, frame by frame: found, and decoded to stored values."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from neuroscan_edge.errors import CorruptScanError, UnsupportedScanError
from neuroscan_edge.scans.dicom import rle
from neuroscan_edge.scans.dicom.frame_checks import Declared, check_end, check_jpeg, check_jpeg_2000
from neuroscan_edge.scans.jpeg import lossless as jpeg_lossless

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
_DESCRIBING = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


class FramePixels:
    """The frames of one data set.

    Parameters
    ----------
    dataset : Dataset
        With its meta information; its header must have been checked.
    count : int
        How many frames it declares.

    Raises
    ------
    UnsupportedScanError
        If there is no decoder for its transfer syntax.
    CorruptScanError
        If the data is encapsulated where the syntax says otherwise.
    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        self._dataset = dataset
        self._count = count
        self._syntax = _transfer_syntax(dataset)
        _check_decoder(self._syntax)
        self._declared = Declared(
            int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
        )
        if dataset["PixelData"].is_undefined_length and self._syntax in _NATIVE:
            raise CorruptScanError(
                "the pixel data is compressed, but the transfer syntax says it is not; "
                "export the image again"
            )

    def encoded(self) -> Iterator[bytes]:
        """Yield each frame as it lies in the file.

        Raises
        ------
        CorruptScanError
            If the pixel data ends before all frames that are declared.
        """
        found = 0
        source = self._native() if self._syntax in _NATIVE else self._encapsulated()
        for frame in itertools.islice(source, self._count):
            yield frame
            found += 1
        if found < self._count:
            raise CorruptScanError(
                f"the pixel data ends after {found} of {self._count} frames; "
                "copy or export the image again"
            )

    def stored_values(self, encoded: bytes) -> npt.NDArray[Any]:
        """Decode one frame; returns (H, W) of an integer dtype, sign extended.

        Raises
        ------
        CorruptScanError
            If it is damaged, or declares another size than the header.
        UnsupportedScanError
            If it is of a variant without a decoder.
        """
        declared = self._declared
        if self._syntax in _NATIVE:
            order = ">" if self._syntax == uid.ExplicitVRBigEndian else "<"
            return self._unpacked(np.frombuffer(encoded, f"{order}u{declared.bits_allocated // 8}"))
        if self._syntax == uid.RLELossless:
            width = declared.bits_allocated // 8
            pixels = declared.rows * declared.columns
            return self._unpacked(rle.decode(encoded, pixels, width).view(f"<u{width}"))
        if self._syntax in _JPEG_2000:
            check_jpeg_2000(encoded, declared)
        else:
            precision = check_jpeg(encoded, declared)
            if self._syntax in _JPEG_LOSSLESS:
                return self._unpacked(jpeg_lossless.decode(encoded))
            if self._syntax in _JPEG_LS:
                check_end(encoded)
            if self._syntax in _JPEG_LOSSY and precision != 8:
                raise UnsupportedScanError(
                    f"no decoder is at hand for lossy JPEG of {precision} bits; "
                    "export the image uncompressed"
                )
        return self._by_plugin(encoded)

    def _native(self) -> Iterator[bytes]:
        declared = self._declared
        data = self._dataset.PixelData
        if (
            self._syntax == uid.ExplicitVRBigEndian
            and declared.bits_allocated == 8
            and self._dataset["PixelData"].VR == "OW"
        ):
            # Two pixels are one word there.
            data = np.frombuffer(data[: len(data) // 2 * 2], np.uint16).byteswap().tobytes()
        size = declared.rows * declared.columns * declared.bits_allocated // 8
        for index in range(len(data) // size):
            yield data[index * size : (index + 1) * size]

    def _encapsulated(self) -> Iterator[bytes]:
        offsets = self._dataset.get("ExtendedOffsetTable")
        lengths = self._dataset.get("ExtendedOffsetTableLengths")
        return generate_frames(
            self._dataset.PixelData,
            number_of_frames=self._count,
            extended_offsets=(offsets, lengths) if offsets and lengths else None,
        )

    def _unpacked(self, words: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Take the stored bits out of their words: no overlay bits, the sign extended."""
        dataset, declared = self._dataset, self._declared
        stored = int(dataset.BitsStored)
        # Before 2007 the stored bits could lie anywhere in the word.
        high = max(int(dataset.get("HighBit", stored - 1)), stored - 1)
        above = 8 * words.itemsize - 1 - high
        if above < 0:
            raise CorruptScanError(
                f"the high bit is {high} in words of {8 * words.itemsize} bits; "
                "export the image again"
            )
        words = words.reshape(declared.rows, declared.columns)
        # To the top and back: what was above falls off, and the sign is drawn down.
        moved = words << words.dtype.type(above)
        if int(dataset.PixelRepresentation) == 1:
            moved = moved.view(moved.dtype.str.replace("u", "i"))
        values: npt.NDArray[Any] = moved >> moved.dtype.type(8 * words.itemsize - stored)
        return values

    def _by_plugin(self, encoded: bytes) -> npt.NDArray[Any]:
        single = Dataset()
        for keyword in _DESCRIBING:
            if keyword in self._dataset:
                single[keyword] = self._dataset[keyword]
        single.PixelData = encapsulate([encoded], has_bot=False)
        single["PixelData"].is_undefined_length = True
        single.file_meta = FileMetaDataset()
        single.file_meta.TransferSyntaxUID = self._syntax
        plugin = _PLUGINS[self._syntax]
        values = np.asarray(pixel_array(single, index=0, decoding_plugin=plugin))
        declared = (self._declared.rows, self._declared.columns)
        if values.shape != declared:
            raise CorruptScanError(
                f"the pixel data has shape {values.shape}, the header declares {declared}; "
                "export the image again"
            )
        return values


def _transfer_syntax(dataset: Dataset) -> uid.UID:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None:
        return uid.UID(str(syntax))
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
