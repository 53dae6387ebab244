"""The three scenarios, ours and MLPerf's LoadGen in turns, with stages, sweep and cold start.

    python -m benchmarks.scenarios --data DATA

One system is loaded for each scenario and both harnesses drive it alternately; what is compared is
the median over the rounds. Two runs in a row would compare what the machine was doing instead.
"""

import argparse
import os
import statistics
from pathlib import Path

from benchmarks.recording import RESULTS
from neuroscan_edge.bench import BenchRequest, Pace, render_page, run_bench, summary_lines
from neuroscan_edge.bench.loadgen import AGREEMENT
from neuroscan_edge.spec import RuntimeName


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--runtime", type=RuntimeName, help="default: the fastest that runs here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="least time a run")
    parser.add_argument("--most", type=float, default=300.0, help="most time a run")
    parser.add_argument("--output", type=Path, default=RESULTS / "scenarios-cpu.json")
    parser.add_argument("--page", type=Path, help="HTML page")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    request = BenchRequest(
        inputs=(Path(options.data) / "Testing",),
        pace=Pace(5.0, options.seconds, options.most),
        loadgen=True,
        loadgen_rounds=options.rounds,
        runtime=options.runtime,
    )
    record = run_bench(request)
    record.write(options.output)
    if options.page:
        options.page.write_text(render_page(record))
    print("\n".join(summary_lines(record)))
    agreements = [each["loadgen"]["agreement"] for each in record.content["scenarios"]]
    found = [abs(each["ratio"] - 1) for each in agreements if each]
    if found:
        print(f"median difference {statistics.median(found):.3f}, at most {AGREEMENT} is agreement")


if __name__ == "__main__":
    main()
