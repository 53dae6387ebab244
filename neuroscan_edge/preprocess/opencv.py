"""The fast CPU path: OpenCV, proven equal to the reference on x86-64."""

import platform
import threading

import cv2
import numpy as np

from neuroscan_edge.preprocess import reference
from neuroscan_edge.preprocess.reference import UInt8Image
from neuroscan_edge.spec import Interpolation, Preprocessing

_OPENCV_FLAGS = {
    Interpolation.LINEAR: cv2.INTER_LINEAR,
    Interpolation.NEAREST: cv2.INTER_NEAREST,
}

# OpenCV's aarch64 builds use other resize kernels and a contracted CLAHE: bytes would differ.
OPENCV_IS_EXACT = platform.machine().lower() in {"x86_64", "amd64"}


class CpuPreprocessor:
    """Callable that turns ``(H, W) uint8`` into ``(height, width) uint8``, from any thread.

    Parameters
    ----------
    spec : Preprocessing
        What to compute. Where OpenCV is not exact, the reference itself runs.
    """

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        # A cv2.CLAHE object keeps buffers between calls: one per thread.
        self._local = threading.local()

    def __call__(self, pixels: UInt8Image) -> UInt8Image:
        """Preprocess one slice: (H, W) uint8 to (height, width) uint8."""
        return self.equalise(self.resize(pixels))

    def resize(self, pixels: UInt8Image) -> UInt8Image:
        """Do the first half alone: (H, W) uint8 to (height, width) uint8."""
        spec = self.spec
        if not OPENCV_IS_EXACT:
            return reference.resize(pixels, spec.height, spec.width, spec.interpolation)
        flag = _OPENCV_FLAGS[spec.interpolation]
        return np.asarray(cv2.resize(pixels, (spec.width, spec.height), interpolation=flag))

    def equalise(self, resized: UInt8Image) -> UInt8Image:
        """Do the second half alone: (height, width) uint8 to the same."""
        spec = self.spec
        if not OPENCV_IS_EXACT:
            return reference.clahe(resized, spec.clip_limit, spec.tile_grid)
        clahe: cv2.CLAHE | None = getattr(self._local, "clahe", None)
        if clahe is None:
            clahe = cv2.createCLAHE(spec.clip_limit, spec.tile_grid)
            self._local.clahe = clahe
        return np.asarray(clahe.apply(resized))
