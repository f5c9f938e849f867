"""What somebody without rights tries in a machine. The order is JSON on
standard input, the answer JSON on standard output. Marks in the order are
written backwards, so that the order itself holds none."""
import ctypes
import glob
import json
import os
import re
import select
import socket
import subprocess
import sys
import time

order = json.load(sys.stdin)
marks = [m[::-1].encode() for m in order.get("marks", [])]
KEY = re.compile(rb"BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/]{40}")
LIBC = ctypes.CDLL(None, use_errno=True)
answer = {"uid": os.getuid(), "hits": [], "read": 0, "worked": [], "refused": 0, "out": ""}


def search(where, data):
    answer["read"] += 1
    for i, m in enumerate(marks):
        if m in data or m.hex().encode() in data.lower():
            answer["hits"].append(f"mark {i} in {where}")
    if KEY.search(data):
        answer["hits"].append(f"a private key in {where}")


def read(path, limit=4 << 20):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            data = os.read(fd, limit)
        finally:
            os.close(fd)
        search(path, data)
        return data
    except OSError:
        answer["refused"] += 1
        return None


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    try:
        s.connect(path)
        answer["worked"].append(f"connected to {path}")
    except OSError:
        answer["refused"] += 1
    finally:
        s.close()


def walk(*roots):
    """All files that can be found, and all sockets that are the agent's."""
    for root in roots:
        for where, dirs, names in os.walk(root):
            for n in names:
                p = os.path.join(where, n)
                try:
                    mode = os.lstat(p).st_mode
                except OSError:
                    continue
                if mode & 0o170000 == 0o100000:
                    read(p)
                elif mode & 0o170000 == 0o140000 and "scarab" in p:
                    connect(p)


def process(pid):
    """All that the kernel may tell of a process. What its inodes say of its
    owner tells whether it is dumpable."""
    for name in ("environ", "mem", "maps", "auxv", "stack", "io", "smaps", "pagemap", "syscall"):
        if read(f"/proc/{pid}/{name}") is not None:
            answer["worked"].append(f"read {name} of process {pid}")
    read(f"/proc/{pid}/cmdline")
    try:
        answer["worked"].append(f"listed descriptors of process {pid}: {os.listdir(f'/proc/{pid}/fd')}")
    except OSError:
        answer["refused"] += 1
    for link in ("cwd", "exe", "root"):
        try:
            os.readlink(f"/proc/{pid}/{link}")
            answer["worked"].append(f"read {link} of process {pid}")
        except OSError:
            answer["refused"] += 1
    attach(pid)


def attach(pid):
    if LIBC.ptrace(16, int(pid), 0, 0) == 0:  # PTRACE_ATTACH
        answer["worked"].append(f"attached to process {pid}")
        os.waitpid(int(pid), 0)
        LIBC.ptrace(17, int(pid), 0, 0)
    else:
        answer["refused"] += 1


def undumpable(pid):
    """Root that may do all that the agent may, but not trace: then only its
    being undumpable keeps a process from being read. A process of our own,
    which is dumpable, shows that the method works."""
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    caps = (ctypes.c_uint32 * 6)()
    LIBC.capget(head, caps)
    caps[0] &= ~(1 << 19)  # effective CAP_SYS_PTRACE
    if LIBC.capset(head, caps) != 0:
        raise OSError("cannot give up a capability")
    child = subprocess.Popen(["sleep", "20"])
    ours = LIBC.ptrace(16, child.pid, 0, 0)
    child.kill()
    child.wait()
    if ours != 0:
        raise OSError("cannot attach even to a process of its own")
    attach(pid)


def tools():
    """Every tool with every environment of the order."""
    for env in order["environments"]:
        for name in order["tools"]:
            p = subprocess.run([os.path.join(order["dir"], name), *order.get("args", [])], env=env, stdin=subprocess.DEVNULL,
                               capture_output=True, timeout=20)
            search(f"the answer of {name}", p.stdout + p.stderr)
            if p.returncode == 0:
                answer["worked"].append(f"{name} said {p.stdout[:80]!r}")
            else:
                answer["refused"] += 1


def sniff(seconds, stop):
    """Looks at all processes and at changes in shared folders until a file is there."""
    fd = LIBC.inotify_init1(os.O_NONBLOCK)
    for d in order["watch"]:
        LIBC.inotify_add_watch(fd, d.encode(), 0x100 | 0x2 | 0x80 | 0x20 | 0x8)
    seen, tried, end = set(), set(), time.monotonic() + seconds
    own = str(os.getpid())
    while time.monotonic() < end and not os.path.exists(stop):
        for pid in os.listdir("/proc"):
            if not pid.isdigit() or pid == own:
                continue
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as f:
                        seen.add(f.read(65536))
                except OSError:
                    answer["refused"] += 1
            if pid not in tried:
                tried.add(pid)
                attach(pid)
        if select.select([fd], [], [], 0)[0]:
            events = os.read(fd, 65536)
            seen.add(events)
            for d in order["watch"]:
                for n in glob.glob(d + "/**", recursive=True):
                    if os.path.isfile(n) and n != stop:
                        read(n)
    for s in seen:
        search("a process", s)
    answer["seen"], answer["tried"] = len(seen), len(tried)
    answer["out"] = b"\n".join(seen).decode("latin-1")


for do, args in order["do"]:
    globals()[do](*args)
print(json.dumps(answer))
