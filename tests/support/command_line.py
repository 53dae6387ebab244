"""The command line in processes of its own, as users run it."""

import subprocess
import sys
from pathlib import Path

from support.places import ROOT


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "neuroscan_edge", *map(str, arguments)]


def neuroscan_edge(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=ROOT, timeout=120, **options
    )


def partial_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".partial")]
