"""``neuroscan-edge precision``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.spec import Precision


def precision(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder with its FP32 graph.")],
    table: Annotated[
        Path | None, typer.Option(help="Calibration table; default: the bundle's.")
    ] = None,
    depthwise: Annotated[bool, typer.Option(help="Quantise depthwise convolutions too.")] = True,
    float_sums: Annotated[
        bool, typer.Option("--float-sums", help="Keep residual sums in float, branches in INT8.")
    ] = False,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="Layer that stays in float; repeatable.")
    ] = None,
    drop_fp32: Annotated[
        bool, typer.Option("--drop-fp32", help="Leave the FP32 graph out of the bundle after.")
    ] = False,
) -> None:
    """Make the INT8 graph again from the bundle's calibration table, under another plan."""
    with exit_codes():
        from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, open_bundle, without_file
        from neuroscan_edge.model.calibration import quantize_bundle, read_table
        from neuroscan_edge.model.graph.quantize import ALL_OPERATORS, FLOAT_SUMS, QuantizationPlan

        opened = open_bundle(bundle)
        read = read_table(table or bundle / CALIBRATION)
        plan = QuantizationPlan(
            operators=FLOAT_SUMS if float_sums else ALL_OPERATORS,
            depthwise=depthwise,
            keep_float=tuple(keep_float or ()),
        )
        quantize_bundle(opened, read, plan)
        if drop_fp32:
            without_file(bundle, GRAPHS[Precision.FP32])
        typer.echo(f"{bundle}: INT8 graph written")
