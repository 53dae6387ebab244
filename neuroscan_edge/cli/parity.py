"""``neuroscan-edge parity``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.cli.options import (
    AllowOverlapOption,
    BaselineOption,
    BundleArgument,
    EngineOption,
    GateOption,
    PrecisionOption,
    ReportOption,
    RuntimeOption,
    ThreadsOption,
)


def parity(
    data: Annotated[
        Path,
        typer.Option(envvar="NEUROSCAN_DATA", help="Data set; its test split, or class folders."),
    ],
    bundle: BundleArgument = None,
    precision: PrecisionOption = None,
    runtime: RuntimeOption = None,
    engine: EngineOption = None,
    baseline: BaselineOption = None,
    gate: GateOption = None,
    leak_free: Annotated[
        bool, typer.Option("--leak-free", help="Leave out near-duplicates of training images.")
    ] = False,
    allow_overlap: AllowOverlapOption = False,
    every_stage: Annotated[
        bool, typer.Option("--every-stage", help="Run the graphs although the engine passes.")
    ] = False,
    report: ReportOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="The certificate.")] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Summary for a CI run's page.")] = None,
    store: Annotated[bool, typer.Option(help="Put the certificate into the bundle.")] = True,
    threads: ThreadsOption = 0,
) -> None:
    """Certify that an engine decides like its Keras baseline.

    Exit code 0: passed. 1: failed. 2: bad usage. 3: these images do not suffice for the claim.
    """
    with exit_codes():
        from neuroscan_edge.model.bundle import find_bundle
        from neuroscan_edge.parity.gate import read_gate
        from neuroscan_edge.parity.outputs import Outputs, write_outputs
        from neuroscan_edge.parity.run import ParityRequest, run_parity
        from neuroscan_edge.parity.summary import terminal_summary
        from neuroscan_edge.runtimes import RuntimeOptions

        outputs = Outputs(report, json_file, junit, markdown, store)
        outputs.check()
        request = ParityRequest(
            bundle=find_bundle(bundle),
            data=data,
            runtime=RuntimeOptions(precision, threads, runtime, engine),
            baseline=baseline,
            gate=read_gate(gate),
            part="leak-free" if leak_free else "whole",
            allow_overlap=allow_overlap,
            every_stage=every_stage,
        )
        found = run_parity(request)
        write_outputs(found, request.bundle, outputs)
        typer.echo(terminal_summary(found.certificate))
        raise typer.Exit(found.certificate.verdict.exit_code)
