"""Every error the package raises on purpose.

Each message says what was found, what was wanted, and what to do next. The command line turns a
`NeuroScanError` into one line on standard error and the class's `exit_code`; anything else is a bug
and keeps its traceback.
"""

EXIT_INCOMPLETE = 1
EXIT_USAGE = 2
EXIT_CANNOT_CERTIFY = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class NeuroScanError(Exception):
    """Base of all deliberate errors."""

    exit_code = EXIT_INCOMPLETE


class UsageError(NeuroScanError):
    """The request itself cannot be carried out: a missing path, nothing to classify."""

    exit_code = EXIT_USAGE


class SpecError(NeuroScanError, ValueError):
    """A value type was given parameters outside its domain."""

    exit_code = EXIT_USAGE


class MissingDependencyError(NeuroScanError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = EXIT_USAGE


class ScanError(NeuroScanError):
    """One input file or frame cannot be classified; `kind` is the stable word used in results."""

    kind = "unreadable"


class UnsupportedScanError(ScanError):
    """The file is intact but of a format or variant that is not handled."""

    kind = "unsupported"


class CorruptScanError(ScanError):
    """The file is damaged, truncated or empty."""

    kind = "corrupt"


class ScanTooLargeError(ScanError):
    """The file or its declared image size exceeds the limits, checked before allocation."""

    kind = "too-large"


class RejectedScanError(ScanError):
    """The file is sound, but no slice that could be classified.

    Parameters
    ----------
    finding : str
        A `neuroscan_edge.spec.Finding` that rejects.
    message : str
        What was found.
    """

    kind = "rejected"

    def __init__(self, finding: str, message: str) -> None:
        super().__init__(message)
        self.finding = finding


class BundleError(NeuroScanError):
    """The bundle folder is not usable."""

    exit_code = EXIT_USAGE


class BundleIntegrityError(BundleError):
    """A bundle file is missing or its bytes differ from those recorded in model.json."""


class BundleVersionError(BundleError):
    """The bundle was written with a newer schema than this version understands."""


class PrecisionNotAvailableError(BundleError):
    """The bundle holds no graph of the precision asked for."""


class RuntimeNotAvailableError(NeuroScanError):
    """The inference runtime cannot run this graph here."""

    exit_code = EXIT_USAGE


class DevicePreprocessingError(RuntimeNotAvailableError):
    """The GPU cannot preprocess here; the CPU can, with the same result."""


class DeviceMemoryError(DevicePreprocessingError):
    """The GPU has too little free memory to preprocess a batch."""


class KernelNotAvailableError(DevicePreprocessingError):
    """No shipped kernel loads on this GPU, or the shipped ones are damaged."""


class EngineError(NeuroScanError):
    """A built engine cannot be used here: what was found, what was wanted, what fixes it.

    Parameters
    ----------
    what : str
        The engine, as the user knows it.
    found, wanted : str
        Both sides of the mismatch.
    fix : str
        The command, or the step, that ends it.
    """

    exit_code = EXIT_USAGE

    def __init__(self, what: str, *, found: str, wanted: str, fix: str) -> None:
        super().__init__(f"{what}: found {found}, wanted {wanted}; {fix}")
        self.found = found
        self.wanted = wanted
        self.fix = fix


class EngineMissingError(EngineError):
    """There is no engine, or no manifest beside it."""


class EngineSchemaError(EngineError):
    """The manifest is malformed, or newer than this version reads."""


class EngineIntegrityError(EngineError):
    """The engine's bytes are not those that its manifest records."""


class EngineFlavourError(EngineError):
    """The engine belongs to another runtime."""


class EngineVersionError(EngineError):
    """The engine was built by another version of its runtime."""


class EnginePlatformError(EngineError):
    """The engine was built for another operating system or CPU architecture."""


class EngineGpuError(EngineError):
    """The engine was built for another GPU, or there is none."""


class EngineDriverError(EngineError):
    """The NVIDIA driver is too old for the CUDA that the engine was built with."""


class EngineContractError(EngineError):
    """The engine was made for other labels, preprocessing, tensors or another graph."""


class EngineBatchError(EngineContractError):
    """The batch asked for lies outside the engine's profile."""


class EngineLoadError(EngineError):
    """The runtime refused an engine that passed every check of ours."""


class BuildError(NeuroScanError):
    """The runtime's builder refused the graph or the request."""


class LayerPrecisionError(BuildError):
    """The built engine runs fewer layers in INT8 than the graph plans."""


class ExportError(NeuroScanError):
    """The Keras model cannot be exported, or the exported graph disagrees with it."""


class CalibrationError(NeuroScanError):
    """Calibration cannot be done, or a table does not belong to the graph it is used with."""


class DatasetError(NeuroScanError):
    """A labelled data set is not laid out or not readable as needed."""

    exit_code = EXIT_USAGE


class ParityError(NeuroScanError):
    """Engine and baseline cannot be compared: another model's baseline, overlapping data."""

    exit_code = EXIT_USAGE


class CertificateError(NeuroScanError):
    """A certificate is missing, altered or malformed, or is of something else than what runs."""

    exit_code = EXIT_USAGE


class OutputError(NeuroScanError):
    """Results cannot be written; nothing half-written was left under the final name."""
