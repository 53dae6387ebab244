"""TIFF and BigTIFF files: which of their pages are slices, and their grey levels.

tifffile reads the tags; `tiff_layout` decides how a page is read, or refuses it by name. Nothing is
taken from the pages before, so that a page which lacks data is never filled with another's.
"""

import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from tifffile import TIFF, TiffFile, TiffPage

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.faults import SliceFaults
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.raster.orientation import upright
from neuroscan_edge.scans.raster.tiff_grey import grey_levels
from neuroscan_edge.scans.raster.tiff_layout import COLOUR_MAP, ORIENTATION, Layout, page_layout
from neuroscan_edge.scans.raster.tiff_limits import Directory, check_directories
from neuroscan_edge.scans.raster.tiff_samples import PageSamples
from neuroscan_edge.scans.scan import Limits, Provenance, Scan, ScanFault, SourceFacts

# NewSubfileType: a reduced copy of another image, or a mask of one (TIFF 6.0, section 8).
_REDUCED, _MASK = 1, 4
_PHOTOMETRIC_MASK = 4
# As many values as planes lie under the directory.
_METAMORPH_PLANES = 33629
# What values of other types than the tags should have end in.
_UNEXPECTED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
# tifffile knows many makers' files by their tags and would read their other directories too.
_PLAIN: dict[str, Any] = {f"is_{name}": False for name in TIFF.FILE_FLAGS - {"imagej", "shaped"}}


def read_tiff(data: bytes, path: str, limits: Limits) -> Iterator[Scan | ScanFault]:
    """Decode a TIFF held in memory: a scan for every page that is an image of its own.

    Reduced copies and masks are passed over. A stack that ImageJ stores under one directory is as
    many slices as it says. A page that cannot be read is a `ScanFault`, and those after it are
    still read, up to 8 such faults.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its name, for provenance.
    limits : Limits
        Refusals made from the header, before pixels are allocated.

    Raises
    ------
    CorruptScanError
        If the first directory is damaged, or directories cost more than any real ones.
    ScanTooLargeError
        If there are more pages or images than allowed.
    UnsupportedScanError
        If no page is an image of its own.
    """
    chain = check_directories(data, limits.frames)
    if not chain.directories:
        raise CorruptScanError(
            "the first directory of the TIFF lies beyond the end of the file: it is truncated; "
            "copy or export it again"
        )
    with quiet, _opened(data) as file:
        pages = [each for each in chain.directories if _is_slice(file, each)]
        if not pages:
            raise UnsupportedScanError(
                "the TIFF holds only reduced copies or masks of an image; export the image itself"
            )
        if len(chain.directories) == 1 and not chain.broken:
            yield from _read_alone(file, pages[0], data, path, limits)
        else:
            yield from _read_pages(file, pages, chain.broken, data, path, limits)


def _read_pages(
    file: TiffFile,
    pages: list[Directory],
    broken: bool,
    data: bytes,
    path: str,
    limits: Limits,
) -> Iterator[Scan | ScanFault]:
    faults = SliceFaults(len(pages) + broken, "page")
    for index, directory in enumerate(pages):
        provenance = Provenance(path, index)
        try:
            image = _Image(file, directory, data, limits)
            scan = image.scan(provenance)
        except ScanError as error:
            yield faults.add(provenance, error)
            if faults.exhausted:
                return
        else:
            yield scan
    if broken:
        lost = CorruptScanError(
            "the file ends before the directory of its next page: it is truncated; copy or export "
            "it again"
        )
        yield faults.add(Provenance(path, len(pages)), lost)


def _read_alone(
    file: TiffFile, directory: Directory, data: bytes, path: str, limits: Limits
) -> Iterator[Scan | ScanFault]:
    """Read the only directory of a file, which may stand for a stack."""
    try:
        image = _Image(file, directory, data, limits)
    except ScanError as error:
        yield ScanFault(Provenance(path), error)
        return
    stated = image.stated_images(file)
    if stated > limits.frames:
        raise ScanTooLargeError(
            f"the TIFF holds {stated} images; the limit is {limits.frames}: split the file"
        )
    held = min(image.held_images(directory), stated)
    faults = SliceFaults(stated, "image")
    for index in range(held):
        provenance = Provenance(path, index)
        try:
            scan = image.scan(provenance, index)
        except ScanError as error:
            yield faults.add(provenance, error)
            if faults.exhausted:
                return
        else:
            yield scan
    if held < stated:
        lost = CorruptScanError(
            f"the TIFF says that it holds {stated} images, and {held} of them are there; copy or "
            "export it again"
        )
        yield faults.add(Provenance(path, held), lost)


class _Image:
    """One page as it is read: its tags, its layout, where its samples lie."""

    def __init__(self, file: TiffFile, directory: Directory, data: bytes, limits: Limits) -> None:
        self._data = data
        self._page = _page(file, directory)
        try:
            self._layout = page_layout(self._page, directory.unreadable, file.byteorder, limits)
            self._samples = PageSamples(data, self._page, self._layout)
        except _UNEXPECTED as error:
            raise _damaged() from error

    def scan(self, provenance: Provenance, index: int = 0) -> Scan:
        """Decode the image, or that so many places after it."""
        samples = self._samples.read(index * self._samples.contiguous_bytes)
        orientation = self._page.tags.valueof(ORIENTATION)
        try:
            colours = np.ravel(self._page.tags.valueof(COLOUR_MAP, ()))
            grey, coloured = grey_levels(samples, self._layout, colours)
        except _UNEXPECTED as error:
            raise _damaged() from error
        turned = upright(grey, orientation if isinstance(orientation, int) else 1)
        return Scan(np.ascontiguousarray(turned), provenance, SourceFacts(colour=coloured))

    def stated_images(self, file: TiffFile) -> int:
        """Return how many images the file says lie under this directory, at least 1."""
        try:
            return max(_stated_images(file, self._page, self._layout), 1)
        except _UNEXPECTED:
            # What states nothing that can be understood states nothing.
            return 1

    def held_images(self, directory: Directory) -> int:
        """Return how many images the data are enough for, this one among them."""
        size, start = self._samples.contiguous_bytes, self._samples.offset
        end = directory.offset if directory.offset > start else len(self._data)
        return max((end - start) // size, 1) if size else 1


def _stated_images(file: TiffFile, page: TiffPage, layout: Layout) -> int:
    if planes := page.tags.get(_METAMORPH_PLANES):
        return int(planes.count)
    if file.is_imagej and (said := file.imagej_metadata):
        channels, slices, frames = (
            int(said.get(name, 1)) for name in ("channels", "slices", "frames")
        )
        # Channels may be the samples of a pixel.
        images = slices * frames * (1 if channels == layout.samples else channels)
        return images if images > 1 else int(said.get("images", 1)) // layout.planes
    if file.is_shaped and (shaped := file.shaped_metadata):
        shape = shaped[0].get("shape", ())
        return int(math.prod(shape)) // (layout.length * layout.width * layout.samples)
    return 1


def _opened(data: bytes) -> TiffFile:
    try:
        return TiffFile(io.BytesIO(data), **_PLAIN)
    except Exception as error:
        # tifffile raises what it comes upon, with the file's own text in it.
        raise CorruptScanError(
            "the first directory of the TIFF is damaged; export the slice again"
        ) from error


def _page(file: TiffFile, directory: Directory) -> TiffPage:
    try:
        file.filehandle.seek(directory.offset)
        return TiffPage(file, index=0)
    except Exception as error:
        raise _damaged() from error


def _damaged() -> CorruptScanError:
    return CorruptScanError("the directory of the page is damaged; export the slice again")


def _is_slice(file: TiffFile, directory: Directory) -> bool:
    """Whether a page is an image of its own; one whose directory is damaged may be."""
    try:
        page = _page(file, directory)
    except CorruptScanError:
        return True
    kind = page.subfiletype
    other = isinstance(kind, int) and bool(kind & (_REDUCED | _MASK))
    return not other and page.photometric != _PHOTOMETRIC_MASK
