"""Class names as people read them."""

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
