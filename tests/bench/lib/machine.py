"""What the kernel tells of a process, and what this machine is."""

import hashlib
import os
import platform
import re
import subprocess
import time
from pathlib import Path


def cpu_seconds(pid):
    """User and system time of all threads of a process, those that have ended included.

    The process's CPU-time clock, clock_getcpuclockid(3): the sum that /proc/PID/stat has as utime + stime, but in
    nanoseconds instead of hundredths of a second.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def rss_kb(pid):
    """Resident memory; the sum over its mappings, which is exact."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1))


def anonymous_kb(pid):
    """The part of it that is no file: heap, stacks, what was written to."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.M).group(1))


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def connections_by_loop(pid, port):
    """How many accepted connections each event loop of a process watches: what its epoll descriptors hold."""
    accepted = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        field = line.split()
        if int(field[1].rpartition(":")[2], 16) == port and field[3] == "01":
            accepted.add(field[9])
    links = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links[entry.name] = os.readlink(entry)
        except FileNotFoundError:
            continue
    counts = []
    for name, link in links.items():
        if link != "anon_inode:[eventpoll]":
            continue
        watched = re.findall(r"^tfd:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{name}").read_text(), re.M)
        sockets = [re.fullmatch(r"socket:\[(\d+)\]", links.get(fd, "")) for fd in watched]
        counts.append(sum(1 for found in sockets if found and found.group(1) in accepted))
    return sorted(counts, reverse=True)


def busy_seconds():
    """(busy, stolen, all) seconds of all processors since the start. What the hypervisor took away, stolen, is busy, too."""
    field = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    ticks = os.sysconf("SC_CLK_TCK")
    return (sum(field) - field[3] - field[4]) / ticks, field[7] / ticks, sum(field) / ticks


def hash_rate():
    """MB that OpenSSL's SHA-256 takes in within a second of one processor's time. It is the same work each time: what differs
    is how fast the processor is, which a virtual machine's host shares among its guests."""
    block = bytes(1 << 20)
    digest = hashlib.sha256()
    begin = time.thread_time()
    for _ in range(64):
        digest.update(block)
    return 64 * len(block) / 1e6 / (time.thread_time() - begin)


def _first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        return "not there"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"


def _package(name):
    return _first_line("dpkg-query", "-W", "-f", "${Version}", name)


def describe(binary):
    """Processor, kernel and versions, for the report."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpuinfo, re.M)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "virtual": bool(flags and " hypervisor" in flags.group(1)),
        "kernel": platform.release(),
        "versions": {
            "draft-thinker": _first_line(binary, "--version").replace("draft-thinker ", ""),
            "haproxy": re.sub(r"^HAProxy version (\S+).*", r"\1", _first_line("haproxy", "-v")),
            "nginx": _first_line("nginx", "-v").rpartition("/")[2],
            "gcc": _first_line("gcc", "-dumpfullversion"),
            "libevent": _package("libevent-2.1-7"),
            "libcurl": _package("libcurl4"),
            "glibc": _package("libc6"),
        },
    }
