"""Tables of the pages, and figures with what they may be off by."""


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def spread(found: dict[str, float], digits: int = 2) -> str:
    """Return a ratio with its interval."""
    median, low, high = (f"{found[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} ({low} to {high})"
