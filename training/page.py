"""Self-contained HTML pages with pictures; text and tables are `neuroscan_edge.page`."""

import base64
import io
from collections.abc import Iterable
from html import escape

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from neuroscan_edge.page import Cell, bullets, page, paragraph, table

__all__ = [
    "Cell",
    "bullets",
    "figure_png",
    "grey_png",
    "page",
    "paragraph",
    "picture",
    "pictures",
    "table",
    "thumbnails",
    "with_palette",
]


def picture(png: bytes, caption: str) -> str:
    """Embed a PNG with its caption, which is its alternative text too."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pictures(items: Iterable[tuple[bytes, str]]) -> str:
    """Embed small PNGs with their captions, side by side as the window allows."""
    return _side_by_side("pairs", items)


def thumbnails(items: Iterable[tuple[bytes, str]]) -> str:
    """Embed single slices with their captions, as a grid."""
    return _side_by_side("thumbnails", items)


def _side_by_side(kind: str, items: Iterable[tuple[bytes, str]]) -> str:
    return f'<div class="{kind}">{"".join(picture(png, text) for png, text in items)}</div>'


def figure_png(figure: Figure, dpi: int = 120) -> bytes:
    """Render a Matplotlib figure as PNG, dollar signs as they are."""
    # Between two of them Matplotlib would read a formula, and fail where a name is none.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def with_palette(png: bytes) -> bytes:
    """Reduce a PNG to 256 colours: half the bytes, and for grey pictures hardly a difference."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        reduced = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    reduced.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode (H, W) uint8 grey levels as PNG."""
    return cv2.imencode(".png", pixels)[1].tobytes()
