"""Clocks, temperature, power, energy, memory and throttling of a GPU, through NVML."""

from dataclasses import dataclass, field
from typing import Any

from neuroscan_edge.errors import MissingDependencyError
from neuroscan_edge.system.optional import require

# Why a clock is below what was asked for, of nvml.h (NVML_CLOCKS_EVENT_REASON_*); idle and
# settings of the user's own are no throttling.
THROTTLING = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_GRAPHICS, _MEMORY, _CELSIUS = 0, 2, 0


@dataclass(slots=True)
class GpuTelemetry:
    """One GPU watched while something runs on it.

    Parameters
    ----------
    nvml : module
        ``pynvml``.
    bus_id : str
        Which GPU, as CUDA names its place; empty takes NVML's first.
    samples : list of dict
        What was seen since the last `summary`, by `sample`.
    """

    nvml: Any
    bus_id: str = ""
    samples: list[dict[str, Any]] = field(default_factory=list)
    _handle: Any = None

    def start(self) -> None:
        """Begin."""
        self.nvml.nvmlInit()
        try:
            if self.bus_id:
                # CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER renumber GPUs for CUDA alone.
                self._handle = self.nvml.nvmlDeviceGetHandleByPciBusId(self.bus_id)
            else:
                self._handle = self.nvml.nvmlDeviceGetHandleByIndex(0)
        except self.nvml.NVMLError:
            self.stop()
            raise

    def sample(self, slices: int) -> None:
        """Look once, when so many slices are done."""
        ask = self._ask
        memory = ask("nvmlDeviceGetMemoryInfo")
        milliwatts = ask("nvmlDeviceGetPowerUsage")
        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:
            # The name before CUDA 12.2.
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        self.samples.append(
            {
                "slices": slices,
                "energy_mj": ask("nvmlDeviceGetTotalEnergyConsumption"),
                "graphics_clock_mhz": ask("nvmlDeviceGetClockInfo", _GRAPHICS),
                "memory_clock_mhz": ask("nvmlDeviceGetClockInfo", _MEMORY),
                "temperature_c": ask("nvmlDeviceGetTemperature", _CELSIUS),
                "power_w": None if milliwatts is None else milliwatts / 1000,
                "memory_used_bytes": None if memory is None else int(memory.used),
                "throttled_by": [name for bit, name in THROTTLING.items() if (reasons or 0) & bit],
            }
        )

    def stop(self) -> None:
        """End."""
        self.nvml.nvmlShutdown()

    def summary(self) -> dict[str, Any]:
        """Summarise what was seen since the last time: ranges, peak memory, throttling, energy.

        Joules a slice are those between the first and the last look, over the slices between: the
        warm-up is in neither.
        """
        summary: dict[str, Any] = {
            name: self._range(name)
            for name in ("graphics_clock_mhz", "memory_clock_mhz", "temperature_c", "power_w")
        }
        used = [each["memory_used_bytes"] for each in self.samples]
        known = [each for each in used if each is not None]
        summary["peak_memory_bytes"] = max(known, default=None)
        summary["throttled_by"] = sorted({why for s in self.samples for why in s["throttled_by"]})
        summary["joules_per_slice"] = self._joules_per_slice()
        self.samples.clear()
        return summary

    def _joules_per_slice(self) -> float | None:
        if len(self.samples) < 2:
            return None
        first, last = self.samples[0], self.samples[-1]
        slices = last["slices"] - first["slices"]
        if first["energy_mj"] is None or last["energy_mj"] is None or not slices:
            return None
        return float((last["energy_mj"] - first["energy_mj"]) / 1000 / slices)

    def _range(self, name: str) -> list[float] | None:
        values = [each[name] for each in self.samples if each[name] is not None]
        return [min(values), max(values)] if values else None

    def _ask(self, question: str, *arguments: int) -> Any:
        """Ask NVML; None where this GPU or driver has no answer."""
        function = getattr(self.nvml, question, None)
        if function is None:
            return None
        try:
            return function(self._handle, *arguments)
        except self.nvml.NVMLError:
            return None


def open_telemetry(nvml: Any = None, bus_id: str = "") -> tuple[GpuTelemetry | None, str]:
    """Return a watch over a GPU, or None and the plain reason why there is none."""
    try:
        nvml = nvml or require("pynvml", extra="bench", why="to read a GPU's clocks and power")
    except MissingDependencyError as error:
        return None, str(error)
    telemetry = GpuTelemetry(nvml, bus_id)
    try:
        telemetry.start()
    except nvml.NVMLError as error:
        return None, f"NVML does not answer ({error}): there is no NVIDIA GPU or driver to ask"
    return telemetry, ""
