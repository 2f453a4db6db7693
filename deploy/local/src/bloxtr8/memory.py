"""How much memory a part of the stack takes."""

import psutil


def resident_mib(pid: int, others: set[int]) -> float | None:
    """Resident memory of a process, with what its descendants do not share with it, MiB.

    Args:
        pid: the process.
        others: those that are counted by themselves, though they may descend from this one.
    """
    apart = set(others)
    unshared = 0
    try:
        process = psutil.Process(pid)
        for child in process.children(recursive=True):  # a parent before its children
            if child.pid in apart or child.ppid() in apart:
                apart.add(child.pid)
            else:
                unshared += child.memory_full_info().uss
        return round((process.memory_info().rss + unshared) / 2**20, 1)
    except psutil.Error:
        return None
