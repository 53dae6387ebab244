"""Preprocessing on the GPU: microseconds a slice, bandwidth, the ratio to OpenCV on all cores.

    python benchmarks/preprocessing.py --output RECORD.json            # on a machine with a GPU
    python benchmarks/preprocessing.py --engine ENGINE --model BUNDLE  # and the share of a batch
    python benchmarks/preprocessing.py --count                         # without one: only counts

Kernels are timed by CUDA events around many launches in a row on one stream, uploads by events
around the copy, end to end by the host's clock from slices in memory to bytes in memory. OpenCV has
one thread a core, on the same slices in the same run. `--count` runs nothing: it counts bytes and
operations, and divides bytes by a bandwidth, which is the least time that such a GPU could take.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from neuroscan_edge.preprocess.kernel_binaries import KERNELS, MANIFEST
from neuroscan_edge.preprocess.launch_geometry import Geometry
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.packing import SLICE, packed_bytes
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.gpu_probe import probe_gpus
from neuroscan_edge.system.machine import this_machine

SOURCES = ((240, 240), (512, 512))
BATCHES = (1, 8, 64)
LAUNCHES = 200
ROUNDS = 15
PATCH = 32
# Of the data sheets, in GB/s: what no kernel exceeds.
MEMORY_GB_S = {"T4": 320, "L4": 300, "RTX A4000": 448, "A100 80GB": 2039, "H100 SXM": 3352}
PCIE_4_X16_GB_S = 31.5


def main() -> None:
    """Measure, or count, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", action="store_true", help="count only; needs no GPU")
    parser.add_argument("--engine", type=Path, help="FP16 engine to compare with")
    parser.add_argument("--model", help="its bundle; default: the shipped one")
    parser.add_argument("--output", type=Path, help="write the record here as JSON")
    options = parser.parse_args()
    spec = Preprocessing()
    record: dict[str, Any] = {"specification": spec.to_json()}
    if options.count:
        record["counted, not measured"] = {
            f"{height}x{width}": counted(spec, height, width) for height, width in SOURCES
        }
        record["compiler"] = compiled()
    else:
        found = probe_gpus()
        if not found.gpus:
            raise SystemExit(
                f"there is no GPU to measure here ({found.reason}); give --count for what can be "
                "counted without one"
            )
        machine = this_machine()
        record["gpu"], record["cpu"] = found.gpus[0].name, machine.cpu
        record["driver"], record["cores"] = found.driver, len(os.sched_getaffinity(0))
        record["measured"] = [
            measured(spec, shape, batch) for shape in SOURCES for batch in BATCHES
        ]
        if options.engine:
            record["engine"] = share_of_engine(options.model, options.engine)
    text = json.dumps(record, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def counted(spec: Preprocessing, height: int, width: int) -> dict[str, Any]:
    """Bytes moved and operations done for one slice, and the least time that the bytes take."""
    geometry = Geometry(spec)
    plane, tables = geometry.plane_bytes, geometry.scratch_bytes(1)
    read = {"source": height * width, "resized": plane, "tables": tables}
    written = {"resized": plane, "tables": tables, "output": plane}
    total = sum(read.values()) + sum(written.values())
    patches = -(-geometry.tile_height // PATCH) * -(-geometry.tile_width // PATCH)
    taps = geometry.tiles * patches * 2 * PATCH
    upload = height * width + SLICE.itemsize
    return {
        "device_memory_bytes": {"read": read, "written": written, "total": total},
        "upload_bytes": upload,
        "double_operations": 3 * taps,
        "integer_multiplications": 6 * plane,
        "shared_memory_atomics": plane,
        "table_look_ups": 4 * plane,
        # A pixel's blend, its column's place, and once in four its row's.
        "float_operations": (9 + 4) * plane + plane + 2 * geometry.tiles * 256,
        "estimated_floor_us": {
            name: round(total / (rate * 1e3), 3) for name, rate in MEMORY_GB_S.items()
        },
        "estimated_upload_floor_us_pcie_4_x16": round(upload / (PCIE_4_X16_GB_S * 1e3), 2),
    }


def compiled() -> dict[str, Any]:
    """Quote the compiler on registers, shared memory and spills."""
    manifest = json.loads((KERNELS / MANIFEST).read_text())
    cubins = [each for each in manifest["binaries"] if each["form"] == "cubin"]
    kernels = {each["compute_capability"]: each["kernels"] for each in cubins}
    return {"compiler": manifest["compiler"], "kernels": kernels}


def slices_of(shape: tuple[int, int], count: int) -> list[np.ndarray]:
    """Textured discs on black, as slices of a head are."""
    rng = np.random.default_rng(0)
    down, across = (np.linspace(-1, 1, side) for side in shape)
    disc = np.hypot(down[:, None], across[None, :]) < 0.7
    return [
        np.where(disc, rng.integers(60, 200, shape, np.uint8), 0).astype(np.uint8)
        for _ in range(count)
    ]


def measured(spec: Preprocessing, shape: tuple[int, int], batch: int) -> dict[str, Any]:
    """Time one size of slice and batch on the GPU, and OpenCV beside it."""
    from neuroscan_edge.preprocess.cuda import CudaPreprocessor
    from neuroscan_edge.preprocess.cuda_batches import CudaBatches
    from neuroscan_edge.system.cuda.buffers import StagingBuffer
    from neuroscan_edge.system.cuda.context import Device, load_driver

    driver = load_driver("gpu")
    slices = slices_of(shape, batch)
    device = Device(driver)
    with device.current():
        kernels_us, upload_us = parts_us(
            driver, CudaPreprocessor(device, spec, batch), StagingBuffer(driver), slices
        )
    device.release()
    cpu = CpuPreprocessor(spec)
    with CudaBatches(Device(driver), spec, batch) as preprocess:
        found, right = preprocess(slices), np.stack([cpu(each) for each in slices])[..., None]
        mismatches = int(np.count_nonzero(found != right))
        whole_us = on_host_us(lambda: preprocess(slices))
    opencv_us = opencv_on_all_cores_us(cpu, slices)
    bytes_a_slice = counted(spec, *shape)["device_memory_bytes"]["total"]
    return {
        "source": f"{shape[0]}x{shape[1]}",
        "batch": batch,
        "mismatches": mismatches,
        "kernels_us_a_slice": spread(kernels_us, batch),
        "upload_us_a_slice": spread(upload_us, batch),
        "memory_to_memory_us_a_slice": spread(whole_us, batch),
        "bandwidth_gb_s": bytes_a_slice * batch / statistics.median(kernels_us) / 1e3,
        "opencv_all_cores_us_a_slice": spread(opencv_us, batch),
        "opencv / gpu, memory to memory": statistics.median(opencv_us)
        / statistics.median(whole_us),
        "opencv / kernels": statistics.median(opencv_us) / statistics.median(kernels_us),
    }


def parts_us(
    driver: Any, preprocessor: Any, staging: Any, slices: list[np.ndarray]
) -> tuple[list[float], list[float]]:
    """Microseconds of a batch's kernels, and of its upload."""
    stream, count = driver.Stream(), len(slices)
    output = driver.mem_alloc(preprocessor.output_bytes(count))
    preprocessor.upload(slices, staging, stream)
    packed = staging.host[: packed_bytes(slices)]
    kernels_us = on_device_us(
        driver, stream, lambda: preprocessor.launch(count, staging, int(output), stream)
    )
    upload_us = on_device_us(
        driver, stream, lambda: driver.memcpy_htod_async(staging.device, packed, stream)
    )
    for each in (output, staging, preprocessor):
        each.free()
    return kernels_us, upload_us


def on_device_us(driver: Any, stream: Any, enqueue: Callable[[], None]) -> list[float]:
    """Microseconds of one call on the device, by rounds of many; the first round is not counted."""
    found = []
    for _ in range(ROUNDS + 1):
        start, end = driver.Event(), driver.Event()
        start.record(stream)
        for _ in range(LAUNCHES):
            enqueue()
        end.record(stream)
        end.synchronize()
        found.append(start.time_till(end) * 1e3 / LAUNCHES)
    return found[1:]


def on_host_us(step: Callable[[], object], repeats: int = 20) -> list[float]:
    """Microseconds of one call by the host's clock; the first round is not counted."""
    found = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        for _ in range(repeats):
            step()
        found.append((time.perf_counter() - started) * 1e6 / repeats)
    return found[1:]


def opencv_on_all_cores_us(cpu: CpuPreprocessor, slices: list[np.ndarray]) -> list[float]:
    """Microseconds of a batch with one thread a core, each slice in one thread."""
    import cv2

    cv2.setNumThreads(1)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return on_host_us(lambda: list(pool.map(cpu, slices)))


def spread(times_us: list[float], batch: int) -> dict[str, float]:
    """Median and range of a slice's part."""
    each = [value / batch for value in times_us]
    return {"median": statistics.median(each), "min": min(each), "max": max(each)}


def share_of_engine(model: str | None, folder: Path) -> dict[str, Any]:
    """Time what preprocessing adds to batches of an engine, raw and preprocessed in turns."""
    from neuroscan_edge.model.bundle import find_bundle, open_bundle
    from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
    from neuroscan_edge.spec import PreprocessOn

    bundle = open_bundle(find_bundle(model))
    cpu = CpuPreprocessor(bundle.preprocessing)
    record: dict[str, Any] = {}
    options = RuntimeOptions(engine=folder, preprocess=PreprocessOn.CUDA)
    with open_runtime(bundle, options) as runtime:
        record["runtime"] = f"{runtime.info.runtime} {runtime.info.version}"
        record["precision"] = str(runtime.info.precision)
        for shape in SOURCES:
            for batch in BATCHES:
                slices = slices_of(shape, batch)
                ready = np.stack([cpu(each) for each in slices])[..., None]
                raw_us = on_host_us(lambda slices=slices: runtime.run_raw(slices))
                ready_us = on_host_us(lambda ready=ready: runtime(ready))
                raw, alone = statistics.median(raw_us), statistics.median(ready_us)
                record[f"{shape[0]}x{shape[1]}, batch {batch}"] = {
                    "raw_us": spread(raw_us, 1),
                    "preprocessed_us": spread(ready_us, 1),
                    "share_of_preprocessing": 1 - alone / raw,
                }
    return record


if __name__ == "__main__":
    sys.exit(main())
