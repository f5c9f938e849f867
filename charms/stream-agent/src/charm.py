#!/usr/bin/env python3
"""A NATS client as a charm.

Every hook looks at the whole situation: is there a certificate, is there a
server, does the daemon run with both. Which of the relations comes first does
not matter.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
CHARM = pathlib.Path(os.path.realpath(__file__)).parent.parent
sys.path.insert(0, str(CHARM / "lib"))

import certs  # noqa: E402
import hooktools as ht  # noqa: E402

ROOT = pathlib.Path(os.environ.get("CHARM_ROOT", "/"))
ETC = ROOT / "etc/stream-agent"
SETTINGS = ETC / "settings.json"
STATUS = ROOT / "run/stream-agent/status.json"
SERVICE = "stream-agent.service"
USER = "stream-agent"
UNIT = os.environ["JUJU_UNIT_NAME"]


def main(name):
    if name in ("install", "upgrade-charm"):
        install()
        if name == "install":
            ht.status("waiting", "waiting for configuration")
            return
    store = certs.Store(ETC / "tls", USER)
    if name in ("stop", "remove"):  # to look at the situation would wait for servers that go too
        halt()
        return
    if name == "certificates-relation-broken":
        store.forget()
    reconcile(store)


def run(*args, check=True, quiet=False):
    """Run a program. What it complains of is logged, unless that is expected (quiet)."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", HOME="/root")
    complaints = subprocess.DEVNULL if quiet else None
    return subprocess.run(args, env=env, stdin=subprocess.DEVNULL, stderr=complaints, check=check)


def install():
    ht.status("maintenance", "installing the agent")
    if run("openssl", "version", check=False).returncode:
        cmd = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "openssl"]
        if run(*cmd, check=False, quiet=True).returncode:  # a fresh machine has no lists
            run("apt-get", "update", "-o", "DPkg::Lock::Timeout=300")
            run(*cmd)
    if run("id", "-u", USER, check=False, quiet=True).returncode:
        run("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", USER)
    place("files/streamd.py", "usr/local/lib/stream-agent/streamd.py", 0o755)
    place("files/streamlib.py", "usr/local/lib/stream-agent/streamlib.py", 0o644)
    place("lib/natsclient.py", "usr/local/lib/stream-agent/natsclient.py", 0o644)
    place("files/stream-send", "usr/local/bin/stream-send", 0o755)
    place("files/stream-received", "usr/local/bin/stream-received", 0o755)
    place("files/stream-agent.service", "etc/systemd/system/stream-agent.service", 0o644)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--quiet", SERVICE)
    # A running daemon of an earlier version gives way to the new one.
    run("systemctl", "try-restart", SERVICE)
    ht.set_version("1.0")


def place(source, target, mode):
    path = ROOT / target
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    tmp = path.with_name(path.name + ".new")
    shutil.copyfile(CHARM / source, tmp)
    tmp.chmod(mode)
    os.replace(tmp, path)


def reconcile(store):
    cfg = ht.config()
    subject = cfg.get("subject", "")
    if not subject or not all(p and p.replace("-", "").replace("_", "").isalnum() for p in subject.split(".")):
        ht.status("blocked", "subject must be words of letters, digits, - and _, joined by dots")
        return
    waiting, renewed = None, False
    try:
        renewed = store.obtain()
    except certs.Waiting as w:
        waiting = w
    if not store.ready():
        halt()
        ht.status(waiting.status, str(waiting))
        return
    servers, problem = find_servers()
    if problem:
        halt()
        ht.status(*problem)
        return
    mark = apply(servers, subject, renewed)
    problem = wait_connected(mark, 15)
    if problem:
        ht.status("waiting", f"not connected: {problem}")
        return
    send_configured(cfg)
    if waiting:
        ht.status(waiting.status, str(waiting))
        return
    server = json.loads(STATUS.read_text(encoding="utf-8")).get("server", "")
    ht.status("active", f"connected to {server}")


def find_servers():
    relations = ht.relation_ids("nats")
    if not relations:
        return [], ("blocked", "needs a relation to a NATS server (nats)")
    found = []
    for unit in ht.relation_units(relations[0]):
        bag = ht.relation_get(relations[0], unit)
        if bag.get("address") and bag.get("port", "").isdigit():
            found.append([bag["address"], int(bag["port"])])
    if not found:
        return [], ("waiting", "waiting for the NATS server to be ready")
    # Units begin at different servers, and know the others.
    start = int(UNIT.split("/")[1]) % len(found)
    found.sort()
    return found[start:] + found[:start], None


def apply(servers, subject, renewed):
    """Write the daemon's settings and bring it into step; gives their mark."""
    conf = {"unit": UNIT, "subject": subject, "servers": servers}
    mark = hashlib.sha256(json.dumps(conf, sort_keys=True).encode()).hexdigest()[:16]
    text = json.dumps(dict(conf, mark=mark), sort_keys=True)
    changed = not SETTINGS.exists() or SETTINGS.read_text(encoding="utf-8") != text
    if changed:
        tmp = SETTINGS.with_name("settings.new")
        tmp.write_text(text, encoding="utf-8")
        tmp.chmod(0o644)
        os.replace(tmp, SETTINGS)
    if run("systemctl", "is-active", "--quiet", SERVICE, check=False).returncode:
        run("systemctl", "start", SERVICE)
    elif changed or renewed:
        run("systemctl", "restart", SERVICE)
    return mark


def halt():
    SETTINGS.unlink(missing_ok=True)
    run("systemctl", "stop", SERVICE, check=False)


def wait_connected(mark, patience):
    """None once the daemon is connected with these settings, else why not."""
    end = time.monotonic() + patience
    while True:
        problem = "the agent does not run"
        try:
            fresh = time.time() - STATUS.stat().st_mtime < 20
            status = json.loads(STATUS.read_text(encoding="utf-8"))
            if fresh and status.get("connected") and status.get("settings") == mark:
                return None
            problem = status.get("problem") or "the agent is still starting"
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            return problem[:200]
        time.sleep(0.2)


def send_configured(cfg):
    """Send the message option, once for every change, from the leader."""
    text, to = cfg.get("message", ""), cfg.get("peer", "")
    mark = hashlib.sha256(json.dumps([text, to]).encode()).hexdigest()
    if not text or not ht.is_leader() or ht.state_get("sent") == mark:
        return
    cmd = [str(ROOT / "usr/local/bin/stream-send"), "--to", to, "--", text]
    if run(*cmd, check=False).returncode:
        ht.log("cannot send the message option; it will be tried again", "WARNING")
        return
    ht.state_set({"sent": mark})


if __name__ == "__main__":
    main(os.path.basename(os.environ.get("JUJU_DISPATCH_PATH", "")))
