"""The nats-server package: its configuration, its service, and a probe."""

import json
import os
import pathlib
import subprocess
import time

import natsclient

CONF_DIR = pathlib.Path(os.environ.get("CHARM_NATS_DIR", "/etc/nats-server"))
CONF = CONF_DIR / "nats.conf"
TLS = CONF_DIR / "tls"
DROP_IN = pathlib.Path(os.environ.get("CHARM_SYSTEMD_DIR", "/etc/systemd/system")) / "nats-server.service.d"
PROGRAM = os.environ.get("CHARM_NATS_SERVER", "/usr/sbin/nats-server")
SERVICE = "nats-server.service"
USER = "nats"

DROP_IN_TEXT = f"""# Written by the charm.
[Unit]
# The package starts its service as soon as it is unpacked, with an open
# configuration. Without ours it stays down.
ConditionPathExists={CONF}

[Service]
ExecStart=
ExecStart={PROGRAM} -c {CONF}
PrivateTmp=no
NoNewPrivileges=yes
LimitNOFILE=65536
Restart=on-failure
RestartSec=2
"""


def run(*args, check=True, quiet=False):
    """Run a program. What it complains of is logged, unless that is expected (quiet)."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", HOME="/root")
    complaints = subprocess.DEVNULL if quiet else None
    return subprocess.run(args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True, check=check)


def install():
    """Install the package, with our service settings there before it starts."""
    write(DROP_IN / "charm.conf", DROP_IN_TEXT, 0o644)
    if not pathlib.Path(PROGRAM).exists() or run("openssl", "version", check=False).returncode:
        cmd = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "nats-server", "openssl"]
        # The lists are fetched only if it does not work without. A fresh
        # machine has none: that it fails there is no news.
        if run(*cmd, check=False, quiet=True).returncode:
            run("apt-get", "update", "-o", "DPkg::Lock::Timeout=300")
            run(*cmd)
    run("systemctl", "daemon-reload")
    CONF_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)


def version():
    words = run(PROGRAM, "--version").stdout.split()
    return words[-1].lstrip("v") if words else ""


def config(unit, cluster, cfg, binds, routes, users):
    """The server's configuration. Lists are sorted: the same state, the same text."""
    tls = (
        f"cert_file: {quote(TLS / 'tls.crt')}\n  key_file: {quote(TLS / 'tls.key')}\n"
        f"  ca_file: {quote(TLS / 'ca.crt')}\n  timeout: 5\n"
    )
    own = unit.replace("/", "-")
    lines = [f'    {{user: {quote(own)}, permissions: {{publish: {{deny: [">"]}}, subscribe: {{deny: [">"]}}}}}}']
    lines += [f"    {{user: {quote(u.replace('/', '-'))}}}" for u in sorted(users)]
    return f"""# Written by the charm: changes will be lost.
server_name: {quote(own)}
listen: {quote(f"{host(binds[0])}:{cfg['client-port']}")}
max_payload: {cfg['max-payload']}
max_connections: {cfg['max-connections']}
tls {{
  {tls}  verify_and_map: true
}}
authorization {{
  timeout: 5
  users: [
{chr(10).join(lines)}
  ]
}}
cluster {{
  name: {quote(cluster)}
  listen: {quote(f"{host(binds[1])}:{cfg['cluster-port']}")}
  tls {{
  {tls}  verify: true
  }}
  routes: [
{chr(10).join(f"    {quote(f'nats-route://{host(a)}:{p}')}" for a, p in sorted(routes))}
  ]
}}
"""


def quote(value):
    return json.dumps(str(value))


def host(address):
    return f"[{address}]" if ":" in address else address


def apply(text, tls_changed):
    """Put a configuration in place, and the service into step with it."""
    old = CONF.read_text(encoding="utf-8") if CONF.exists() else ""
    if old != text:
        write(CONF, text, 0o644)
    if run("systemctl", "is-active", "--quiet", SERVICE, check=False).returncode:
        run("systemctl", "enable", "--quiet", SERVICE)
        run("systemctl", "restart", SERVICE)
    elif listens(old) != listens(text):
        run("systemctl", "restart", SERVICE)
    elif old != text or tls_changed:
        run("systemctl", "reload", SERVICE)


def listens(text):
    """What only a restart changes."""
    return [l.strip() for l in text.splitlines() if l.strip().startswith(("listen:", "server_name:", "name:"))]


def stop():
    run("systemctl", "stop", SERVICE, check=False)
    CONF.unlink(missing_ok=True)


def probe(address, port, unit, patience):
    """None if the server answers over mutual TLS, else what is wrong."""
    end = time.monotonic() + patience
    while True:
        try:
            with natsclient.Client(address, port, str(TLS / "ca.crt"), str(TLS / "tls.crt"), str(TLS / "tls.key"),
                                   unit, timeout=5):
                return None
        except (OSError, ValueError, natsclient.NatsError) as e:
            problem = str(e)
        if time.monotonic() > end:
            return problem[:200]
        time.sleep(0.3)


def write(path, text, mode):
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    tmp = path.with_name(path.name + ".new")
    tmp.write_text(text, encoding="utf-8")
    tmp.chmod(mode)
    os.replace(tmp, path)
