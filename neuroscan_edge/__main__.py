"""``python -m neuroscan_edge``: the same as the ``neuroscan-edge`` command."""

from neuroscan_edge.cli.app import app

if __name__ == "__main__":
    app(prog_name="neuroscan-edge")
