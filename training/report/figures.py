"""Figures as PNG files."""

import io

from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image


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
