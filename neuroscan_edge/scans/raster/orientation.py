"""Slices turned upright, as their files say how they lie."""

import numpy as np
import numpy.typing as npt


def upright(grey: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undo an EXIF or TIFF orientation, 1 to 8 (EXIF 2.32, tag 0x0112); other values are ignored.

    grey : (H, W) uint8. Returns (H, W) or (W, H).
    """
    if orientation in {2, 4, 5, 7}:
        grey = grey[:, ::-1]
    quarter_turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    return np.rot90(grey, quarter_turns) if quarter_turns else grey
