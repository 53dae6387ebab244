"""What every record of these scripts opens with, and where it is kept."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from neuroscan_edge.bench.environment import describe_machine, describe_software, load_average
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.files import write_whole

RESULTS = Path(__file__).parent / "results"
BF16 = {"amx_bf16", "avx512_bf16"}
"""Instruction sets of which any gives bfloat16 arithmetic."""


def opening() -> dict[str, Any]:
    """Return schema, statement of use, time, machine, versions, and how busy it is."""
    return {
        "schema": 1,
        "intended_use": RESEARCH_USE,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "software": describe_software(),
        "load_average_before": load_average(),
    }


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record when it is whole, and say where."""
    record["load_average_after"] = load_average()
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
    print(f"{path} written. {RESEARCH_USE}")
