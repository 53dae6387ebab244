"""Every test file in pydicom's wheel, each with what becomes of it."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import read_scans
from neuroscan_edge.spec import Finding
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.scan_cases import decoded

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
EXPLICIT_TWIN = "MR_small.dcm"

# File: frames, height, width.
READ = {
    "693_J2KI.dcm": (1, 512, 512),
    "CT_small.dcm": (1, 128, 128),
    "J2K_pixelrep_mismatch.dcm": (1, 512, 512),
    "JPEG2000.dcm": (1, 1024, 256),
    "JPEGLSNearLossless_08.dcm": (1, 45, 10),
    "JPEGLSNearLossless_16.dcm": (1, 50, 10),
    "MR_small.dcm": (1, 64, 64),
    "MR_small_RLE.dcm": (1, 64, 64),
    "MR_small_bigendian.dcm": (1, 64, 64),
    "MR_small_expb.dcm": (1, 64, 64),
    "MR_small_implicit.dcm": (1, 64, 64),
    "MR_small_jp2klossless.dcm": (1, 64, 64),
    "MR_small_jpeg_ls_lossless.dcm": (1, 64, 64),
    "MR_small_padded.dcm": (1, 64, 64),
    "examples_overlay.dcm": (1, 300, 484),
    "image_dfl.dcm": (1, 512, 512),
    "rtdose.dcm": (15, 10, 10),
    "rtdose_1frame.dcm": (1, 10, 10),
    "rtdose_expb.dcm": (15, 10, 10),
    "rtdose_expb_1frame.dcm": (1, 10, 10),
    "rtdose_rle.dcm": (15, 10, 10),
    "rtdose_rle_1frame.dcm": (1, 10, 10),
}
REJECTED = {
    "ExplVR_BigEnd.dcm": Finding.COLOUR,
    "GDCMJ2K_TextGBR.dcm": Finding.COLOUR,
    "examples_jpeg2k.dcm": Finding.COLOUR,
    "examples_palette.dcm": Finding.COLOUR,
    "examples_rgb_color.dcm": Finding.COLOUR,
    "examples_ybr_color.dcm": Finding.COLOUR,
    "liver_1frame.dcm": Finding.COMPUTED,
    "liver_expb_1frame.dcm": Finding.COMPUTED,
    "ExplVR_BigEndNoMeta.dcm": Finding.NOT_AN_IMAGE,
    "ExplVR_LitEndNoMeta.dcm": Finding.NOT_AN_IMAGE,
    "reportsi.dcm": Finding.NOT_AN_IMAGE,
    "reportsi_with_empty_number_tags.dcm": Finding.NOT_AN_IMAGE,
    "rtplan.dcm": Finding.NOT_AN_IMAGE,
    "rtplan_truncated.dcm": Finding.NOT_AN_IMAGE,
    "rtstruct.dcm": Finding.NOT_AN_IMAGE,
    "test-SR.dcm": Finding.NOT_AN_IMAGE,
    "waveform_ecg.dcm": Finding.NOT_AN_IMAGE,
}
REFUSED = {
    # Lossy JPEG of 12 bits.
    "JPEG-lossy.dcm": UnsupportedScanError,
    "JPGExtended.dcm": UnsupportedScanError,
    # Its codestream's header is overwritten.
    "JPEG2000-embedded-sequence-delimiter.dcm": CorruptScanError,
    "MR_truncated.dcm": CorruptScanError,
    # Fragments of headers, none with an image.
    "UN_sequence.dcm": CorruptScanError,
    "badVR.dcm": CorruptScanError,
    "empty_charset_LEI.dcm": CorruptScanError,
    "meta_missing_tsyntax.dcm": CorruptScanError,
    "nested_priv_SQ.dcm": CorruptScanError,
    "no_meta.dcm": CorruptScanError,
    "no_meta_group_length.dcm": CorruptScanError,
    "priv_SQ.dcm": CorruptScanError,
    "zipMR.gz": UnsupportedScanError,
}
NAMING = ("PatientName", "PatientID", "PatientBirthDate")
# Text whose channels differ by the rounding of a JPEG.
GREY_CAPTURES = (
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
)
# All others are in colour.
SECONDARY_CAPTURES = sorted(
    path.name for path in FOLDER.glob("SC_*.dcm") if path.name not in GREY_CAPTURES
)


def test_every_file_has_an_expectation():
    files = {path.name for path in FOLDER.iterdir() if path.suffix in {".dcm", ".gz"}}
    assert files == {*READ, *REJECTED, *REFUSED, *SECONDARY_CAPTURES, *GREY_CAPTURES}


@pytest.mark.parametrize(("name", "shape"), READ.items(), ids=READ.keys())
def test_read(name, shape):
    frames, *size = shape
    scans = decoded(read_scans(FOLDER / name))
    assert [scan.provenance.frame for scan in scans] == list(range(frames))
    for scan in scans:
        assert list(scan.pixels.shape) == size
        assert scan.pixels.dtype == np.uint8
        assert np.ptp(scan.pixels) > 0


@pytest.mark.parametrize("name", READ.keys())
def test_grey_levels_are_those_of_the_decoded_values(name):
    """Against pydicom's own decoding of the whole file, and the standard's formulas."""
    dataset = pydicom.dcmread(FOLDER / name)
    stored = pydicom.pixels.pixel_array(dataset)
    padding = dataset.get("PixelPaddingValue")
    # None of these files has a range of padding values.
    mask = np.zeros(stored.shape, bool) if padding is None else stored == padding
    values = stored * float(dataset.get("RescaleSlope", 1)) + float(
        dataset.get("RescaleIntercept", 0)
    )
    frames = values[None] if values.ndim == 2 else values
    masks = mask[None] if mask.ndim == 2 else mask
    scans = read_scans(FOLDER / name)
    for scan, frame, padded in zip(scans, frames, masks, strict=True):
        if "WindowCenter" in dataset:
            centre, width = (
                float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
                for value in (dataset.WindowCenter, dataset.WindowWidth)
            )
            exact = windowed(frame, centre, width)
        else:
            exact = by_percentile(frame, padded)
        exact[padded] = 0
        assert_rounded(scan.pixels, exact)


TWINS = [name for name in READ if name.startswith("MR_small_") and name != "MR_small_padded.dcm"]


@pytest.mark.parametrize("name", TWINS)
def test_same_slice_in_every_syntax(name):
    (plain,), (other,) = read_scans(FOLDER / EXPLICIT_TWIN), read_scans(FOLDER / name)
    assert np.array_equal(plain.pixels, other.pixels)
    assert other.facts.modality == "MR"


@pytest.mark.parametrize(("name", "finding"), REJECTED.items(), ids=REJECTED.keys())
def test_rejected(name, finding):
    with pytest.raises(RejectedScanError) as caught:
        decoded(read_scans(FOLDER / name))
    assert caught.value.finding == finding


@pytest.mark.parametrize("name", SECONDARY_CAPTURES)
def test_colour_captures_are_rejected(name):
    with pytest.raises(RejectedScanError) as caught:
        decoded(read_scans(FOLDER / name))
    assert caught.value.finding == Finding.COLOUR


@pytest.mark.parametrize("name", GREY_CAPTURES)
def test_captures_without_colour_are_grey(name):
    (scan,) = read_scans(FOLDER / name)
    channels = pydicom.dcmread(FOLDER / name).pixel_array
    assert np.abs(scan.pixels - channels.mean(axis=-1)).mean() < 1


@pytest.mark.parametrize(("name", "error"), REFUSED.items(), ids=REFUSED.keys())
def test_refused(name, error):
    with pytest.raises(ScanError) as caught:
        decoded(read_scans(FOLDER / name))
    assert type(caught.value) is error


FEWEST_VALUES = 10
"""Of all those headers: with fewer the test would show nothing."""


def test_no_error_quotes_a_header():
    """Names, identifiers and dates of every header, looked for in its error."""
    looked_for = 0
    for name in [*REJECTED, *REFUSED, *SECONDARY_CAPTURES]:
        with pytest.raises(ScanError) as caught:
            decoded(read_scans(FOLDER / name))
        try:
            dataset = pydicom.dcmread(io.BytesIO((FOLDER / name).read_bytes()), force=True)
            values = [
                dataset.get(word) for word in ("PatientName", "PatientID", "PatientBirthDate")
            ]
        except Exception:
            # A header that pydicom itself cannot read names nobody.
            continue
        for value in filter(None, map(str, values)):
            looked_for += 1
            assert len(value) < 4 or value not in str(caught.value)
    assert looked_for > FEWEST_VALUES
