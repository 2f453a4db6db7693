"""How much memory a part of the stack takes."""

import psutil


def resident_mib(pid: int, parts: set[int]) -> float | None:
    """Resident memory of a process, with what its descendants do not share with it, MiB.

    Args:
        pid: the process.
        parts: those that are counted by themselves, though they may descend from this one.
    """
    try:
        process = psutil.Process(pid)
        return round((process.memory_info().rss + _unshared(process, parts)) / 2**20, 1)
    except psutil.Error:
        return None


def _unshared(process: psutil.Process, parts: set[int]) -> int:
    return sum(
        child.memory_full_info().uss + _unshared(child, parts)
        for child in process.children()
        if child.pid not in parts
    )
