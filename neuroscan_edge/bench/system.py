"""What is measured: a query of slices in, their results out, as MLPerf's system under test."""

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice, repeat
from pathlib import Path
from typing import Protocol

import numpy as np

from neuroscan_edge.classify.decoders import Decoders
from neuroscan_edge.classify.pipeline import AUTO_BATCH, PipelineOptions, WrapSteps, classify_files
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.runtimes.protocol import Runtime, UInt8Batch, outputs_in_turn


class Scope(str, Enum):
    """What lies between the clock's two readings."""

    PIPELINE = "pipeline"
    RUNTIME = "runtime"

    def __str__(self) -> str:
        return str(self.value)


class SampleError(NeuroScanError):
    """A scan of the benchmark could not be classified: its time would mean nothing."""


class SystemUnderTest(Protocol):
    """Answers queries over a fixed library of samples."""

    @property
    def samples(self) -> int:
        """How many samples there are."""
        ...

    @property
    def batch_size(self) -> int:
        """Slices a batch of `stream`."""
        ...

    def query(self, indices: list[int]) -> None:
        """Answer one query: the samples of these indices, all of them done on return."""
        ...

    def stream(self, indices: Iterable[int]) -> Generator[None, None, None]:
        """Answer sample after sample, in order, yielding as each is done."""
        ...


@dataclass(frozen=True, slots=True)
class FilesSystem:
    """The pipeline, from a file to its result: read, decode, preprocess, compute, post-process.

    Parameters
    ----------
    files : tuple of Path
        One readable slice each.
    bundle : Bundle
        The model.
    runtime : Runtime
        Loaded.
    workers : int
        Decoding threads.
    batch_size : int
        Slices a batch of `stream`; a query is one batch.
    wrap : callable, optional
        Given to the pipeline, to time its stages.
    decoders : Decoders or None
        Processes that decode, as in ``classify``; None decodes in this process.
    """

    files: tuple[Path, ...]
    bundle: Bundle
    runtime: Runtime
    workers: int = 2
    batch_size: int = AUTO_BATCH
    wrap: WrapSteps | None = None
    decoders: Decoders | None = None

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.files)

    def query(self, indices: list[int]) -> None:
        """Answer one query in one batch."""
        options = PipelineOptions(len(indices), min(self.workers, len(indices)))
        for _ in self._results(indices, options):
            pass

    def stream(self, indices: Iterable[int]) -> Generator[None, None, None]:
        """Answer in batches, decoding ahead."""
        return self._results(indices, PipelineOptions(self.batch_size, self.workers))

    def _results(
        self, indices: Iterable[int], options: PipelineOptions
    ) -> Generator[None, None, None]:
        files = (self.files[index] for index in indices)
        results = classify_files(
            files, self.bundle, self.runtime, options, self.wrap, self.decoders
        )
        for result in results:
            if result.probabilities is None:
                # A slice that never reaches the model would make the rest look faster.
                reason = result.error or f"rejected ({', '.join(map(str, result.findings))})"
                raise SampleError(
                    f"{result.provenance.path} cannot be measured on: {reason}; leave it out"
                )
            yield


@dataclass(frozen=True, slots=True)
class BytesSystem:
    """The bare runtime, from preprocessed bytes to probabilities.

    Parameters
    ----------
    slices : (N, H, W, 1) uint8
        Preprocessed.
    runtime : Runtime
        Loaded.
    batch_size : int
        Slices a batch of `stream`.
    """

    slices: UInt8Batch
    runtime: Runtime
    batch_size: int = AUTO_BATCH

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.slices)

    def query(self, indices: list[int]) -> None:
        """Answer one query in one call."""
        self.runtime(self.slices[indices])

    def stream(self, indices: Iterable[int]) -> Generator[None, None, None]:
        """Answer in calls of a batch each, the next begun before one is done where that helps."""
        indices = iter(indices)
        chosen = iter(lambda: list(islice(indices, self.batch_size)), [])
        batches = (np.take(self.slices, batch, axis=0) for batch in chosen)
        with contextlib.closing(outputs_in_turn(self.runtime, batches)) as outputs:
            for each in outputs:
                yield from repeat(None, len(each.probabilities))
