"""Coverage-guided fuzzing of the decoders with atheris, where it is installed.

    PYTHONPATH=tests python -m support.corpus.fuzz_atheris seeds/ -max_total_time=300 -timeout=10

The first argument is a folder for inputs; an empty one is filled from the corpus. What follows goes
to libFuzzer, which stops at the first exception that is no ScanError, hang or lack of memory.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "pydicom", "neuroscan_edge.scans"]):
    from neuroscan_edge.scans import Limits, Scan, read_scans
    from neuroscan_edge.scans.quality import examine

from neuroscan_edge.errors import ScanError
from support.corpus.fuzz import seeds
from support.corpus.hostile_dicom import dicom_cases
from support.corpus.hostile_nifti import nifti_cases
from support.corpus.hostile_raster import raster_cases
from support.corpus.hostile_tiff import tiff_cases

LIMITS = Limits(file_bytes=1 << 22, image_pixels=1 << 20, frames=64)


def main() -> None:
    """Fill the folder if need be, then fuzz until libFuzzer ends."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        cases = [*raster_cases(), *tiff_cases(), *dicom_cases(), *nifti_cases()]
        for index, (_, data) in enumerate(seeds(cases)):
            (folder / f"{index:04}").write_bytes(data)
    with tempfile.TemporaryDirectory() as place:
        # Without a suffix: the content decides how it is read.
        path = Path(place) / "scan"

        def one_input(data: bytes) -> None:
            path.write_bytes(data)
            try:
                for scan in read_scans(path, LIMITS):
                    if isinstance(scan, Scan):
                        examine(scan)
            except ScanError:
                pass

        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
