"""What the daemon and the commands of stream-agent share."""

import json
import os
import pathlib

import natsclient

ETC = pathlib.Path(os.environ.get("STREAM_AGENT_ETC", "/etc/stream-agent"))
LOG = pathlib.Path(os.environ.get("STREAM_AGENT_LOG", "/var/log/stream-agent")) / "messages.log"
RUN = pathlib.Path(os.environ.get("STREAM_AGENT_RUN", "/run/stream-agent"))
STATUS = RUN / "status.json"


def settings():
    return json.loads((ETC / "settings.json").read_text(encoding="utf-8"))


def connect(conf, suffix=""):
    """A connection to the first server that answers."""
    problem = "no servers are known"
    for address, port in conf["servers"]:
        try:
            return natsclient.Client(
                address, port, str(ETC / "tls/ca.crt"), str(ETC / "tls/tls.crt"), str(ETC / "tls/tls.key"),
                conf["unit"] + suffix,
            ), f"{address}:{port}"
        except (OSError, ValueError, natsclient.NatsError) as e:
            problem = f"{address}:{port}: {e}"
    raise natsclient.NatsError(problem)


def subject_all(conf):
    return f"{conf['subject']}.all"


def subject_of(conf, unit):
    return f"{conf['subject']}.unit.{unit.replace('/', '-')}"
