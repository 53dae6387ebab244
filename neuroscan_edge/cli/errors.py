"""From exceptions to exit codes.

0 done, 1 incomplete or failed, 2 usage, 3 cannot certify, 130 interrupted (SIGINT), 143 ended
(SIGTERM).
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import typer

from neuroscan_edge.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, NeuroScanError


def _terminate(signum: int, frame: FrameType | None) -> None:
    # Unwinding removes what is half written; dying at once would leave it.
    raise SystemExit(EXIT_TERMINATED)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn a deliberate error into one line on standard error and its exit code.

    Any other exception is a bug and keeps its traceback.
    """
    with contextlib.suppress(ValueError):
        # Only the main thread may: elsewhere SIGTERM keeps its meaning.
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except NeuroScanError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        typer.echo("interrupted", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from error
