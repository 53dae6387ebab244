"""NVML's Python binding as the package uses it, without a GPU."""

from types import SimpleNamespace


class NVMLError(Exception):
    """As pynvml.NVMLError."""


class FakeNvml:
    """Stands for the module ``pynvml``: one GPU, whose answers are told beforehand.

    Parameters
    ----------
    watts : list of float
        Of each look.
    reasons : int
        Why clocks are low, a bit mask.
    counts_energy : bool
        Whether it has an energy counter: 2 J for each look.
    present : bool
        Whether there is a GPU at all.
    old_names : bool
        Whether it is of before CUDA 12.2, with the older name for the reasons.
    """

    NVMLError = NVMLError

    def __init__(self, watts=(100.0, 250.0), reasons=0, counts_energy=True, present=True,
                 old_names=False):  # fmt: skip
        self.watts, self.reasons, self.present = list(watts), reasons, present
        self.counts_energy = counts_energy
        self.looks = 0
        self.open = 0
        if old_names:
            self.nvmlDeviceGetCurrentClocksThrottleReasons = self._reasons
        else:
            self.nvmlDeviceGetCurrentClocksEventReasons = self._reasons

    def nvmlInit(self):  # noqa: N802
        if not self.present:
            raise NVMLError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, ordinal):  # noqa: N802
        self.watched = ordinal
        return ordinal

    def nvmlDeviceGetHandleByPciBusId(self, bus_id):  # noqa: N802
        if bus_id == "0000:00:00.0":
            raise NVMLError("Not Found")
        self.watched = bus_id
        return bus_id

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if not self.counts_energy:
            raise NVMLError("Not Supported")
        return 5000 + 2000 * self.looks

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(used=1_000_000 * (self.looks + 1))

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        watts = self.watts[self.looks % len(self.watts)]
        self.looks += 1
        return round(1000 * watts)

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        return {0: 1410, 2: 1593}[kind]

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        return 61

    def _reasons(self, handle):
        return self.reasons
