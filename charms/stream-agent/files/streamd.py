#!/usr/bin/env python3
"""The daemon of stream-agent: stays connected and logs what it receives.

SIGHUP makes it read its settings again. Its status file is renewed while the
connection is alive, so that nobody mistakes an old one for a live one.
"""

import datetime
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import natsclient  # noqa: E402
import streamlib  # noqa: E402

BEAT = 5
MAX_TEXT = 64 * 1024


class Daemon:
    def __init__(self):
        self.reload = False
        self.connected = False

    def run(self):
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reload", True))
        signal.signal(signal.SIGTERM, self._terminate)
        wait = 0.2
        while True:
            self.reload = False
            try:
                self._serve()
                wait = 0.2
            except (OSError, ValueError, KeyError, natsclient.NatsError) as e:
                say(f"not connected: {e}")
                write_status({"connected": False, "problem": str(e)[:200]})
                if self.connected:
                    wait = 0.2
            time.sleep(wait)
            wait = min(wait * 2, 5)

    def _terminate(self, *_):
        write_status({"connected": False, "problem": "stopped"})
        sys.exit(0)

    def _serve(self):
        self.connected = False
        conf = streamlib.settings()
        client, server = streamlib.connect(conf)
        with client:
            client.subscribe(streamlib.subject_all(conf), 1)
            client.subscribe(streamlib.subject_of(conf, conf["unit"]), 2)
            client.flush()
            self.connected = True
            say(f"connected to {server} with {client.tls_version()}")
            while not self.reload:
                write_status({"connected": True, "server": server, "settings": conf["mark"]})
                got = client.next(BEAT)
                if got:
                    record(*got)
                else:
                    client.flush()


def record(subject, payload):
    """One message, one line: what came from outside cannot forge a second."""
    try:
        message = json.loads(payload[:MAX_TEXT])
        sender, text = str(message["from"])[:200], str(message["text"])
    except (ValueError, KeyError, TypeError):
        sender, text = "?", payload[:MAX_TEXT].decode("utf-8", "replace")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = f"{now} {printable(sender)}: {printable(text)}"
    with streamlib.LOG.open("a", encoding="utf-8") as f:
        f.write(line + "\n")
    say(f"received on {printable(subject)} from {printable(sender)}: {printable(text)}")


def printable(text):
    return "".join(c if c.isprintable() else "?" for c in text)


def write_status(status):
    tmp = streamlib.STATUS.with_suffix(".new")
    tmp.write_text(json.dumps(status), encoding="utf-8")
    os.replace(tmp, streamlib.STATUS)


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    Daemon().run()
