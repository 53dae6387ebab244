"""Which machine a record is of, and whether several are of one."""

from typing import Any


def same_machine(peers: dict[str, Any], **others: dict[str, Any]) -> None:
    """Refuse to show figures of several machines as one's.

    Raises
    ------
    SystemExit
        If a record is of another machine than the peers'.
    """
    for label, content in others.items():
        if not is_one_machine(peers, content):
            raise SystemExit(
                f"the records of peers and {label} are of different machines "
                f"({described(peers['machine'])}; {described(content['machine'])}); measure both "
                "on one"
            )


def is_one_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are of the same machine, by all that is known of it."""
    return all(
        one["machine"][name] == other["machine"][name]
        for name in ("cpu", "instruction_sets", "cores")
    )


def described(machine: dict[str, Any]) -> str:
    """Return a machine in a line."""
    sets = ", ".join(machine["instruction_sets"]) or "no instruction set of note"
    memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB"
    return f"{machine['cpu']}, {machine['cores']} cores ({sets}), {memory}"


def machine_line(peers: dict[str, Any]) -> str:
    """Say on what, when, how often."""
    versions = peers["software"]
    names = ("onnxruntime", "openvino", "tensorflow", "keras")
    told = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    return (
        f"{described(peers['machine'])}; "
        f"{told}; {peers['images']} scans, {peers['rounds']} turns, {peers['created'][:10]}; "
        f"load average {peers['load_average_before']:.1f} before, "
        f"{peers['load_average_after']:.1f} after (this process' own share included)."
    )


def processor(machine: dict[str, Any]) -> str:
    """Return a processor's name and what matters most of it to INT8."""
    vnni = any("vnni" in each for each in machine["instruction_sets"])
    return f"{machine['cpu']}, {'with' if vnni else 'without'} VNNI"
