"""Greyscale that is stored in colour is grey; colour is still rejected."""

import io

import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from neuroscan_edge.errors import CorruptScanError, RejectedScanError
from neuroscan_edge.scans import Limits, Scan, ScanFault
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.spec import Finding
from support.dicom_cases import compressed, encapsulated_frames, lossless_jpeg
from support.expected_pixels import assert_rounded, by_percentile
from support.phantoms import head
from support.scan_cases import decoded, dicom_bytes, dicom_dataset, encoded, noise

HEAD = head(64, 255).astype(np.uint8)
HEAD_12 = head(64, 4000).astype(np.uint16)
COLOUR = np.dstack([HEAD, HEAD // 2, 255 - HEAD])
LOSSY_LEVELS = 12


def read(data):
    return decoded(read_dicom(data, "slice.dcm", Limits()))


def read_one(data):
    (scan,) = read(data)
    assert scan.facts.colour is False
    return scan


def three(grey):
    return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=-1))


def file_of(samples, photometric="RGB", planar=0, syntax=ExplicitVRLittleEndian, **elements):
    """(H, W, 3) uncompressed."""
    dataset = dicom_dataset(samples[..., 0], SamplesPerPixel=3, **elements)
    dataset.PhotometricInterpretation = photometric
    dataset.PlanarConfiguration = planar
    laid = np.moveaxis(samples, -1, 0) if planar else samples
    if syntax == ExplicitVRBigEndian and samples.itemsize == 2:
        laid = laid.byteswap()
    dataset.PixelData = np.ascontiguousarray(laid).tobytes()
    return dicom_bytes(dataset, syntax)


def in_ybr(grey):
    return np.dstack([grey, np.full_like(grey, 128), np.full_like(grey, 128)])


def in_ybr_422(samples):
    pairs = samples.reshape(len(samples), -1, 2, 3)
    return np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1)


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "MONOCHROME2"])
def test_three_equal_channels(syntax, planar, photometric):
    scan = read_one(file_of(three(HEAD), photometric, planar, syntax))
    assert np.array_equal(scan.pixels, HEAD)
    assert scan.findings == ()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("planar", [0, 1])
def test_three_equal_channels_of_more_bits_are_mapped_by_percentiles(syntax, planar):
    data = file_of(three(HEAD_12), planar=planar, syntax=syntax, BitsStored=12, HighBit=11)
    assert_rounded(read_one(data).pixels, by_percentile(HEAD_12))


@pytest.mark.parametrize("stated", [0, 1])
def test_planes_that_lie_otherwise_than_stated_are_found_and_doubted(stated):
    data = file_of(three(HEAD), planar=1 - stated)
    wrong = file_of(three(HEAD), planar=stated)
    at = wrong.index(b"\x28\x00\x06\x00US")
    data = data[: at + 8] + wrong[at + 8 : at + 10] + data[at + 10 :]
    scan = read_one(data)
    assert np.array_equal(scan.pixels, HEAD)
    assert scan.findings == (Finding.CONTRADICTORY_HEADER,)


def test_planar_configuration_missing():
    dataset = dicom_dataset(HEAD, SamplesPerPixel=3, PhotometricInterpretation="RGB")
    dataset.PixelData = three(HEAD).tobytes()
    assert np.array_equal(read_one(dicom_bytes(dataset)).pixels, HEAD)


@pytest.mark.parametrize("planar", [0, 1])
def test_neutral_chroma(planar):
    scan = read_one(file_of(in_ybr(HEAD), "YBR_FULL", planar))
    assert np.array_equal(scan.pixels, HEAD)


def test_neutral_chroma_shared_by_two_pixels():
    dataset = dicom_dataset(HEAD, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    dataset.PlanarConfiguration = 0
    dataset.PixelData = in_ybr_422(in_ybr(HEAD)).tobytes()
    assert np.array_equal(read_one(dicom_bytes(dataset)).pixels, HEAD)


def test_colours_within_rounding_are_grey():
    nearly = three(HEAD).astype(int) + noise((64, 64, 3), np.int8, high=3)
    scan = read_one(file_of(np.clip(nearly, 0, 255).astype(np.uint8)))
    assert np.abs(scan.pixels.astype(int) - HEAD).max() <= 2


def rgb_dataset(samples):
    dataset = dicom_dataset(samples[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB")
    dataset.PlanarConfiguration = 0
    dataset.PixelData = samples.tobytes()
    return dataset


def jpeg(samples, **options):
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def jpeg_file(frame, photometric="YBR_FULL_422"):
    dataset = rgb_dataset(three(HEAD))
    dataset.PhotometricInterpretation = photometric
    return encapsulated_frames(dataset, [frame], JPEGBaseline8Bit)


def without_jfif(frame):
    """The stream says no more what its channels are; the header has to."""
    length = int.from_bytes(frame[4:6], "big")
    assert frame[2:4] == b"\xff\xe0"
    return frame[:2] + frame[4 + length :]


def jpeg_2000_file(samples, photometric):
    dataset = rgb_dataset(samples)
    dataset.PhotometricInterpretation = photometric
    frame = encode_array(samples, photometric_interpretation=1, use_mct=photometric == "YBR_RCT")
    return encapsulated_frames(dataset, [bytes(frame)], JPEG2000Lossless)


LOSSLESS = {
    "run length": lambda samples: compressed(rgb_dataset(samples), RLELossless),
    "JPEG-LS": lambda samples: compressed(rgb_dataset(samples), JPEGLSLossless),
    "JPEG 2000, transformed": lambda samples: jpeg_2000_file(samples, "YBR_RCT"),
    "JPEG 2000, as it is": lambda samples: jpeg_2000_file(samples, "RGB"),
}


@pytest.mark.parametrize("write", LOSSLESS.values(), ids=LOSSLESS)
def test_compressed_without_loss(write):
    scan = read_one(write(three(HEAD)))
    assert np.array_equal(scan.pixels, HEAD)
    with pytest.raises(RejectedScanError):
        read(write(COLOUR))


def test_run_length_of_16_bits():
    data = compressed(rgb_dataset(three(HEAD_12)), RLELossless)
    assert_rounded(read_one(data).pixels, by_percentile(HEAD_12))


LOSSY = {
    "luminance and chroma": lambda samples: jpeg_file(jpeg(samples)),
    "no mark, by the header": lambda samples: jpeg_file(without_jfif(jpeg(samples))),
    "marked against the header": lambda samples: jpeg_file(jpeg(samples), "RGB"),
    "red, green and blue": lambda samples: jpeg_file(jpeg(samples, keep_rgb=True), "RGB"),
    "chroma of every fourth pixel": lambda samples: jpeg_file(jpeg(samples, subsampling=2)),
}


@pytest.mark.parametrize("write", LOSSY.values(), ids=LOSSY)
def test_compressed_with_loss(write):
    scan = read_one(write(three(HEAD)))
    assert np.abs(scan.pixels.astype(int) - HEAD).max() <= LOSSY_LEVELS
    with pytest.raises(RejectedScanError):
        read(write(COLOUR))


def test_channels_that_the_header_alone_says_are_red_green_and_blue():
    """Coded without a transformation and without a mark: taken for chroma, grey would be green."""
    as_ybr = Image.merge("YCbCr", [Image.fromarray(HEAD)] * 3)
    buffer = io.BytesIO()
    as_ybr.save(buffer, "JPEG", quality=95, subsampling=0)
    frame = without_jfif(buffer.getvalue())
    scan = read_one(jpeg_file(frame, "RGB"))
    assert np.abs(scan.pixels.astype(int) - HEAD).max() <= LOSSY_LEVELS
    with pytest.raises(RejectedScanError):
        read(jpeg_file(frame, "YBR_FULL"))


def palette(stored, red, green, blue, bits=16, first=0, syntax=ExplicitVRLittleEndian):
    dataset = dicom_dataset(stored, PhotometricInterpretation="PALETTE COLOR")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    for name, table in (("Red", red), ("Green", green), ("Blue", blue)):
        keyword = f"{name}PaletteColorLookupTable"
        dataset.add_new(f"{keyword}Descriptor", "US", [len(table) % 65536, first, bits])
        raw = table.tobytes() if table.itemsize == 1 else table.astype(f"{order}u2").tobytes()
        dataset.add_new(f"{keyword}Data", "OW", raw)
    return dicom_bytes(dataset, syntax)


RAMP_8 = np.arange(256, dtype=np.uint8)[::-1]
RAMP_16 = (np.arange(256) ** 2).astype(np.uint16)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_grey_palette_of_8_bits(syntax):
    data = palette(HEAD, RAMP_8, RAMP_8, RAMP_8, bits=8, syntax=syntax)
    assert np.array_equal(read_one(data).pixels, 255 - HEAD)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_grey_palette_of_16_bits(syntax):
    data = palette(HEAD, RAMP_16, RAMP_16, RAMP_16, syntax=syntax)
    assert_rounded(read_one(data).pixels, by_percentile(RAMP_16[HEAD]))


def test_palette_of_8_bits_in_words():
    words = RAMP_8.astype(np.uint16)
    assert np.array_equal(read_one(palette(HEAD, words, words, words)).pixels, 255 - HEAD)


def test_palette_that_is_coloured_is_rejected():
    with pytest.raises(RejectedScanError) as caught:
        read(palette(HEAD, RAMP_8, RAMP_8[::-1].copy(), RAMP_8, bits=8))
    assert caught.value.finding == Finding.COLOUR


def test_palette_whose_colours_no_pixel_has_is_grey():
    coloured = RAMP_8.copy()
    unused = np.setdiff1d(np.arange(256), np.unique(HEAD))
    assert unused.size
    coloured[unused] = 255 - coloured[unused]
    data = palette(HEAD, RAMP_8, coloured, RAMP_8, bits=8)
    assert np.array_equal(read_one(data).pixels, 255 - HEAD)


def test_palette_shorter_than_it_says_is_named():
    with pytest.raises(CorruptScanError, match="100 of 256"):
        data = palette(HEAD, RAMP_16, RAMP_16, RAMP_16)
        at = data.index(b"\x28\x00\x01\x12OW")
        cut = data[: at + 8] + (200).to_bytes(4, "little") + data[at + 12 : at + 212]
        read(cut + data[at + 12 + 512 :])


COLOURED = {
    "RGB": lambda: file_of(COLOUR),
    "RGB by plane": lambda: file_of(COLOUR, planar=1),
    "RGB of 16 bits": lambda: file_of(COLOUR.astype(np.uint16) * 257),
    "RGB of 12 bits": lambda: file_of(COLOUR.astype(np.uint16) * 16, BitsStored=12, HighBit=11),
    "chroma": lambda: file_of(COLOUR, "YBR_FULL"),
    "one part in 50": lambda: file_of(
        np.where(np.arange(64)[:, None, None] < 2, COLOUR, three(HEAD))
    ),
    "lossless JPEG": lambda: encapsulated_frames(
        rgb_dataset(COLOUR), [lossless_jpeg(HEAD, 8)], JPEGLosslessSV1
    ),
    "four channels": lambda: dicom_bytes(
        dicom_dataset(HEAD, SamplesPerPixel=4, PhotometricInterpretation="CMYK")
    ),
}


@pytest.mark.parametrize("write", COLOURED.values(), ids=COLOURED)
def test_colour_is_rejected(write):
    with pytest.raises(RejectedScanError, match="in colour") as caught:
        read(write())
    assert caught.value.finding == Finding.COLOUR


def film(*frames):
    dataset = rgb_dataset(np.stack(frames)[0])
    dataset.NumberOfFrames = str(len(frames))
    dataset.PixelData = np.stack(frames).tobytes()
    return dicom_bytes(dataset)


def test_a_film_in_colour_is_rejected_once():
    with pytest.raises(RejectedScanError, match="5 frames"):
        read(film(*[COLOUR] * 5))


def test_of_a_mixed_film_each_frame_is_judged():
    data = film(COLOUR, three(HEAD), COLOUR, three(HEAD))
    scans = list(read_dicom(data, "slice.dcm", Limits()))
    assert [type(scan) for scan in scans] == [ScanFault, Scan, ScanFault, Scan]
    assert all(isinstance(scans[index].error, RejectedScanError) for index in (0, 2))
    assert np.array_equal(scans[1].pixels, HEAD)


def test_data_that_ends_before_the_last_channel_is_corrupt():
    dataset = rgb_dataset(three(HEAD))
    dataset.PixelData = dataset.PixelData[: HEAD.size]
    with pytest.raises(CorruptScanError, match="ends after 0 of 1"):
        read(dicom_bytes(dataset))


def test_grey_stream_under_a_colour_header_is_corrupt():
    with pytest.raises(CorruptScanError, match="1 components"):
        read(jpeg_file(encoded(HEAD, "JPEG")))
