"""Calls in turns: their order, what counts, whose time is whose."""

from neuroscan_edge.system.timing import race


def test_all_take_their_turn_and_the_first_call_of_each_is_not_counted():
    now, order = [0], []

    def call(name, first, later):
        def run():
            now[0] += later if name in order else first
            order.append(name)

        return run

    found = race({"a": call("a", 900, 7), "b": call("b", 800, 3)}, 3, lambda: now[0])
    assert order == ["a", "b"] * 4
    assert found == {"a": [7, 7, 7], "b": [3, 3, 3]}


def test_nothing_takes_no_turn():
    assert race({}, 3) == {}
