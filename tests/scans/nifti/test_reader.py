"""NIfTI volumes: slices the right way up, limits before memory, words for what is not read."""

import gzip
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import Limits, Scan, ScanFault, find_scans, read_scans
from neuroscan_edge.scans.nifti.reader import read_nifti
from neuroscan_edge.scans.nifti.signature import has_signature, is_nifti
from neuroscan_edge.spec import Finding, MrSequence, Plane
from support.expected_pixels import assert_rounded, by_percentile
from support.places import ROOT
from support.scan_cases import PATIENT_WORDS, noise

# Of different sizes, so that a turned slice shows.
SHAPE = (12, 14, 9)
VALUES = noise(SHAPE, np.int16, high=3000)
RAS = np.diag([1.0, 1.0, 1.0, 1.0])


def volume(values=VALUES, affine=RAS, *, kind=nibabel.Nifti1Image, code=1, **header):
    image = kind(values, affine)
    image.set_sform(affine, code)
    image.set_qform(affine if code else None, code)
    for name, value in header.items():
        if name == "slice_axis":
            image.header.set_dim_info(slice=value)
        else:
            image.header[name] = value
    return image.to_bytes()


def patched(data, at, form, *values):
    return data[:at] + struct.pack(form, *values) + data[at + struct.calcsize(form) :]


def read(data, path="volume.nii", **limits):
    return list(read_nifti(data, path, Limits(**limits)))


def to_ras(values):
    """Axial slices as they are shown: the face up, the patient's left at the right."""
    return [values[::-1, ::-1, index].T for index in range(values.shape[2])]


FORMS = {
    "NIfTI-1": volume,
    "NIfTI-2": lambda **options: volume(kind=nibabel.Nifti2Image, **options),
    "compressed": lambda **options: gzip.compress(volume(**options)),
    "compressed in two members": lambda **options: (
        gzip.compress(volume(**options)[:500]) + gzip.compress(volume(**options)[500:])
    ),
    "big endian": lambda **options: nibabel.Nifti1Image(
        options.get("values", VALUES), RAS, nibabel.Nifti1Header(endianness=">")
    ).to_bytes(),
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
def test_slices_in_stored_order_and_upright(write):
    scans = read(write())
    assert [scan.provenance.frame for scan in scans] == list(range(9))
    for scan, expected in zip(scans, to_ras(VALUES), strict=True):
        assert_rounded(scan.pixels, by_percentile(expected))
        assert scan.pixels.flags.c_contiguous
        assert scan.provenance.path == "volume.nii"


DIRECTIONS = [
    (perm, signs)
    for perm in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for signs in [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)]
]


@pytest.mark.parametrize(("perm", "signs"), DIRECTIONS, ids=str)
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_every_way_to_store_a_volume(perm, signs, slice_axis):
    """The patient is the same however the axes run: compared in the patient's own directions."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (patient, sign) in enumerate(zip(perm, signs, strict=True)):
        affine[patient, axis] = sign
    scans = read(volume(affine=affine, slice_axis=slice_axis))
    assert len(scans) == SHAPE[slice_axis]
    # The same volume with its axes to the right, to the front and to the head.
    canonical = np.asarray(
        nibabel.as_closest_canonical(nibabel.Nifti1Image(VALUES, affine)).dataobj
    )
    patient = perm[slice_axis]
    plane = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[patient]
    order = range(SHAPE[slice_axis])
    for index, scan in zip(order if signs[slice_axis] > 0 else reversed(order), scans, strict=True):
        cut = np.take(canonical, index, axis=patient)
        # Columns to the left or, of sagittal slices, to the back; rows to the back or to the feet.
        assert_rounded(scan.pixels, by_percentile(cut[::-1, ::-1].T))
        assert scan.facts.series.plane is plane
        assert scan.facts.series.orientation[:2] == {0: "PI", 1: "LI", 2: "LP"}[patient]
        assert scan.findings == ()


def test_orientation_agrees_with_dicom():
    """Directions in DICOM's coordinates, whose first two axes point the other way."""
    scan = read(volume())[0]
    assert scan.facts.series.orientation == "LPS"


THICK = {
    "as stated": ({"slice_axis": 0, "pixdim": [1, 1, 1, 5, 0, 0, 0, 0]}, 0),
    "the thickest": ({"pixdim": [1, 1, 5, 1, 0, 0, 0, 0]}, 1),
    "nearly the same": ({"pixdim": [1, 1.1, 1, 1, 0, 0, 0, 0]}, 2),
    "impossible spacing": ({"pixdim": [1, 0, np.nan, 7, 0, 0, 0, 0]}, 2),
}


@pytest.mark.parametrize(("header", "axis"), THICK.values(), ids=THICK)
def test_acquisition_axis(header, axis):
    assert len(read(volume(**header))) == SHAPE[axis]


def test_a_single_slice_is_one():
    for shape in ((12, 14, 1), (1, 12, 14), (12, 1, 14)):
        assert len(read(volume(noise(shape, np.int16, high=3000)))) == 1


def test_two_dimensions_are_one_slice():
    data = volume(noise((12, 14), np.int16, high=3000))
    assert len(read(patched(data, 40, "<h", 2))) == 1


def test_tilted_by_less_than_half():
    affine = np.eye(4)
    angle = np.radians(25)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scan = read(volume(affine=affine))[0]
    assert scan.facts.series.plane is Plane.AXIAL
    assert_rounded(scan.pixels, by_percentile(to_ras(VALUES)[0]))


def test_unknown_orientation_is_said():
    for scan in read(volume(code=0)):
        assert scan.findings == (Finding.UNKNOWN_ORIENTATION,)
        assert (scan.facts.series.plane, scan.facts.series.orientation) == (None, None)


def test_axes_of_no_length_are_no_orientation():
    data = volume()
    # The rows of the sform.
    data = patched(data, 280, "<12f", *[0.0] * 12)
    assert read(data)[0].findings == (Finding.UNKNOWN_ORIENTATION,)


TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"]


@pytest.mark.parametrize("dtype", TYPES)
def test_data_types(dtype):
    values = noise(SHAPE, np.int8, high=120).astype(dtype)
    scans = read(volume(values))
    for scan, expected in zip(scans, to_ras(values), strict=True):
        assert_rounded(scan.pixels, by_percentile(expected))


def test_scaling_is_applied():
    data = volume(scl_slope=-0.5, scl_inter=7)
    assert struct.unpack_from("<2f", data, 112) != (0, 0)
    for scan, expected in zip(read(data), to_ras(VALUES * -0.5 + 7), strict=True):
        assert_rounded(scan.pixels, by_percentile(expected))


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_is_none_changes_nothing(slope):
    data = patched(volume(), 112, "<2f", slope, 5.0)
    assert_rounded(read(data)[0].pixels, by_percentile(to_ras(VALUES)[0]))


def test_what_is_no_number_is_black_and_not_counted():
    values = VALUES.astype(np.float32)
    values[:3] = np.nan
    for scan, cut in zip(read(volume(values)), to_ras(values), strict=True):
        absent = np.isnan(cut)
        exact = by_percentile(np.where(absent, 0, cut), absent)
        exact[absent] = 0
        assert_rounded(scan.pixels, exact)


def test_an_infinite_slice_is_a_fault_of_its_own():
    values = VALUES.astype(np.float32)
    values[4, 4, 3] = np.inf
    scans = read(volume(values))
    assert [isinstance(scan, ScanFault) for scan in scans] == [index == 3 for index in range(9)]
    assert "infinite" in str(scans[3].error)


NAMED = {
    "sub-01_ce-gadolinium_T1w.nii.gz": MrSequence.T1C,
    "BraTS_0001_flair.nii": MrSequence.FLAIR,
    "BraTS-GLI-00001-000-t1n.nii.gz": MrSequence.T1,
    "BraTS-GLI-00001-000-t1c.nii.gz": MrSequence.T1C,
    "t2w.nii": MrSequence.T2,
    "dwi.nii.gz": MrSequence.OTHER,
    "volume.nii": MrSequence.UNKNOWN,
}


@pytest.mark.parametrize(("name", "sequence"), NAMED.items(), ids=NAMED)
def test_the_file_name_tells_the_sequence(name, sequence):
    facts = read(volume(), f"Oyelaran/{name}")[0].facts.series
    assert facts.sequence is sequence
    assert not any(word in repr(facts) for word in PATIENT_WORDS)


def four_dimensional(volumes):
    return volume(noise((12, 14, 9, volumes), np.int16, high=3000))


def test_several_volumes_are_unsupported_and_counted():
    with pytest.raises(UnsupportedScanError, match="4 dimensions, 5 volumes"):
        read(four_dimensional(5))


def test_one_volume_in_four_dimensions_is_one():
    assert len(read(four_dimensional(1))) == 9


def rgb(values):
    stored = np.zeros(values.shape[:3], [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for channel, name in enumerate("RGB"):
        stored[name] = values[..., channel]
    return volume(stored)


def test_equal_channels_are_grey():
    grey = noise(SHAPE)
    scans = read(rgb(np.repeat(grey[..., None], 3, axis=-1)))
    for scan, expected in zip(scans, to_ras(grey), strict=True):
        assert np.array_equal(scan.pixels, expected)


def test_colour_is_rejected():
    with pytest.raises(RejectedScanError) as caught:
        read(rgb(noise((*SHAPE, 3))))
    assert caught.value.finding == Finding.COLOUR


LABELS = noise(SHAPE, np.uint8, high=4)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_label_maps_are_computed(dtype):
    with pytest.raises(RejectedScanError) as caught:
        read(volume(LABELS.astype(dtype)))
    assert caught.value.finding == Finding.COMPUTED


def test_label_maps_by_their_intent():
    with pytest.raises(RejectedScanError, match="labels"):
        read(volume(intent_code=1002))


def test_a_blank_volume_is_no_map_of_labels():
    assert len(read(volume(np.zeros(SHAPE, np.int16)))) == 9


# Offsets of a NIfTI-1 header.
DIM, DATATYPE, VOX_OFFSET, INTER, MAGIC = 40, 70, 108, 116, 344

DAMAGED = {
    "no dimensions": (lambda data: patched(data, DIM, "<h", 0), CorruptScanError, "dimensions"),
    "9 dimensions": (lambda data: patched(data, DIM, "<h", 9), CorruptScanError, "dimensions"),
    "one dimension": (lambda data: patched(data, DIM, "<h", 1), UnsupportedScanError, "slices"),
    "a size of 0": (lambda data: patched(data, DIM + 4, "<h", 0), CorruptScanError, "12x0x9"),
    "a negative size": (lambda data: patched(data, DIM + 2, "<h", -5), CorruptScanError, "-5x14"),
    "complex": (lambda data: patched(data, DATATYPE, "<h", 32), UnsupportedScanError, "complex64"),
    "one bit": (lambda data: patched(data, DATATYPE, "<h", 1), UnsupportedScanError, "data type 1"),
    "unknown type": (
        lambda data: patched(data, DATATYPE, "<h", 7777), UnsupportedScanError, "data type 7777"
    ),
    "data in the header": (
        lambda data: patched(data, VOX_OFFSET, "<f", 8.0), CorruptScanError, "inside the header"
    ),
    "data nowhere": (
        lambda data: patched(data, VOX_OFFSET, "<f", float("nan")), CorruptScanError, "nowhere"
    ),
    "intercept that is none": (
        lambda data: patched(data, INTER - 4, "<2f", 1.0, float("nan")), CorruptScanError, "inter"
    ),
    "a pair of files": (
        lambda data: data[:MAGIC] + b"ni1\0" + data[348:], UnsupportedScanError, "pair"
    ),
    "cut in the header": (lambda data: data[:300], CorruptScanError, "begin as NIfTI"),
    "cut before the data": (lambda data: data[:352], CorruptScanError, "after 0 of"),
    "cut in the first slice": (lambda data: data[:400], CorruptScanError, "after 48 of"),
    "nothing": (lambda data: b"", CorruptScanError, "begin as NIfTI"),
    "text": (lambda data: b"Wilhelmina Oyelaran " * 40, CorruptScanError, "begin as NIfTI"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "error", "words"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_damaged_files_are_named(damage, error, words, pack):
    data = damage(volume())
    with pytest.raises(error, match=words) as caught:
        read(pack(data) if data else data)
    assert not any(word in str(caught.value) for word in PATIENT_WORDS)


def test_cut_after_some_slices():
    data = volume()
    scans = read(data[: 352 + 2 * 12 * 14 * 4 + 10])
    assert [isinstance(scan, Scan) for scan in scans] == [True] * 4 + [False]
    assert "after 4 of 9 slices" in str(scans[-1].error)
    for scan, expected in zip(scans[:4], to_ras(VALUES), strict=False):
        assert_rounded(scan.pixels, by_percentile(expected))


def test_a_cut_volume_across_its_slices_is_refused():
    with pytest.raises(CorruptScanError, match="ends after"):
        read(volume(slice_axis=0)[:-10])


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_cut_compressed_file_ends_in_slices_or_an_error(share):
    data = gzip.compress(volume())
    try:
        scans = read(data[: int(len(data) * share)])
    except ScanError as error:
        assert error.kind == "corrupt"
    else:
        assert isinstance(scans[-1], ScanFault)
        for scan, expected in zip(scans[:-1], to_ras(VALUES), strict=False):
            assert_rounded(scan.pixels, by_percentile(expected))


def declared(*sizes, dtype=512):
    """A header alone that declares these sizes of unsigned 16-bit voxels."""
    data = patched(volume()[:352], DIM, f"<{len(sizes) + 1}h", len(sizes), *sizes)
    return patched(data, DATATYPE, "<hh", dtype, 16)


LARGE = {
    "slices": (declared(8, 8, 2000), "2000 slices"),
    "pixels": (declared(8000, 8000, 2), "64000000 pixels"),
    "voxels": (declared(4000, 4000, 1000), "16000000000 voxels"),
}


@pytest.mark.parametrize(("data", "words"), LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_limits_are_judged_by_the_header(data, words, pack):
    with pytest.raises(ScanTooLargeError, match=words):
        read(pack(data))


def test_limits_are_inclusive():
    data = volume()
    assert len(read(data, frames=9, image_pixels=168, file_pixels=1512)) == 9
    for limits in ({"frames": 8}, {"image_pixels": 167}, {"file_pixels": 1511}):
        with pytest.raises(ScanTooLargeError):
            read(data, **limits)


def bomb(megabytes):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = declared(1024, 1024, megabytes // 2)
    zeros = bytes(1 << 20)
    return packer.compress(head) + b"".join(packer.compress(zeros) for _ in range(megabytes)) + (
        packer.flush()
    )  # fmt: skip


def test_a_bomb_takes_no_memory():
    data = bomb(400)
    assert len(data) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ScanTooLargeError, match="declares"):
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_what_follows_the_volume_is_not_inflated():
    data = gzip.compress(volume() + bytes(200 << 20), 1)
    tracemalloc.start()
    try:
        assert len(read(data)) == 9
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def test_recognised_by_content_and_by_name(tmp_path):
    files = {
        "a.nii": volume(),
        "b.nii.gz": gzip.compress(volume()),
        "B.NII.GZ": gzip.compress(volume()),
        "without": volume(),
        "packed": gzip.compress(volume()),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"text " * 400))
    (tmp_path / "text").write_bytes(b"text " * 400)
    found = find_scans([tmp_path])
    assert {path.name for path in found.files} == set(files)
    assert found.skipped == 2
    for path in found.files:
        assert len(list(read_scans(path))) == 9


def test_signatures():
    head = volume()[:512]
    assert has_signature(head)
    assert has_signature(gzip.compress(volume())[:512])
    assert has_signature(volume(kind=nibabel.Nifti2Image)[:540])
    assert not has_signature(head[:340])
    assert not has_signature(b"\x1f\x8b" + bytes(500))
    assert is_nifti(Path("x.NII.GZ"), b"")
    assert not is_nifti(Path("x.gz"), b"")


def test_without_nibabel_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel.nifti1", None)
    with pytest.raises(UnsupportedScanError, match=r"neuroscan-edge\[nifti\]"):
        read(volume())


def test_an_averaged_head_is_upright():
    path = ROOT / "examples" / "phantoms" / "average_head.nii.gz"
    scans = list(read_scans(path))
    image = nibabel.load(path)
    assert len(scans) == image.shape[2]
    middle = scans[len(scans) // 2]
    assert middle.facts.series.plane is Plane.AXIAL
    # The bright nose and eyes are in front, which is up; at the back there is black.
    low = scans[len(scans) // 5].pixels.astype(float)
    rows = np.flatnonzero(low.mean(axis=1) > 10)
    assert rows[0] < low.shape[0] - rows[-1] + low.shape[0] // 4
