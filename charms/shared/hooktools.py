"""The hook tools as Python functions.

Every function runs one of the small programs that the unit's agent puts first
in PATH. Values travel by stdin or JSON, never through a shell.
"""

import json
import subprocess

TIMEOUT = 120


class ToolError(Exception):
    """A hook tool refused; the text is what it wrote to stderr."""


def tool(*args, stdin=None):
    done = subprocess.run(
        args, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode != 0:
        raise ToolError(f"{args[0]}: {done.stderr.strip()}")
    return done.stdout


def ask(*args):
    """Run a tool that answers in JSON; nothing at all means None."""
    out = tool(args[0], "--format=json", *args[1:])
    return json.loads(out) if out.strip() else None


def log(message, level="INFO"):
    tool("juju-log", "--log-level", level, "--", message)


def status(value, message=""):
    tool("status-set", value, "--", message)


def config():
    return ask("config-get") or {}


def is_leader():
    return bool(ask("is-leader"))


def relation_ids(endpoint):
    return ask("relation-ids", endpoint) or []


def relation_units(relation):
    return ask("relation-list", "-r", relation) or []


def relation_app(relation):
    return ask("relation-list", "-r", relation, "--app")


def relation_get(relation, who, app=False):
    """The whole bag of a unit, or of an application."""
    extra = ["--app"] if app else []
    return ask("relation-get", "-r", relation, *extra, "-", who) or {}


def relation_set(relation, values, app=False):
    """Write keys of the own bag; an empty value deletes its key."""
    extra = ["--app"] if app else []
    # JSON is YAML, and quotes every string.
    tool("relation-set", "-r", relation, *extra, "--file", "-", stdin=json.dumps(values))


def relation_update(relation, who, values, app=False):
    """Write only what differs, so that a repeated hook wakes nobody."""
    have = relation_get(relation, who, app)
    changed = {k: v for k, v in values.items() if have.get(k, "") != v}
    if changed:
        relation_set(relation, changed, app)
    return bool(changed)


def ingress_address(endpoint, relation=None):
    extra = ["-r", relation] if relation else []
    info = ask("network-get", *extra, endpoint) or {}
    found = info.get("ingress-addresses") or []
    return found[0] if found else None


def bind_address(endpoint):
    """The address of this machine that a server for the endpoint listens on."""
    info = ask("network-get", endpoint) or {}
    for device in info.get("bind-addresses") or []:
        for address in device.get("addresses") or []:
            if address.get("value"):
                return address["value"]
    return None


def state_get(key):
    return ask("state-get", key)


def state_set(values):
    tool("state-set", "--file", "-", stdin=json.dumps(values))


def open_port(port):
    tool("open-port", f"{port}/tcp")


def close_port(port):
    tool("close-port", f"{port}/tcp")


def opened_ports():
    return ask("opened-ports") or []


def set_version(text):
    tool("application-version-set", text)
