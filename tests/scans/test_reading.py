import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from neuroscan_edge.errors import (
    CorruptScanError,
    NeuroScanError,
    RejectedScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import DicomUids, Limits, Provenance, ScanFault, read_scans
from support.dicom_cases import (
    compressed,
    encapsulated_frames,
    group,
    lossless_jpeg_file,
    multi_frame,
)
from support.scan_cases import (
    address_space,
    as_nobody,
    declared_png,
    decoded,
    dicom_bytes,
    dicom_dataset,
    dicom_file,
    encoded,
    noise,
    png_file,
    public_folder,
    tiff_file,
    within_seconds,
)

GREY = noise((12, 17))
SMALL_BYTES = 4 << 20
HEADROOM_BYTES = 200 << 20
FUZZ_LIMITS = Limits(file_bytes=1 << 20, image_pixels=200_000)
FUZZ_SECONDS = 20


def read(path, **limits):
    return decoded(read_scans(path, Limits(**limits)))


KINDS = {
    ScanError: "unreadable",
    UnsupportedScanError: "unsupported",
    CorruptScanError: "corrupt",
    ScanTooLargeError: "too-large",
    RejectedScanError: "rejected",
}


@pytest.mark.parametrize(("error", "kind"), KINDS.items(), ids=KINDS.values())
def test_kinds_are_stable(error, kind):
    assert error.kind == kind
    assert issubclass(error, ScanError)
    assert issubclass(error, NeuroScanError)


NAMED = {
    "PNG": ("a.png", encoded(GREY, "PNG")),
    "JPEG": ("a.jpg", encoded(GREY, "JPEG")),
    "TIFF": ("a.tiff", encoded(GREY, "TIFF")),
    "BMP": ("a.bmp", encoded(GREY, "BMP")),
    "WebP": ("a.webp", encoded(GREY, "WEBP")),
    "DICOM": ("a.dcm", dicom_file(GREY)),
    "DICOM without suffix": ("IM0001", dicom_file(GREY)),
    "PNG without suffix": ("slice", encoded(GREY, "PNG")),
    "PNG named as JPEG": ("a.jpg", encoded(GREY, "PNG")),
    "DICOM named as PNG": ("a.png", dicom_file(GREY)),
    "PNG named as DICOM": ("a.dcm", encoded(GREY, "PNG")),
    "JPEG named as text": ("a.txt", encoded(GREY, "JPEG")),
}


@pytest.mark.parametrize(("name", "data"), NAMED.values(), ids=NAMED.keys())
def test_format_is_taken_from_the_content(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    (scan,) = read(path)
    assert scan.pixels.shape == GREY.shape
    assert scan.pixels.dtype == np.uint8
    assert scan.provenance.path == str(path)
    assert scan.provenance.frame == 0


def test_raster_has_no_uids(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(GREY, "PNG"))
    (scan,) = read(path)
    assert scan.provenance == Provenance(str(path), 0, DicomUids(None, None, None))


def test_path_stays_as_the_user_wrote_it(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(GREY, "PNG"))
    monkeypatch.chdir(tmp_path)
    (scan,) = read(Path("a.png"))
    assert scan.provenance.path == "a.png"


def test_pages_come_in_order(tmp_path):
    path = tmp_path / "stack.tif"
    path.write_bytes(tiff_file([np.full((5, 6), level, np.uint8) for level in (10, 20, 30)]))
    assert [(scan.provenance.frame, scan.pixels[0, 0]) for scan in read(path)] == [
        (0, 10),
        (1, 20),
        (2, 30),
    ]


BAD_CONTENT = {
    "empty PNG": ("a.png", b"", CorruptScanError),
    "empty DICOM": ("a.dcm", b"", CorruptScanError),
    "empty, no suffix": ("a", b"", CorruptScanError),
    "text named as PNG": ("a.png", b"three slices, see the other folder\n" * 9, CorruptScanError),
    "text named as DICOM": ("a.dcm", b"three slices, see the other folder\n" * 9, CorruptScanError),
    "truncated PNG": ("a.png", encoded(GREY, "PNG")[:-60], CorruptScanError),
    "truncated JPEG": ("a.jpg", encoded(GREY, "JPEG")[:-60], CorruptScanError),
    "GIF": ("a.gif", encoded(GREY, "GIF"), UnsupportedScanError),
    "GIF named as PNG": ("a.png", encoded(GREY, "GIF"), UnsupportedScanError),
    "huge PNG": ("a.png", declared_png(30000, 30000), ScanTooLargeError),
    "huge DICOM": ("a.dcm", dicom_file(GREY, Rows=65535, Columns=65535), ScanTooLargeError),
    "DICOM colour": (
        "a.dcm",
        dicom_file(noise((4, 4, 3)), SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        RejectedScanError,
    ),
}


@pytest.mark.parametrize(("name", "data", "error"), BAD_CONTENT.values(), ids=BAD_CONTENT.keys())
def test_bad_content(tmp_path, name, data, error):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ScanError) as caught:
        read(path)
    assert type(caught.value) is error
    assert caught.value.kind == KINDS[error]


def test_empty_file_says_so(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(CorruptScanError, match="0 bytes"):
        read(tmp_path / "a.png")


def test_missing_file(tmp_path):
    with pytest.raises(ScanError, match="No such file") as caught:
        read(tmp_path / "absent.png")
    assert type(caught.value) is ScanError


def test_folder(tmp_path):
    with pytest.raises(ScanError, match="folder") as caught:
        read(tmp_path)
    assert type(caught.value) is ScanError


@pytest.mark.parametrize("name", ["pipe", "pipe.png", "pipe.dcm"])
def test_pipe_does_not_block(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with within_seconds(10), pytest.raises(ScanError, match="not a regular file") as caught:
        read(tmp_path / name)
    assert type(caught.value) is ScanError


def test_link_to_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.png").symlink_to("pipe")
    with within_seconds(10), pytest.raises(ScanError, match="not a regular file"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_device_is_not_read(device):
    with (
        within_seconds(10),
        address_space(HEADROOM_BYTES),
        pytest.raises(ScanError, match="not a regular file"),
    ):
        read(Path(device))


def test_unreadable_file():
    with public_folder() as folder:
        for name in ("locked.png", "open.png"):
            (folder / name).write_bytes(encoded(GREY, "PNG"))
        (folder / "locked.png").chmod(0)
        (folder / "open.png").chmod(0o644)
        with as_nobody():
            assert np.array_equal(read(folder / "open.png")[0].pixels, GREY)
            with pytest.raises(ScanError, match="Permission denied") as caught:
                read(folder / "locked.png")
    assert type(caught.value) is ScanError
    assert caught.value.kind == "unreadable"


def test_file_in_a_locked_folder():
    with public_folder() as folder:
        (folder / "locked").mkdir()
        (folder / "locked" / "a.png").write_bytes(encoded(GREY, "PNG"))
        (folder / "locked").chmod(0)
        with as_nobody(), pytest.raises(ScanError, match="Permission denied"):
            read(folder / "locked" / "a.png")


def test_file_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, (1 << 30) + 1)
    tracemalloc.start()
    try:
        with pytest.raises(ScanTooLargeError, match=str((1 << 30) + 1)):
            read(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < SMALL_BYTES


def test_file_limit_is_inclusive(tmp_path):
    data = encoded(GREY, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert len(read(path, file_bytes=len(data))) == 1
    with pytest.raises(ScanTooLargeError):
        read(path, file_bytes=len(data) - 1)


SEEDS = {
    "png": ("a.png", encoded(GREY, "PNG")),
    "png 16 bit": ("a.png", encoded(noise((12, 17), np.uint16), "PNG")),
    "png 16 bit colour": ("a.png", png_file(noise((12, 17, 3), np.uint16), "rgb")),
    "png palette": ("a.png", encoded(noise((12, 17), high=16), "PNG", transparency=3)),
    "jpeg": ("a.jpg", encoded(noise((12, 17, 3)), "JPEG")),
    "jpeg progressive": ("a.jpg", encoded(GREY, "JPEG", progressive=True)),
    "tiff": ("a.tif", encoded(GREY, "TIFF")),
    "tiff lzw": ("a.tif", encoded(GREY, "TIFF", compression="tiff_lzw")),
    "tiff 16 bit pages": ("a.tif", tiff_file([noise((12, 17), np.uint16)] * 2, [6, 1])),
    "tiff 16 bit colour": ("a.tif", tiff_file([noise((12, 17, 3), np.uint16)])),
    "tiff float": ("a.tif", tiff_file([GREY.astype(np.float32)], order=">")),
    "bmp": ("a.bmp", encoded(noise((12, 17, 3)), "BMP")),
    "webp": ("a.webp", encoded(noise((12, 17, 4)), "WEBP", lossless=True)),
    "dicom": (
        "a.dcm",
        dicom_file(
            noise((12, 17), np.uint16),
            RescaleSlope="1.5",
            RescaleIntercept="-20",
            WindowCenter=["600", "40"],
            WindowWidth=["900", "80"],
        ),
    ),
    "dicom implicit": ("a.dcm", dicom_bytes(dicom_dataset(GREY), ImplicitVRLittleEndian)),
    "dicom deflated": ("a.dcm", dicom_bytes(dicom_dataset(GREY), DeflatedExplicitVRLittleEndian)),
    "dicom run length": (
        "a.dcm",
        compressed(dicom_dataset(noise((12, 17), np.uint16)), RLELossless),
    ),
    "dicom lossless JPEG": ("a.dcm", lossless_jpeg_file(noise((12, 17), np.uint16))),
    "dicom JPEG": (
        "a.dcm",
        encapsulated_frames(dicom_dataset(GREY), [encoded(GREY, "JPEG")], JPEGBaseline8Bit),
    ),
    "dicom enhanced": (
        "a.dcm",
        dicom_bytes(
            multi_frame(
                noise((3, 12, 17), np.uint16),
                [
                    group(
                        PixelValueTransformationSequence={
                            "RescaleSlope": "1.5",
                            "RescaleIntercept": "-20",
                        },
                        FrameVOILUTSequence={"WindowCenter": "600", "WindowWidth": "900"},
                        MRImageFrameTypeSequence={"FrameType": ["ORIGINAL", "PRIMARY"]},
                    )
                ]
                * 3,
            )
        ),
    ),
    "dicom without preamble": ("a", dicom_bytes(dicom_dataset(GREY))[132:]),
}

POSITIONS = st.one_of(st.integers(0, 400), st.integers(0, 4000))
PAYLOADS = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x01\0", b"\0\x01", b"\x80"]),
)
MUTATIONS = st.one_of(
    st.tuples(st.just("overwrite"), POSITIONS, PAYLOADS),
    st.tuples(st.just("insert"), POSITIONS, PAYLOADS),
    st.tuples(st.just("delete"), POSITIONS, st.integers(1, 40)),
    st.tuples(st.just("cut"), POSITIONS, st.none()),
    st.tuples(st.just("repeat"), POSITIONS, st.integers(1, 60)),
)


def mutated(data, mutations):
    for kind, position, detail in mutations:
        at = position % max(len(data), 1)
        if kind == "overwrite":
            data = data[:at] + detail + data[at + len(detail) :]
        elif kind == "insert":
            data = data[:at] + detail + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + detail :]
        elif kind == "cut":
            data = data[:at]
        else:
            data = data[: at + detail] + data[at:]
    return data


def assert_scans_or_scan_error(name, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            with within_seconds(FUZZ_SECONDS):
                scans = read_scans(path, FUZZ_LIMITS)
                for frame, scan in enumerate(scans):
                    assert scan.provenance.frame == frame
                    if isinstance(scan, ScanFault):
                        assert scan.error.kind in KINDS.values()
                        continue
                    assert scan.pixels.dtype == np.uint8
                    assert scan.pixels.ndim == 2
                    assert 1 <= scan.pixels.size <= FUZZ_LIMITS.image_pixels
        except ScanError as error:
            assert error.kind in KINDS.values()
            assert str(error)


@pytest.mark.parametrize(("name", "data"), SEEDS.values(), ids=SEEDS.keys())
def test_seeds_of_the_fuzz_are_valid(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert read(path)[0].pixels.size == GREY.size


@pytest.mark.parametrize(("name", "data"), SEEDS.values(), ids=SEEDS.keys())
def test_every_cut_ends_in_scans_or_a_scan_error(name, data):
    for length in range(0, len(data), max(len(data) // 40, 1)):
        assert_scans_or_scan_error(name, data[:length])


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.sampled_from(sorted(SEEDS)), mutations=st.lists(MUTATIONS, min_size=1, max_size=4))
@example(seed="dicom", mutations=[])
def test_damaged_file_ends_in_scans_or_a_scan_error(seed, mutations):
    name, data = SEEDS[seed]
    assert_scans_or_scan_error(name, mutated(data, mutations))
