"""Which bits of a word are the pixel's value, where a header and its pixels contradict each other.

The header says how many bits are stored, which of them is the highest and whether there is a sign.
Files are found whose values need more bits than that, lie elsewhere in the word, or have another
sign; and files with overlays or junk above the stored bits, which are no part of the value.

The words themselves tell them apart. A sign is read rightly if the range that no pixel uses lies
between the highest and the lowest value. Bits above the stored ones are part of the value if the
picture changes where they do: it wraps there when they are cut off, while junk comes and goes
without regard to the picture below.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SMOOTHER_SHARE = 0.2
"""Of the pairs of neighbours between which the bits above change, the share that is closer together
with those bits, from which they are part of the value: 0.34 and more for brain slices whose values
need them, less than 0.01 for slices with junk, text or masks above their values."""

STEPPING_SHARE = 0.3
"""Of the same pairs, the share that is further apart without those bits than nearly all other
neighbours, from which they are not independent of the picture: 0.56 and more for values that need
them, at most 0.22 for junk and text, 0.05 for random bits."""

UNCLEAR_SHARE = 0.05
"""Up to this share of closer pairs, and below the other, nothing contradicts the header."""

_ORDINARY = 95
_MIN_PAIRS = 16
_GAP_RATIO = 2


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
    outside = _varying(told) & ~(((1 << bits.stored) - 1) << low)
    above = outside >> (low + bits.stored)
    if above and not (signed and _is_sign_extended(told, low, bits.stored)):
        reading, unsure = _beyond(words, told, stated, bits, low, ignored)
    else:
        reading, unsure = _signs(coded, told, stated, bits, low, ignored)
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
    whole, _ = _signed_rightly(words, told, low, width - low, bool(bits.signed), ignored)
    belong, unclear = _belong(stated, whole, ignored)
    return (whole if belong else stated), unclear or belong


def _may_be_narrower(coded: Coded, bits: PixelBits) -> bool:
    """Whether the sign may be at the top of a sample rather than at the top of a stored value."""
    narrow = coded.precision is not None and coded.precision < bits.stored
    return bool(bits.signed) and narrow and not coded.signed


def _signs(
    coded: Coded, told: Words, stated: Words, bits: PixelBits, low: int, ignored: Mask | None
) -> tuple[Words, bool]:
    """Read words whose sign the header, or the compressed stream, says otherwise or not at all."""
    narrower = not low and _may_be_narrower(coded, bits)
    if coded.signed is None and bits.signed is not None and not narrower:
        return stated, False
    stored = coded.precision if narrower and coded.precision else bits.stored
    if not int(np.bitwise_or.reduce(told, axis=None)) >> (low + stored - 1) & 1:
        return stated, False
    signed = bool(bits.signed) and not narrower
    reading, unsure = _signed_rightly(coded.words, told, low, stored, signed, ignored)
    # A stream and a header that contradict each other on a sign that there is.
    contradict = coded.signed is not None and bits.signed is not None
    return reading, unsure or (contradict and coded.signed != bits.signed)


def _signed_rightly(
    words: Words, told: Words, low: int, stored: int, stated: bool, ignored: Mask | None
) -> tuple[Words, bool]:
    """Read some bits with the sign that leaves the unused values at the ends of the range.

    `stated` is taken where nothing tells; returns whether that is so, too.
    """
    gaps = {sign: _gap(_field(told, low, stored, sign), stored) for sign in (False, True)}
    readings = {sign: _field(words, low, stored, sign) for sign in (False, True)}
    if np.array_equal(readings[False], readings[True]):
        return readings[stated], False
    if gaps[not stated] >= _GAP_RATIO * gaps[stated] + 1:
        return readings[not stated], False
    if gaps[stated] >= _GAP_RATIO * gaps[not stated] + 1:
        return readings[stated], False
    share, pairs = _closer(readings[stated], readings[not stated], ignored)
    if pairs >= _MIN_PAIRS and share > 1 - SMOOTHER_SHARE:
        return readings[not stated], False
    return readings[stated], share >= SMOOTHER_SHARE or pairs < _MIN_PAIRS


def _gap(told: Words, stored: int) -> int:
    """Count the values between the highest one that is used and, around the end, the lowest."""
    return (1 << stored) - 1 - (int(told.max()) - int(told.min()))


def _belong(stated: Words, whole: Words, ignored: Mask | None) -> tuple[bool, bool]:
    """Whether the bits that a stated reading cuts off are part of the values.

    The second is whether that is not sure.
    """
    share, pairs = _closer(stated, whole, ignored)
    if pairs < _MIN_PAIRS:
        return False, pairs > 0
    if share > SMOOTHER_SHARE:
        return True, False
    if _stepping(stated, whole, ignored) < STEPPING_SHARE:
        return False, share > UNCLEAR_SHARE
    # The picture changes with them: at a sharp edge, or a mask was made from it.
    return not _is_mask(stated, whole), True


def _is_mask(stated: Words, whole: Words) -> bool:
    """Whether bits above values leave gaps, or follow from the values below them."""
    cut = whole.astype(np.int64) - stated
    parts = np.unique(cut)
    if (parts[-1] - parts[0]) // int(np.diff(parts).min()) != len(parts) - 1:
        return True
    by_value = cut.ravel()[np.argsort(stated, axis=None, kind="stable")]
    return int(np.count_nonzero(np.diff(by_value))) < 2 * len(parts)


def _closer(first: Words, second: Words, ignored: Mask | None) -> tuple[float, int]:
    """Compare two readings on the neighbours between which their difference changes.

    Returns the share of those pairs that are closer together in the second, and how many there are.
    """
    closer = pairs = 0
    for axis in (0, 1):
        steps, telling = _steps(first, axis), _telling(first, second, ignored, axis)
        closer += int(np.count_nonzero((_steps(second, axis) < steps) & telling))
        pairs += int(np.count_nonzero(telling))
    return closer / max(pairs, 1), pairs


def _stepping(first: Words, second: Words, ignored: Mask | None) -> float:
    """Return the share of those pairs that are further apart in the first than most others are."""
    at, elsewhere = [], []
    for axis in (0, 1):
        steps, telling = _steps(first, axis), _telling(first, second, ignored, axis)
        at.append(steps[telling])
        elsewhere.append(steps[~telling])
    others = np.concatenate(elsewhere)
    if not others.size:
        return 0.0
    return float((np.concatenate(at) > np.percentile(others, _ORDINARY)).mean())


def _steps(values: Words, axis: int) -> Words:
    return np.abs(np.diff(values.astype(np.int64), axis=axis))


def _telling(first: Words, second: Words, ignored: Mask | None, axis: int) -> Mask:
    """Whether the difference of two readings changes between neighbours."""
    apart = first.astype(np.int64) - second
    telling: Mask = np.diff(apart, axis=axis) != 0
    if ignored is None:
        return telling
    if axis == 0:
        return telling & ~(ignored[1:] | ignored[:-1])
    return telling & ~(ignored[:, 1:] | ignored[:, :-1])
