"""What the kernel counts about a relay: its processes are a root process and all below it.

CPU and I/O of children that have exited and been waited for are in their parent's figures, and every process of Postfix
is a child of its master; so the sum over the living tree misses nothing, without a cgroup.
"""

import os
import re
import time

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


def tree(root):
    """The living process ids: root and all its descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def _stat(pid):
    """The fields of /proc/PID/stat from the state on (proc(5) numbers that one 3), or None if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(root):
    """User and system time of the tree: utime, stime, cutime, cstime (fields 14 to 17)."""
    fields = filter(None, map(_stat, tree(root)))
    return sum(sum(map(int, field[11:15])) for field in fields) / TICK


def write_bytes(root):
    """Bytes the tree caused to be written to the block device (proc_pid_io(5): counted when a page gets dirty)."""
    return sum(int(value) for value in _lines(root, "io", r"^write_bytes: (\d+)"))


def pss_bytes(root):
    """Resident memory of the tree, shared pages divided among all that map them."""
    return sum(int(value) * 1024 for value in _lines(root, "smaps_rollup", r"^Pss:\s+(\d+)"))


def anonymous_bytes(root):
    """Of that what is no page of a file, which the kernel could drop and read again."""
    return sum(int(value) * 1024 for value in _lines(root, "smaps_rollup", r"^Pss_Anon:\s+(\d+)"))


def _lines(root, file, pattern):
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/{file}") as lines:
                yield from re.findall(pattern, lines.read(), re.M)
        except (FileNotFoundError, ProcessLookupError):
            pass


def steady_pss(root):
    """Resident memory once it has stopped moving: the same, within 16 KiB, for a second (10 s at most)."""
    end = time.monotonic() + 10
    last = pss_bytes(root)
    while time.monotonic() < end:
        time.sleep(1)
        now = pss_bytes(root)
        if abs(now - last) <= 16 * 1024:
            return now
        last = now
    return last


def wait_listening(port, alive, seconds=30):
    """Waits until something listens on the TCP port, without a connection that would be counted as a session."""
    wanted = f":{port:04X}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table) as lines:
                for line in lines:
                    fields = line.split()
                    if fields[3] == "0A" and fields[1].endswith(wanted):
                        return
        if not alive():
            break
        time.sleep(0.01)
    raise RuntimeError(f"nothing listens on port {port}")
