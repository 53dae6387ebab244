"""DICOM slices made from one of the examples."""

import io

import numpy as np
import pydicom

from support.places import ROOT

SOURCE = ROOT / "examples" / "scans" / "mono1.dcm"


def dicom_slice(number: int = 0, side: int = 40, **elements: object) -> bytes:
    """A file of noise; an element given as None is left out."""
    dataset = pydicom.dcmread(SOURCE)
    pixels = np.random.default_rng(number).integers(0, 256, (side, side), np.uint8)
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in dataset:
            del dataset[keyword]
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
