"""Names and places: what a folder may hold beside regular files."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from support.corpus.case import ANSWER, ERROR, REJECTED, Case
from support.corpus.hostile_dicom import dicom
from support.corpus.hostile_raster import WHOLE

ANSWERED = frozenset({ANSWER})
FAILS = frozenset({ERROR})
BESIDE_A_SCAN = frozenset({ANSWER, ERROR})
PNG = WHOLE["PNG"][1]


def place_cases() -> Iterator[Case]:
    """Yield every case."""
    for name, put, allowed in _NAMED:
        yield Case(f"{name}, by name", put, allowed)
        yield Case(f"{name}, in a folder", _in_a_folder(put), allowed | ANSWERED)
    for what, name in _NAMES.items():
        yield Case(f"name {what}", _called(name), ANSWERED)


def _in_a_folder(put: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        put(folder)
        (folder / "good.png").write_bytes(PNG)
        return folder

    return make


def _called(name: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        path.write_bytes(PNG)
        return folder

    return make


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def _socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listening:
        # The path of a socket is short.
        here = os.open(folder, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/s.dcm")
        os.close(here)
    return folder / "s.dcm"


def _link_to(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "link.png").symlink_to(target)
        return folder / "link.png"

    return make


def _folders_in_a_ring(folder: Path) -> Path:
    (folder / "a").mkdir()
    (folder / "a" / "again").symlink_to(folder)
    (folder / "a" / "good.png").write_bytes(PNG)
    return folder / "a"


def _folder_like_a_file(folder: Path) -> Path:
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "good.dcm").write_bytes(dicom())
    return folder / "folder.png"


def _deep(folder: Path) -> Path:
    place = folder
    for _ in range(150):
        place /= "deeper"
    place.mkdir(parents=True)
    (place / "good.png").write_bytes(PNG)
    return folder


def _locked(folder: Path) -> Path:
    path = folder / "locked.png"
    path.write_bytes(PNG)
    path.chmod(0)
    return path


def _sparse(name: str, size_bytes: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with (folder / name).open("wb") as file:
            file.truncate(size_bytes)
        return folder / name

    return make


_NAMED = (
    ("pipe", _pipe, FAILS),
    ("socket", _socket, FAILS),
    ("link to itself", _link_to("link.png"), FAILS),
    ("link to nothing", _link_to("nowhere.png"), FAILS),
    ("link to /dev/zero", _link_to("/dev/zero"), FAILS),
    ("link to /dev/full", _link_to("/dev/full"), FAILS),
    ("folders in a ring", _folders_in_a_ring, ANSWERED),
    ("folder called PNG", _folder_like_a_file, ANSWERED),
    ("150 folders deep", _deep, ANSWERED),
    # The superuser reads it.
    ("locked file", _locked, BESIDE_A_SCAN),
    ("sparse file of 3 GiB", _sparse("a.dcm", 3 << 30), FAILS),
    ("sparse file of 200 MiB", _sparse("a.png", 200 << 20), frozenset({ERROR, REJECTED})),
)

_NAMES = {
    "that is no UTF-8": b"\xff\xfe\x80.png",
    "with line breaks": b"a\nb\r\nc.png",
    "with escape sequences": b"\x1b[2J\x1b]0;title\x07\x1b[31mred.png",
    "that rings": b"\x07\x08\x7f.png",
    "from right to left": "\u202egnp.\u202d.png".encode(),
    "of 255 bytes": b"n" * 251 + b".png",
    "like an option": b"--help.png",
    "with percent and braces": b"%s%n{0}{path!r}$(id)`id`.png",
    "with quotes and commas": b"'\",;=cmd.png",
    "of spaces": b"   .png",
    "with markup": b"[red]<b>&amp;[bold].png",
    "in surrogates": "\U0001f9e0\u0301.png".encode(),
}
