"""Class names as people read them, and which class is none of the tumours."""

from collections.abc import Mapping

NO_TUMOUR = "no_tumor"
"""The class of slices without a tumour."""

_RISK_DIGITS = 12

_NAMES = {
    "glioma_tumor": "Glioma",
    "meningioma_tumor": "Meningioma",
    "no_tumor": "No tumour",
    "pituitary_tumor": "Pituitary tumour",
}


def display_name(label: str) -> str:
    """Write a class's folder name for a reader: ``no_tumor`` becomes "No tumour"."""
    words = printable(label.replace("_", " ").strip())
    return _NAMES.get(label, words[:1].upper() + words[1:])


def printable(name: str) -> str:
    """Replace what is no text in a file's name, so that any page or picture can show it."""
    return name.encode("utf-8", "replace").decode()


def tumour_probability(probabilities: Mapping[str, float]) -> float | None:
    """Return the probability of any tumour, 1 - p(no_tumor); None for a model without that class.

    Rounded to 12 decimals: without the noise of the subtraction. An engine's rounding does not take
    it out of 0 to 1.
    """
    if NO_TUMOUR not in probabilities:
        return None
    return min(max(round(1.0 - probabilities[NO_TUMOUR], _RISK_DIGITS), 0.0), 1.0)
