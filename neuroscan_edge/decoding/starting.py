"""Decoder processes where they can be had, and a word on it where they cannot."""

import contextlib
import sys

from neuroscan_edge.decoding.decoders import DecoderOptions, Decoders, DecodersNotAvailableError


def start_decoders(options: DecoderOptions, stack: contextlib.ExitStack) -> Decoders | None:
    """Start decoder processes, which end with the stack; None if there cannot be any."""
    try:
        return stack.enter_context(Decoders(options))
    except DecodersNotAvailableError as error:
        _say_why(error)
        return None


def ready_decoders(decoders: Decoders | None) -> Decoders | None:
    """Return the processes if they came up; None, and a word on it, if they did not."""
    try:
        if decoders is not None:
            decoders.wait_until_ready()
        return decoders
    except DecodersNotAvailableError as error:
        _say_why(error)
        return None


def _say_why(error: DecodersNotAvailableError) -> None:
    print(
        f"decoding in this process, since {error}: a file that crashes its decoder ends the run",
        file=sys.stderr,
    )
