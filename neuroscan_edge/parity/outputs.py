"""Where a parity run's results go: into the bundle, and to the files that were asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.errors import OutputError
from neuroscan_edge.model.bundle import Bundle, open_bundle
from neuroscan_edge.parity.baseline_predictions import PREDICTIONS
from neuroscan_edge.parity.certificate import certificate_name, write_into
from neuroscan_edge.parity.junit import junit
from neuroscan_edge.parity.report_page import report_page
from neuroscan_edge.parity.run import Parity
from neuroscan_edge.parity.summary import markdown_summary
from neuroscan_edge.system.files import check_place, write_whole


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to write, and where; None leaves it out.

    Parameters
    ----------
    report : Path or None
        The page. It shows images of the data set: keep it where those may be.
    json, junit, markdown : Path or None
        The certificate; the same for build servers; a summary.
    store : bool
        Whether certificate and baseline answers go into the bundle.
    """

    report: Path | None = None
    json: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    store: bool = True

    def check(self) -> None:
        """Refuse what cannot be written before the work is done.

        Raises
        ------
        UsageError
            If a folder does not exist, or a file is one.
        """
        for path in (self.report, self.json, self.junit, self.markdown):
            if path is not None:
                check_place(path)


def write_outputs(parity: Parity, folder: Path, outputs: Outputs) -> Bundle:
    """Write what was asked for; the bundle is last, so that it never claims what failed.

    Raises
    ------
    OutputError
        If something cannot be written.
    """
    certificate = parity.certificate
    forms: list[tuple[Path | None, Callable[[], bytes]]] = [
        (outputs.json, certificate.to_bytes),
        (outputs.junit, lambda: junit(certificate)),
        (outputs.markdown, lambda: markdown_summary(certificate).encode()),
        (outputs.report, lambda: report_page(parity).encode()),
    ]
    for path, make in forms:
        if path is None:
            continue
        try:
            write_whole(path, make())
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror})") from error
    bundle = open_bundle(folder)
    if not outputs.store:
        return bundle
    engine = parity.choice.engine.folder.name if parity.choice.engine else None
    files = {
        PREDICTIONS: parity.predictions.to_bytes(),
        certificate_name(certificate, engine): certificate.to_bytes(),
    }
    return write_into(bundle, files)
