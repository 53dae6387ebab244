"""Building the fastest engine that passes: tune, build, and certify the engine itself."""

from dataclasses import dataclass, replace

from neuroscan_edge.model.bundle import open_bundle
from neuroscan_edge.model.engine.manifest import StoredEngine
from neuroscan_edge.parity.run import Parity, ParityRequest, run_parity
from neuroscan_edge.parity.tune import Report, Tuned, TuneOptions, tune
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.build_progress import Report as BuildReport


@dataclass(frozen=True, slots=True)
class AutoEngine:
    """An engine, how its precision was found, and its own certificate.

    Parameters
    ----------
    engine : StoredEngine
        Built.
    tuned : Tuned
        What was chosen; its certificate is of the graph.
    parity : Parity
        Of the engine: a builder may have changed what the graph decides.
    """

    engine: StoredEngine
    tuned: Tuned
    parity: Parity


def build_fastest(
    request: ParityRequest,
    build: BuildOptions,
    options: TuneOptions | None = None,
    report: Report = lambda _: None,
    progress: BuildReport = lambda fraction, phase: None,
) -> AutoEngine:
    """Tune a bundle for a runtime, build the engine that was chosen, and run parity on it.

    `build` says what to build, but for its precision; `request` what to hold it to.
    """
    wanted = replace(request.runtime, runtime=build.runtime or request.runtime.runtime)
    tuned = tune(replace(request, runtime=wanted), options, report)
    runtime = tuned.parity.certificate.subject.runtime
    chosen = replace(build, runtime=runtime, precision=tuned.precision)
    engine = build_engine(open_bundle(request.bundle), chosen, progress)
    certified = replace(
        request.runtime, runtime=runtime, precision=tuned.precision, engine=engine.folder
    )
    parity = run_parity(replace(request, runtime=certified), tuned.trail)
    return AutoEngine(engine, tuned, parity)
