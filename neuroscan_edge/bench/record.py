"""A benchmark's record: JSON with a schema version, written when whole, read with care."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.bench.harness import Verdict
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.files import write_whole

BENCH_SCHEMA = 1
_LIMIT_BYTES = 1 << 26
_SECTIONS = ("verdict", "reasons", "machine", "software", "model", "options", "input", "scenarios")


class BenchRecordError(NeuroScanError):
    """A file is no benchmark record, or one of a newer version."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class BenchRecord:
    """What was measured, on what, and whether it holds.

    Parameters
    ----------
    content : mapping
        JSON-ready; see ``docs/benchmarks.md`` for its fields.
    """

    content: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """Whether the figures may be quoted."""
        return Verdict(self.content["verdict"])

    @property
    def reasons(self) -> list[str]:
        """Why they may not."""
        return list(self.content["reasons"])

    def scenario(self, name: str, scope: str) -> dict[str, Any] | None:
        """Return the measurement of one scenario and scope, if there is one."""
        for each in self.content["scenarios"]:
            if each["scenario"] == name and each["scope"] == scope:
                return dict(each)
        return None

    def write(self, path: Path) -> None:
        """Write the record; the file appears only when whole."""
        write_whole(path, (json.dumps(self.content, indent=1) + "\n").encode())


def new_record(sections: Mapping[str, Any]) -> BenchRecord:
    """Compose a record; its verdict is the worst of its scenarios' and any own reasons given."""
    scenarios = sections["scenarios"]
    order = (Verdict.PARTIAL, Verdict.UNSTABLE, Verdict.VALID)
    found = {Verdict(each["verdict"]) for each in scenarios}
    verdict = next((each for each in order if each in found), Verdict.PARTIAL)
    if sections.get("interrupted"):
        verdict = Verdict.PARTIAL
    reasons = [
        f"{each['scenario']} ({each['scope']}): {each['reason']}"
        for each in scenarios
        if each["reason"]
    ]
    throttling = {why for each in scenarios for why in each.get("gpu", {}).get("throttled_by", ())}
    if throttling:
        reasons.append(f"the GPU was throttled: {', '.join(sorted(throttling))}")
        verdict = Verdict.UNSTABLE if verdict is Verdict.VALID else verdict
    if sections.get("interrupted") and Verdict.PARTIAL not in found:
        last = scenarios[-1]["scenario"] if scenarios else ""
        when = f"after {last}" if last else "before the first scenario finished"
        reasons.append(f"interrupted {when}: what was to come is missing")
    return BenchRecord(
        {
            "schema": BENCH_SCHEMA,
            "intended_use": RESEARCH_USE,
            "verdict": str(verdict),
            "reasons": reasons,
            **sections,
        }
    )


def read_record(path: Path) -> BenchRecord:
    """Read a record.

    Raises
    ------
    BenchRecordError
        If the file cannot be read, is no record, or is of a newer schema.
    """
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise BenchRecordError(f"{path} is over {_LIMIT_BYTES} bytes; it is no record")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BenchRecordError(
            f"{path} cannot be read ({error.strerror}); give a record that "
            '"neuroscan-edge bench --output" wrote'
        ) from error
    except (ValueError, RecursionError) as error:
        raise BenchRecordError(f"{path} is not JSON ({error}); measure again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or any(name not in content for name in _SECTIONS):
        raise BenchRecordError(
            f"{path} lacks what a record has (schema, {', '.join(_SECTIONS)}); give a file that "
            '"neuroscan-edge bench --output" wrote'
        )
    if schema > BENCH_SCHEMA:
        raise BenchRecordError(
            f"{path} has schema {schema}, this version reads up to {BENCH_SCHEMA}; "
            "upgrade neuroscan-edge"
        )
    scenarios, model = content["scenarios"], content["model"]
    if not isinstance(scenarios, list) or not isinstance(model, dict) or "bundle" not in model:
        raise BenchRecordError(f"{path} names no model or no scenarios; measure again")
    if any(not isinstance(each, dict) or "scenario" not in each for each in scenarios):
        raise BenchRecordError(f"{path} has a scenario without a name; measure again")
    return BenchRecord(content)
