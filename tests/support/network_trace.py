"""What a process asks of the network, and what it writes to the home folder.

A command runs in a home folder of its own, without any variable by which libraries could tell a
test or a user who opted out, and stays for some seconds after it is done: ONNX Runtime waits ten
before it reports. Python's own calls are seen by an audit hook in every process; those of native
code by strace.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.places import ROOT

STRACE = shutil.which("strace")
NO_STRACE = "strace is not installed: native code's use of the network is not seen"
STAYS_S = 14
LIMIT_S = 240

_AUDIT = """
import json, os, sys
EVENTS = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
          "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo", "urllib.Request")
def hook(event, arguments):
    if event not in EVENTS:
        return
    # Sockets within the machine are called by no address, or by a path.
    if not (hasattr(arguments[0], "family") and not isinstance(arguments[1], tuple)):
        shown = [repr(each) for each in arguments if not hasattr(each, "family")]
        with open(os.environ["AUDITED"], "a") as file:
            file.write(json.dumps([event, *shown]) + "\\n")
sys.addaudithook(hook)
"""
_RUN = """
import runpy, sys, time
stays = float(sys.argv.pop(1))
code = 0
try:
    runpy.run_module("neuroscan_edge", run_name="__main__", alter_sys=True)
except SystemExit as error:
    code = error.code or 0
time.sleep(stays)
sys.exit(code)
"""
# To another machine; a connection within this one has another family or stays on the loopback.
_OUTSIDE = re.compile(r"\b(?:connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_INET6?\b")
_LOOPBACK = re.compile(r'inet_addr\("127\.|"::1"|inet_pton\(AF_INET6, "::1"')
_RESOLVERS = ("/etc/resolv.conf", "/run/nscd/socket", "io.systemd.Resolve")


@dataclass(frozen=True)
class Traced:
    """What a process and those that it started did.

    Parameters
    ----------
    code : int
        It exited with.
    said : str
        On standard output and standard error.
    audited : tuple of str
        Python's calls that use the network.
    native : tuple of str
        System calls that look a name up or send something elsewhere.
    home : tuple of str
        Files in the home folder.
    """

    code: int
    said: str
    audited: tuple[str, ...]
    native: tuple[str, ...]
    home: tuple[str, ...]


class Running:
    """A traced process, started at once: several can stay at the same time.

    Parameters
    ----------
    arguments : sequence
        Of Python.
    """

    def __init__(self, *arguments: object) -> None:
        self._folder = tempfile.TemporaryDirectory()
        place = Path(self._folder.name)
        self._home, self._audited, self._native = (
            place / "home",
            place / "audited",
            place / "native",
        )
        self._home.mkdir()
        self._audited.touch()
        (place / "site").mkdir()
        (place / "site" / "sitecustomize.py").write_text(_AUDIT)
        # Filtered in the kernel: threads that wait for each other are not stopped at every call.
        trace = [STRACE, "-f", "-qq", "--seccomp-bpf", "-o", str(self._native)]
        trace += ["-e", "trace=network,open,openat"]
        self._process = subprocess.Popen(
            [*(trace if STRACE else ()), sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=place,
            start_new_session=True,
            # Nothing else: neither CI nor any variable that switches reports off.
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self._home),
                "PYTHONPATH": os.pathsep.join([str(place / "site"), str(ROOT)]),
                "AUDITED": str(self._audited),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
        )

    @classmethod
    def command(cls, *arguments: object) -> "Running":
        """Run ``neuroscan-edge`` with arguments, and stay."""
        return cls("-c", _RUN, STAYS_S, *arguments)

    @classmethod
    def program(cls, text: str) -> "Running":
        """Run a program, and stay."""
        return cls("-c", f"{text}\nimport time\ntime.sleep({STAYS_S})")

    def finished(self) -> Traced:
        """Wait for the end and return what was seen."""
        try:
            said, _ = self._process.communicate(timeout=LIMIT_S)
        finally:
            # What strace follows does not end with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with self._folder:
            audited = map(json.loads, self._audited.read_text().splitlines())
            native = self._native.read_text(errors="replace").splitlines() if STRACE else ()
            files = (path for path in self._home.rglob("*") if not path.is_dir())
            return Traced(
                self._process.returncode,
                said,
                tuple(" ".join(event) for event in audited if "::1" not in str(event)),
                tuple(filter(_is_outside, native)),
                tuple(sorted(str(path.relative_to(self._home)) for path in files)),
            )


def _is_outside(call: str) -> bool:
    if any(name in call for name in _RESOLVERS):
        return True
    return bool(_OUTSIDE.search(call)) and not _LOOPBACK.search(call)
