"""A certificate authority as a charm.

Whatever happens, the charm looks at all its relations and makes the answers
what they should be. So hooks may be repeated, and come in any order.
"""

import ipaddress
import json
import os
import subprocess

import authority
import hooktools as ht

ENDPOINT = "certificates"
STATE = os.environ.get("CHARM_STATE_DIR", "/var/lib/self-signed-certificates")


def main(path):
    kind, _, name = path.rpartition("/")
    if kind == "actions":
        return action(name)
    if name == "install":
        return install()
    if name in ("stop", "remove"):
        return 0
    reconcile()
    return 0


def install():
    ht.status("maintenance", "installing openssl")
    if subprocess.run(["openssl", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        apt_install("openssl")
    return 0


def apt_install(*packages):
    """Install packages; the lists are fetched only if it does not work without."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", HOME="/root")
    install_cmd = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *packages]
    if subprocess.run(install_cmd, env=env, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "-o", "DPkg::Lock::Timeout=300"], env=env, check=True)
    subprocess.run(install_cmd, env=env, check=True)


def reconcile():
    if not ht.is_leader():
        ht.status("active", "standby: the leader unit signs")
        return
    cfg = ht.config()
    ca = authority.Authority(STATE)
    if not ca.exists():
        ht.status("maintenance", "making the authority's key")
        model = os.environ.get("JUJU_MODEL_NAME", "")
        ca.create(f"{model} certificate authority", cfg.get("organization", ""), cfg.get("ca-validity-days", 3650))
        ht.log("made a certificate authority with a new RSA key of 4096 bits")
    days = cfg.get("certificate-validity-days", 30)
    if not 1 <= days <= 825:
        ht.status("blocked", "certificate-validity-days must be from 1 to 825")
        return
    signed = refused = 0
    claims = addresses_claimed()
    for relation in ht.relation_ids(ENDPOINT):
        good, bad = answer(ca, relation, days, claims)
        signed, refused = signed + good, refused + bad
    ht.set_version(subprocess.run(["openssl", "version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1])
    text = f"{signed} certificates"
    if refused:
        text += f", {refused} requests refused: see the log"
    ht.status("active", text)


def addresses_claimed():
    """Which units say that an address is theirs: none may take another's."""
    claims = {}
    for relation in ht.relation_ids(ENDPOINT):
        for unit in ht.relation_units(relation):
            address = ht.relation_get(relation, unit).get("ingress-address", "")
            claims.setdefault(address, set()).add(unit)
    return claims


def answer(ca, relation, days, claims):
    """Bring one relation's answers up to date; gives (signed, refused)."""
    me = os.environ["JUJU_UNIT_NAME"].split("/")[0]
    have = ht.relation_get(relation, me, app=True)
    want = {"ca": ca.certificate()}
    good = bad = 0
    for unit in ht.relation_units(relation):
        bag = ht.relation_get(relation, unit)
        request = bag.get("csr", "").strip()
        if not request:
            continue
        key = "unit-" + unit.replace("/", "-")
        try:
            addresses = own_addresses(unit, bag, claims)
            want[key] = reply(ca, request + "\n", unit, addresses, days, have.get(key))
            good += 1
        except authority.Refused as e:
            ht.log(f"refused the request of {unit}: {e}", "WARNING")
            want[key] = json.dumps({"csr": authority.fingerprint(request + "\n"), "error": str(e)}, sort_keys=True)
            bad += 1
    # Units that are gone are forgotten.
    for key in have:
        if key.startswith("unit-") and key not in want:
            want[key] = ""
    changed = {k: v for k, v in want.items() if have.get(k, "") != v}
    if changed:
        ht.relation_set(relation, changed, app=True)
    return good, bad


def own_addresses(unit, bag, claims):
    text = bag.get("ingress-address", "")
    if not text:
        return []
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        raise authority.Refused(f"ingress-address {text[:80]!r} is no IP address") from None
    others = claims.get(text, set()) - {unit}
    if others:
        raise authority.Refused(f"address {address} is claimed by {', '.join(sorted(others))} too")
    return [address]


def reply(ca, request, unit, addresses, days, earlier):
    """The answer to a request: the earlier one while it is good."""
    csr = authority.fingerprint(request)
    if earlier:
        try:
            old = json.loads(earlier)
        except ValueError:
            old = {}
        cert = old.get("certificate", "")
        if (old.get("csr") == csr and cert and ca.lasts(cert, days / 3)
                and ca.names_of(cert) == authority.own_names(unit, addresses)):
            return earlier
    cert = ca.sign(request, unit, addresses, days)
    ht.log(f"signed a certificate for {unit}")
    return json.dumps({"csr": csr, "certificate": cert}, sort_keys=True)


def action(name):
    if name != "get-ca-certificate":
        ht.tool("action-fail", f"action {name} is not known")
        return 0
    ca = authority.Authority(STATE)
    if ca.exists():
        ht.tool("action-set", "ca-certificate=" + ca.certificate())
    else:
        ht.tool("action-fail", "--", "this unit has no authority; ask the leader unit")
    return 0
