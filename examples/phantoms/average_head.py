"""Derive ``average_head.nii.gz`` from the average head of pydeface (run once, by hand).

The template of the ICBM holds the brain alone. Skull, face and neck come from the mean head that
pydeface ships (MIT licence): an average, in which no person can be recognised. This script brings
it to the coordinates of the template, at 2 mm, and clears the air around it. It needs
``pip install --no-deps pydeface``; drawing the examples needs only its result.
"""

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

OUTPUT = Path(__file__).with_name("average_head.nii.gz")
STEP_MM = 2.0
FIRST_MM = (-100.0, -150.0, -130.0)
SHAPE = (101, 131, 121)

# Millimetres of the template to voxels of the mean head. Found by an affine registration (Powell,
# correlation of both images smoothed by 2 mm, within 2 mm of the template's brain: 0.81).
TEMPLATE_MM_TO_VOXEL = np.array(
    [
        [0.88493, 0.01652, 0.00839, 87.60304],
        [-0.02066, 0.92055, -0.14766, 136.95197],
        [-0.00378, 0.11587, 0.82528, 122.79953],
    ]
)
# Signals of the mean head: subcutaneous fat, and the noise of the air.
FAT = 450.0
AIR = 28.0


def main() -> None:
    """Write the derived volume beside this file."""
    spec = importlib.util.find_spec("pydeface")
    if spec is None or spec.origin is None:
        raise SystemExit('pydeface is missing: run "pip install --no-deps pydeface" first')
    source = nib.load(Path(spec.origin).parent / "data" / "mean_reg2mean.nii.gz")
    mean = np.asarray(source.dataobj, dtype=np.float64)
    axes = [first + STEP_MM * np.arange(n) for first, n in zip(FIRST_MM, SHAPE, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    voxels = points @ TEMPLATE_MM_TO_VOXEL[:, :3].T + TEMPLATE_MM_TO_VOXEL[:, 3]
    head = ndimage.map_coordinates(mean, np.moveaxis(voxels, -1, 0), order=1)
    # The largest bright piece is the head; head coil and ghosts of motion are other pieces.
    pieces, _ = ndimage.label(ndimage.binary_opening(head > 2 * AIR, iterations=2))
    body = ndimage.binary_fill_holes(pieces == np.bincount(pieces.ravel())[1:].argmax() + 1)
    body = ndimage.gaussian_filter(ndimage.binary_dilation(body).astype(np.float64), 0.6)
    signal = np.clip((head - AIR) / (FAT - AIR), 0, 1) * body
    affine = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    affine[:3, 3] = FIRST_MM
    volume = nib.Nifti1Image(np.rint(255 * signal).astype(np.uint8), affine)
    nib.save(volume, OUTPUT)


if __name__ == "__main__":
    main()
