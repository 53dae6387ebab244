"""Silence that threads may share, and that ends."""

import logging
import threading
import warnings

import pytest

from neuroscan_edge.scans.quiet import Quiet


def test_warnings_and_records_are_dropped_inside_and_only_there(caplog):
    quiet = Quiet("a.library")
    logger = logging.getLogger("a.library")
    with caplog.at_level(logging.WARNING):
        with quiet:
            warnings.warn("inside", stacklevel=1)
            logger.warning("inside")
        logger.warning("outside")
    assert [record.message for record in caplog.records] == ["outside"]
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)


def test_filters_are_as_before_when_the_last_thread_has_left():
    quiet = Quiet("another.library")
    before = list(warnings.filters)
    entered, leave_first = threading.Barrier(3), threading.Event()

    def stay(first: bool) -> None:
        with quiet:
            entered.wait(10)
            if not first:
                leave_first.wait(10)

    threads = [threading.Thread(target=stay, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    entered.wait(10)
    threads[0].join(10)
    assert warnings.filters[0][0] == "ignore", "one thread is still inside"
    leave_first.set()
    threads[1].join(10)
    assert list(warnings.filters) == before
