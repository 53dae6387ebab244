"""All benchmarks in one go: what is run again, what is kept, what a time limit does."""

import json
import sys
from dataclasses import replace

import pytest

from support.places import ROOT

WRITES = """
import sys
place = sys.argv[sys.argv.index("--output") + 1]
open(place, "w").write(sys.argv[1])
print("measured", sys.argv[1])
"""
FAILS = WRITES + "sys.exit(3)"
HANGS = WRITES + "import time\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + HANGS


@pytest.fixture
def session_of(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    module = __import__("all")
    results = tmp_path / "results"
    results.mkdir()

    def make(bundle="one"):
        return module.Session(tmp_path / "logs", bundle, results, rest=lambda _: None)

    yield module, make, results
    sys.modules.pop("all", None)


def step(module, script, said="first", **changes):
    made = module.Step("peers", ("-c", script, said), "peers.json", 60, 1)
    return replace(made, **changes)


def test_a_whole_step_leaves_its_record_and_is_not_run_again(session_of, tmp_path, capfd):
    module, make, results = session_of
    assert make().run([step(module, WRITES)])
    assert (results / "peers.json").read_text() == "first"
    assert (tmp_path / "logs" / "peers.log").read_text() == "measured first\n"
    # Another session, as after a restart.
    assert make().run([step(module, WRITES, "second")])
    assert (results / "peers.json").read_text() == "first"
    assert "done before" in capfd.readouterr().out
    assert make().run([step(module, WRITES, "second")], again=True)
    assert (results / "peers.json").read_text() == "second"


def test_what_was_done_for_another_bundle_is_to_do(session_of):
    module, make, results = session_of
    make("one").run([step(module, WRITES)])
    assert make("one").done(step(module, WRITES))
    assert not make("two").done(step(module, WRITES))
    make("two").run([step(module, WRITES, "second")])
    assert (results / "peers.json").read_text() == "second"


def test_a_failed_step_leaves_the_earlier_record_and_the_next_one_runs(session_of, tmp_path):
    module, make, results = session_of
    (results / "peers.json").write_text("earlier")
    other = step(module, WRITES, "other", name="growth", record="growth.json")
    assert not make().run([step(module, FAILS), other])
    assert (results / "peers.json").read_text() == "earlier"
    assert (results / "growth.json").read_text() == "other"
    state = json.loads((tmp_path / "logs" / "state.json").read_text())
    assert (state["peers"]["status"], state["peers"]["exit_code"]) == ("failed", 3)
    assert not make().done(step(module, FAILS)), "it is taken up again"


@pytest.mark.parametrize("script", [HANGS, STUBBORN], ids=["ends when asked", "is ended"])
@pytest.mark.parametrize("in_parts", [True, False])
def test_a_step_over_its_limit_is_cut_short(session_of, tmp_path, monkeypatch, script, in_parts):
    module, make, results = session_of
    monkeypatch.setattr(module, "ENDS_WITHIN_S", 0.5)
    (results / "peers.json").write_text("earlier")
    assert not make().run([step(module, script, limit_s=2.0, in_parts=in_parts)])
    assert (results / "peers.json").read_text() == ("first" if in_parts else "earlier")
    state = json.loads((tmp_path / "logs" / "state.json").read_text())
    assert state["peers"]["status"] == "cut short"


def test_what_cannot_run_here_is_no_failure(session_of, capfd):
    module, make, results = session_of
    assert make().run([step(module, WRITES, absent="no GPU")])
    assert "peers: absent, no GPU" in capfd.readouterr().out
    assert not (results / "peers.json").exists()


def test_the_plan_says_what_is_left_and_for_how_long(session_of):
    module, make, _ = session_of
    make().run([step(module, WRITES)])
    other = step(module, WRITES, name="growth", expected_s=240.0)
    absent = replace(other, name="gpu", absent="no GPU")
    lines = make().plan([step(module, WRITES), other, absent])
    assert "done in" in lines[0]
    assert lines[1].endswith("to do") and "about 4.0 min" in lines[1]
    assert lines[2].endswith("absent: no GPU")
    assert lines[3] == "left: about 4 min"


def test_tuning_starts_anew_and_the_wait_for_quiet_ends(session_of, tmp_path, monkeypatch, capfd):
    module, make, results = session_of
    script = WRITES.replace("sys.argv[1])", "__import__('os').environ['XDG_CACHE_HOME'])", 1)
    monkeypatch.setattr(module, "load_average", lambda: 9.0)
    now = [0.0]
    session = make()
    session.clock = lambda: now[0]
    session.rest = lambda seconds: now.__setitem__(0, now[0] + seconds)
    session.run([step(module, script)], wait_s=12.0)
    assert (results / "peers.json").read_text() == str(tmp_path / "logs" / "cache")
    assert now[0] == 15.0
    assert "the machine is not quiet" in capfd.readouterr().out


def test_every_step_is_a_script_with_the_options_that_it_takes(session_of, tmp_path, monkeypatch):
    module, _, _ = session_of
    found = module.steps(tmp_path / "data", tmp_path / "model.keras", rate=140.0)
    assert len({each.name for each in found}) == len({each.record for each in found}) == len(found)
    for each in found:
        assert each.expected_s < each.limit_s
        text = (ROOT / each.command[0]).read_text()
        for option in (word for word in each.command if word.startswith("--")):
            assert f'"{option}"' in text, f"{each.command[0]} has no {option}"
        assert not each.record or '"--output"' in text
