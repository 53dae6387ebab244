"""What docs/preprocessing.md says of the kernels is what the compiler and the geometry say."""

import json
import re
import subprocess
import sys

import pytest

from neuroscan_edge.preprocess.kernel_binaries import KERNELS, MANIFEST
from neuroscan_edge.system.gpu_probe import probe_gpus
from support.places import ROOT

PAGE = (ROOT / "docs" / "preprocessing.md").read_text()
SCRIPT = ROOT / "benchmarks" / "preprocessing.py"


def run_script(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def row(start):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_registers_and_shared_memory():
    manifest = json.loads((KERNELS / MANIFEST).read_text())
    cubins = [each for each in manifest["binaries"] if each["form"] == "cubin"]
    assert row("compute capability") == [each["compute_capability"] for each in cubins]
    for kernel in ("equalisation_luts", "blend"):
        registers = [str(each["kernels"][kernel]["registers"]) for each in cubins]
        assert row(f"`{kernel}`: registers") == registers
    (shared,) = {each["kernels"]["equalisation_luts"]["shared_bytes"] for each in cubins}
    assert f"Shared memory: {shared:,} bytes a block" in PAGE
    size = sum(each["size_bytes"] for each in manifest["binaries"])
    assert f"{size / 1000:.0f} kB in all" in PAGE
    assert manifest["compiler"] in PAGE


def test_counts_and_floors():
    record = json.loads(run_script("--count").stdout)
    for source, counts in record["counted, not measured"].items():
        numbers = [
            counts["upload_bytes"],
            counts["device_memory_bytes"]["total"],
            counts["double_operations"],
            counts["integer_multiplications"],
            counts["shared_memory_atomics"],
            counts["table_look_ups"],
            counts["float_operations"],
        ]
        floors = counts["estimated_floor_us"].values()
        rows = [line for line in PAGE.splitlines() if line.startswith(f"| {source} |")]
        found = [
            [float(each) for each in re.findall(r"[\d.]+", line.replace(",", ""))[2:]]
            for line in rows
        ]
        upload = counts["estimated_upload_floor_us_pcie_4_x16"]
        assert found[0] == numbers
        assert found[1] == pytest.approx([*floors, upload], abs=0.0051)


@pytest.mark.skipif(bool(probe_gpus().gpus), reason="for machines without a GPU")
def test_the_benchmark_measures_nothing_without_a_gpu():
    done = run_script()
    assert done.returncode == 1 and done.stdout == ""
    assert "there is no GPU to measure here" in done.stderr and "--count" in done.stderr
