"""Tables of the pages, and figures with what they may be off by."""


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def spread(found: dict[str, float]) -> str:
    """Return a ratio with its interval."""
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
