"""Arguments and options that several commands share, with one wording each."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.spec import Precision, RuntimeName


class RuntimeChoice(str, Enum):
    """Runtimes, and the choice among them."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"

    @property
    def runtime(self) -> RuntimeName | None:
        """The runtime that was named; None leaves the choice to the machine."""
        return None if self is RuntimeChoice.AUTO else RuntimeName(self.value)


_BUNDLE_HELP = "Bundle folder, or the name of a shipped bundle."

BundleArgument = Annotated[str | None, typer.Argument(help=_BUNDLE_HELP)]
ModelOption = Annotated[str | None, typer.Option(help=_BUNDLE_HELP)]
PrecisionOption = Annotated[
    Precision | None, typer.Option(help="Default: the fastest the bundle holds.")
]
RuntimeChoiceOption = Annotated[
    RuntimeChoice, typer.Option(help="auto takes the fastest that runs here.")
]
RuntimeOption = Annotated[
    RuntimeName | None, typer.Option(help="Default: the fastest that runs here.")
]
EngineOption = Annotated[
    Path | None, typer.Option(help="Folder of a built engine; default: look in the bundle.")
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(help="Keras baseline; default: its answers that the bundle carries."),
]
GateOption = Annotated[Path | None, typer.Option(help="TOML with other limits.")]
AllowOverlapOption = Annotated[
    bool, typer.Option("--allow-overlap", help="Accept images of the calibration sample.")
]
ReportOption = Annotated[Path | None, typer.Option(help="HTML page; shows images of the data set.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of the model; 0 takes every core.")]
