"""Files that Hypothesis builds field by field, and mutated ones, decoded and judged right here.

The same seeds are drawn on every run; `python -m corpus.fuzz` goes on from here.
"""

import contextlib
import random
import struct
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroscan_edge.errors import ScanError
from neuroscan_edge.scans import Limits, Scan
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.scans.quality import examine
from neuroscan_edge.scans.raster.reader import read_raster
from support.corpus.case import HEAD
from support.corpus.hostile_dicom import (
    BASE,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    RLE,
    dicom,
    text,
    words,
)
from support.corpus.hostile_raster import WHOLE, png, riff
from support.corpus.hostile_tiff import tiff
from support.corpus.mutations import mutated, with_checksums
from support.scan_cases import PATIENT_WORDS, PNG_SIGNATURE, noise, png_chunk, within_seconds

LIMITS = Limits(file_bytes=1 << 22, image_pixels=1 << 18, frames=8)
SECONDS = 20

bounded = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

NUMBERS = st.one_of(
    st.integers(0, 64), st.sampled_from([255, 256, 4095, 65_535]), st.integers(0, 65_535)
)
LARGE = st.one_of(NUMBERS, st.integers(0, 2**32 - 1), st.sampled_from([2**31, 2**32 - 1]))
DECIMALS = st.one_of(
    st.floats(width=32).map(str),
    st.integers(-5000, 70_000).map(str),
    st.sampled_from(["", "nan", "inf", "1e999", "-0", "1\\2", "\\", "Oyelaran", "1" * 40]),
)
WORDS = st.one_of(
    st.sampled_from(["MR", "MONOCHROME1", "RGB", "YES", "SIGMOID", "Oyelaran"]),
    st.text(max_size=20),
)


def decode(data: bytes, read) -> None:
    """Every slice is sound and judged, or a deliberate error that quotes nobody."""
    with within_seconds(SECONDS):
        try:
            for scan in read(data, "scan", LIMITS):
                if not isinstance(scan, Scan):
                    said = str(scan.error)
                else:
                    assert scan.pixels.dtype == np.uint8
                    assert scan.pixels.ndim == 2
                    assert 1 <= scan.pixels.size <= LIMITS.image_pixels
                    said = " ".join(examine(scan))
                assert not any(word in said for word in PATIENT_WORDS)
        except ScanError as error:
            assert not any(word in str(error) for word in PATIENT_WORDS)


@bounded
@given(
    numbers=st.dictionaries(
        st.sampled_from([tag for tag, (vr, _) in BASE.items() if vr == "US"]), NUMBERS, max_size=5
    ),
    decimals=st.dictionaries(
        st.sampled_from([0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00280008]),
        DECIMALS,
        max_size=4,
    ),
    texts=st.dictionaries(
        st.sampled_from([0x00080008, 0x00080060, 0x00180015, 0x00280004, 0x00280301, 0x00281056]),
        WORDS,
        max_size=4,
    ),
    absent=st.sets(st.sampled_from(sorted(BASE)), max_size=2),
    syntax=st.sampled_from([EXPLICIT, EXPLICIT, EXPLICIT, IMPLICIT, DEFLATED, JPEG, RLE]),
)
def test_any_header(numbers, decimals, texts, absent, syntax):
    changes = {tag: words(value) for tag, value in numbers.items()}
    changes |= {tag: text("DS", value) for tag, value in decimals.items()}
    changes |= {tag: text("CS", value) for tag, value in texts.items()}
    changes |= dict.fromkeys(absent)
    decode(dicom(changes, syntax), read_dicom)


@bounded
@given(
    fields=st.tuples(LARGE, LARGE, st.integers(0, 20), st.integers(0, 8), *[st.integers(0, 2)] * 3),
    chunks=st.lists(
        st.tuples(
            st.sampled_from(
                [b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"IDAT"]
            ),
            st.binary(max_size=60),
        ),
        max_size=3,
    ),
)
def test_any_png(fields, chunks):
    header = PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))
    decode(png(*chunks, header=header), read_raster)
    decode(png(*chunks), read_raster)


@bounded
@given(
    tags=st.dictionaries(
        st.sampled_from([*range(254, 285), 317, 320, 322, 323, 324, 325, 338, 339, 34675]),
        st.tuples(st.just("I"), st.lists(LARGE, max_size=6)),
        max_size=5,
    ),
    following=st.one_of(st.integers(0, 3000), LARGE),
)
def test_any_tiff(tags, following):
    decode(tiff(tags, following=following), read_raster)


@bounded
@given(
    chunks=st.lists(
        st.tuples(
            st.sampled_from([b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF"]),
            st.binary(max_size=60),
        ),
        max_size=4,
    ),
)
def test_any_webp(chunks):
    decode(riff(*chunks), read_raster)


@bounded
@given(seed=st.integers(0, 2**32 - 1))
def test_mutations_of_whole_files(seed):
    draw = random.Random(seed)
    rasters = [data for _, data in WHOLE.values()]
    decode(mutated(draw.choice(rasters), draw.choice(rasters), draw), read_raster)
    decode(mutated(dicom(), draw.choice(rasters), draw), read_dicom)


def test_checksums_are_righted():
    good = png((b"tEXt", b"a\0b"))
    spoilt = bytearray(good)
    spoilt[45] ^= 1
    assert bytes(spoilt) != good
    righted = with_checksums(bytes(spoilt))
    assert len(righted) == len(good)
    (scan,) = read_raster(righted, "scan", LIMITS)
    assert np.array_equal(scan.pixels, HEAD)
    with contextlib.suppress(struct.error):
        with_checksums(PNG_SIGNATURE + noise(50).tobytes())


def test_mutations_are_those_of_their_seed(tmp_path: Path):
    data = dicom()
    assert mutated(data, data, random.Random(5)) == mutated(data, data, random.Random(5))
    changed = [mutated(data, data, random.Random(seed)) for seed in range(50)]
    assert len(set(changed)) > 45
