"""Which bits of a word are the pixel's value, where a header and its pixels contradict each other.

The header says how many bits are stored, which of them is the highest and whether there is a sign.
Files are found whose values need more bits than that, lie elsewhere in the word, or have another
sign; and files with overlays or junk above the stored bits, which are no part of the value. The
words themselves tell them apart: where a value is read wrongly it wraps, and neighbouring pixels
jump where the right reading is smooth.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

CLEAR_SHARE = 0.2
"""Share of the telling pairs of neighbours from which a reading is taken for the right one.

Of brain slices whose values need more bits than stated, 0.34 and more of the pairs are smoother in
the right reading; of slices with junk or text above their values, less than 0.02."""

UNCLEAR_SHARE = 0.05
"""Below this the reading that the header states is taken, and nothing is said."""

_MIN_PAIRS = 16


@dataclass(frozen=True, slots=True)
class PixelBits:
    """What a header says of the words of its pixels.

    Parameters
    ----------
    allocated : int
        Bits of a word: 8, 16 or 32.
    stored : int
        Bits of a value.
    high : int
        Number of the value's highest bit, from 0.
    signed : bool or None
        Whether values are two's complement; None if the header does not say.
    """

    allocated: int
    stored: int
    high: int
    signed: bool | None


@dataclass(frozen=True, slots=True)
class Coded:
    """Words as they were decoded.

    Parameters
    ----------
    words : (H, W) uint8, uint16 or uint32
        Signed samples are sign extended to the width of the word.
    precision : int or None
        Bits of a sample by the compressed stream; None where there is none.
    signed : bool or None
        Whether the stream says that its samples are signed; None where it does not say.
    """

    words: Words
    precision: int | None = None
    signed: bool | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Values taken out of their words.

    Parameters
    ----------
    values : (H, W) of any integer dtype
        Sign extended.
    doubtful : bool
        Whether the header and the pixels contradict each other.
    """

    values: Words
    doubtful: bool


def read_values(coded: Coded, bits: PixelBits, ignored: Mask | None = None) -> Reading:
    """Take values out of their words.

    Parameters
    ----------
    coded : Coded
        The words.
    bits : PixelBits
        What the header says of them.
    ignored : (H, W) bool, optional
        Pixels that tell nothing, such as padding.
    """
    words = coded.words
    told = words if ignored is None else words[~ignored]
    if not told.size:
        told = words
    doubtful = not bits.stored - 1 <= bits.high < bits.allocated
    low = 0 if doubtful else bits.high + 1 - bits.stored
    if low and _is_right_aligned(told, bits, low, coded.precision):
        low, doubtful = 0, True
    signed = bool(bits.signed)
    stated = _field(words, low, bits.stored, signed)
    reading, unsure = stated, False
    outside = _varying(told) & ~(((1 << bits.stored) - 1) << low)
    above = outside >> (low + bits.stored)
    if above and not (signed and _is_sign_extended(told, low, bits.stored)):
        reading, unsure = _beyond(words, told, stated, bits, low, ignored)
    elif coded.signed != bits.signed or _may_be_narrower(coded, bits):
        reading, unsure = _signs(coded, words, stated, bits, ignored)
    changed = reading is not stated and not np.array_equal(reading, stated)
    return Reading(reading, doubtful or changed or unsure)


def _is_right_aligned(told: Words, bits: PixelBits, low: int, precision: int | None) -> bool:
    """Whether values lie at the bottom of their words where the header says higher up."""
    used = int(np.bitwise_or.reduce(told, axis=None))
    if not used & ((1 << low) - 1):
        return False
    if precision is not None and precision <= bits.stored:
        return True
    return used < 1 << bits.stored or (
        bool(bits.signed) and _is_sign_extended(told, 0, bits.stored)
    )


def _field(words: Words, low: int, stored: int, signed: bool) -> Words:
    """Return some bits of each word, the sign extended."""
    width = 8 * words.itemsize
    # To the top and back: what was above falls off, and the sign is drawn down.
    moved = words << words.dtype.type(width - low - stored)
    if signed:
        moved = moved.view(moved.dtype.str.replace("u", "i"))
    values: Words = moved >> moved.dtype.type(width - stored)
    return values


def _varying(told: Words) -> int:
    """Return the bits that some words have and others have not."""
    return int(np.bitwise_or.reduce(told, axis=None)) & ~int(np.bitwise_and.reduce(told, axis=None))


def _is_sign_extended(told: Words, low: int, stored: int) -> bool:
    """Whether the bits above a value are all as its highest one."""
    width = 8 * told.itemsize
    return np.array_equal(
        _field(told, low, stored, signed=True), _field(told, low, width - low, signed=True)
    )


def _beyond(
    words: Words, told: Words, stated: Words, bits: PixelBits, low: int, ignored: Mask | None
) -> tuple[Words, bool]:
    """Read words whose bits above the stored ones vary."""
    width = 8 * words.itemsize
    if _is_sign_extended(told, low, bits.stored):
        # Junk is never as the sign would be in every pixel.
        return _field(words, low, bits.stored, signed=True), True
    spare = width - bits.stored
    if not low and not int(np.bitwise_or.reduce(told, axis=None)) & ((1 << spare) - 1):
        return _field(words, spare, bits.stored, bool(bits.signed)), True
    others = [_field(words, low, width - low, signed) for signed in (False, True)]
    if bits.signed:
        others.reverse()
    return _smoothest(stated, others, ignored)


def _may_be_narrower(coded: Coded, bits: PixelBits) -> bool:
    """Whether the sign may be at the top of a sample rather than at the top of a stored value."""
    narrow = coded.precision is not None and coded.precision < bits.stored
    return bool(bits.signed) and narrow and not coded.signed


def _signs(
    coded: Coded, words: Words, stated: Words, bits: PixelBits, ignored: Mask | None
) -> tuple[Words, bool]:
    """Read words whose sign the header, or the compressed stream, says otherwise or not at all."""
    stored = min(bits.stored, coded.precision or bits.stored)
    if coded.signed is None and bits.signed is not None and not _may_be_narrower(coded, bits):
        return stated, False
    others = [_field(words, 0, stored, signed) for signed in (False, True)]
    others = [other for other in others if not np.array_equal(other, stated)]
    if not others:
        return stated, False
    reading, unsure = _smoothest(stated, others, ignored)
    # A stream and a header that contradict each other on a sign that there is.
    return reading, unsure or (coded.signed is not None and coded.signed != bits.signed)


def _smoothest(stated: Words, others: list[Words], ignored: Mask | None) -> tuple[Words, bool]:
    """Return the stated reading or another that is clearly smoother, and whether that is unsure."""
    best, unsure = stated, False
    for other in others:
        share, pairs = _smoother_share(best, other, ignored)
        if pairs < _MIN_PAIRS:
            unsure = unsure or pairs > 0
        elif share > CLEAR_SHARE:
            best = other
        elif share > UNCLEAR_SHARE:
            unsure = True
    return best, unsure


def _smoother_share(first: Words, second: Words, ignored: Mask | None) -> tuple[float, int]:
    """Compare two readings on the neighbours that they tell apart.

    Returns the share of those pairs that differ less in the second, and how many pairs there are.
    """
    first, second = first.astype(np.int64), second.astype(np.int64)
    apart = first - second
    smoother = pairs = 0
    for axis in (0, 1):
        telling = np.diff(apart, axis=axis) != 0
        if ignored is not None:
            telling &= ~_either(ignored, axis)
        steps = np.abs(np.diff(second, axis=axis)) < np.abs(np.diff(first, axis=axis))
        smoother += int(np.count_nonzero(steps & telling))
        pairs += int(np.count_nonzero(telling))
    return smoother / max(pairs, 1), pairs


def _either(ignored: Mask, axis: int) -> Mask:
    """Whether one of two neighbours is ignored."""
    if axis == 0:
        return ignored[1:] | ignored[:-1]
    return ignored[:, 1:] | ignored[:, :-1]
