"""Build the shipped binaries of the CUDA kernels and their manifest.

python -m kernels.build             # write them beside the source
python -m kernels.build --check     # exit code 1 if those there are not what the source gives
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kernels.nvrtc import Compiled, Nvrtc
from neuroscan_edge.preprocess.kernel_binaries import KERNELS, MANIFEST, SCHEMA, SOURCE
from neuroscan_edge.system.files import write_whole

CUBIN_TARGETS = ("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0")
PTX_TARGET = "7.5"
# No contraction: the source rounds at every step, and this says it to the compiler once more.
OPTIONS = ("--fmad=false", "--std=c++17")


def build(compiler: Nvrtc, target: str, form: str) -> Compiled:
    """Compile the source for one target."""
    compile_to = compiler.cubin if form == "cubin" else compiler.ptx
    return compile_to(KERNELS / SOURCE, target, OPTIONS)


def binary_name(target: str, form: str) -> str:
    """Name a binary as its architecture is called."""
    prefix = "sm" if form == "cubin" else "compute"
    return f"{Path(SOURCE).stem}.{prefix}_{target.replace('.', '')}.{form}"


def build_all(compiler: Nvrtc) -> dict[str, bytes]:
    """Build every file: by name, its bytes; the manifest last."""
    files: dict[str, bytes] = {}
    records: list[dict[str, Any]] = []
    targets = [(target, "cubin") for target in CUBIN_TARGETS] + [(PTX_TARGET, "ptx")]
    for target, form in targets:
        compiled = build(compiler, target, form)
        name = binary_name(target, form)
        files[name] = compiled.data
        records.append(
            {
                "name": name,
                "form": form,
                "compute_capability": target,
                "sha256": hashlib.sha256(compiled.data).hexdigest(),
                "size_bytes": len(compiled.data),
                "kernels": {key: asdict(each) for key, each in compiled.resources.items()},
            }
        )
    manifest = {
        "schema": SCHEMA,
        "source": SOURCE,
        "source_sha256": hashlib.sha256((KERNELS / SOURCE).read_bytes()).hexdigest(),
        "compiler": f"NVRTC {compiler.version}",
        "options": list(OPTIONS),
        "binaries": records,
    }
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def main() -> int:
    """Build, and write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    options = parser.parse_args()
    files = build_all(Nvrtc())
    if options.check:
        there = {path.name: path.read_bytes() for path in KERNELS.iterdir() if path.name in files}
        differ = sorted(name for name in files if there.get(name) != files[name])
        print("\n".join(f"{name} is not what {SOURCE} gives" for name in differ) or "all current")
        return int(bool(differ))
    for path in [*KERNELS.glob("*.cubin"), *KERNELS.glob("*.ptx")]:
        path.unlink()
    for name, data in files.items():
        write_whole(KERNELS / name, data)
        print(f"{len(data):8} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
