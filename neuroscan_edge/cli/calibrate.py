"""``neuroscan-edge calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.spec import CalibrationMethod, Precision


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder with its FP32 graph.")],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set; its training split is sampled.")
    ],
    method: Annotated[
        CalibrationMethod, typer.Option(help="How a range is taken from the values seen.")
    ] = CalibrationMethod.PERCENTILE,
    percentile: Annotated[float, typer.Option(help="For the percentile method.")] = 99.99,
    images: Annotated[int, typer.Option(help="Sample size, stratified by class.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    equalize: Annotated[
        bool, typer.Option(help="Give channels like ranges first; FP32 results stay the same.")
    ] = True,
    drop_fp32: Annotated[
        bool, typer.Option("--drop-fp32", help="Leave the FP32 graph out of the bundle after.")
    ] = False,
) -> None:
    """Observe activations on training images; write the calibration table and the INT8 graph."""
    with exit_codes():
        from neuroscan_edge.model.bundle import GRAPHS, open_bundle, without_file
        from neuroscan_edge.model.calibration import CalibrationOptions, calibrate_bundle

        options = CalibrationOptions(method, percentile, images, seed, equalize)
        calibrated = calibrate_bundle(open_bundle(bundle), data, options)
        if drop_fp32:
            without_file(calibrated.folder, GRAPHS[Precision.FP32])
        typer.echo(f"{calibrated.folder}: INT8 graph written, ranges by {method}")
