"""``neuroscan-edge export``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes


def export(
    model: Annotated[Path, typer.Argument(help="Keras baseline NAME.keras, with its NAME.json.")],
    output: Annotated[Path, typer.Option(help="Bundle folder to write.")],
) -> None:
    """Export a Keras baseline to a bundle with its FP32 and FP16 graphs."""
    with exit_codes():
        from neuroscan_edge.model.export import export_bundle

        report = export_bundle(model, output)
        typer.echo(
            f"{report.bundle.folder}: largest probability difference to Keras: "
            f"FP32 {report.fp32_difference:.1e}, FP16 {report.fp16_difference:.1e}"
        )
