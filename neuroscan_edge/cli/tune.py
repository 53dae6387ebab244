"""``neuroscan-edge tune``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.cli.options import (
    AllowOverlapOption,
    BaselineOption,
    GateOption,
    ReportOption,
    RuntimeOption,
    ThreadsOption,
)


def tune(
    bundle: Annotated[
        str, typer.Argument(help="Bundle folder, or its name, with its FP32 graph in it.")
    ],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set; its test split is judged on.")
    ],
    runtime: RuntimeOption = None,
    baseline: BaselineOption = None,
    gate: GateOption = None,
    allow_overlap: AllowOverlapOption = False,
    images: Annotated[int, typer.Option(help="Training images to measure layers on.")] = 48,
    max_plans: Annotated[int, typer.Option(help="INT8 plans to try at most.")] = 24,
    report: ReportOption = None,
    threads: ThreadsOption = 0,
) -> None:
    """Find the fastest precision that passes parity; give INT8 layers back to float if need be.

    Exit codes are those of parity.
    """
    with exit_codes():
        from neuroscan_edge.model.bundle import find_bundle
        from neuroscan_edge.parity.gate import read_gate
        from neuroscan_edge.parity.outputs import Outputs, write_outputs
        from neuroscan_edge.parity.run import ParityRequest
        from neuroscan_edge.parity.summary import terminal_summary
        from neuroscan_edge.parity.tune import TuneOptions
        from neuroscan_edge.parity.tune import tune as find
        from neuroscan_edge.runtimes import RuntimeOptions

        outputs = Outputs(report=report)
        outputs.check()
        folder = find_bundle(bundle)
        request = ParityRequest(
            bundle=folder,
            data=data,
            runtime=RuntimeOptions(runtime=runtime, threads=threads),
            baseline=baseline,
            gate=read_gate(gate),
            allow_overlap=allow_overlap,
        )
        found = find(
            request, TuneOptions(images, max_plans), lambda line: typer.echo(line, err=True)
        )
        write_outputs(found.parity, folder, outputs)
        typer.echo(found.reason)
        typer.echo(terminal_summary(found.parity.certificate))
        raise typer.Exit(found.parity.certificate.verdict.exit_code)
