"""The requesting side of the tls-certificates relation.

The private key is made here and stays here. The relation carries the request
out and the certificate in; what comes in is believed only if it fits the key
and its authority.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import tempfile

import hooktools as ht

TIMEOUT = 120


class Waiting(Exception):
    """There is no certificate yet; .status is waiting or blocked."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def openssl(*args, stdin=None):
    return subprocess.run(
        ["openssl", *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=TIMEOUT, check=False,
    )


def must(*args, stdin=None):
    done = openssl(*args, stdin=stdin)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {args[0]} failed: {done.stderr.strip()[:500]}")
    return done.stdout


class Store:
    """A unit's key, request and certificate in one directory."""

    def __init__(self, directory, owner, endpoint="certificates"):
        self.dir = pathlib.Path(directory)
        self.owner = owner
        self.endpoint = endpoint
        self.key = self.dir / "tls.key"
        self.csr = self.dir / "tls.csr"
        self.cert = self.dir / "tls.crt"
        self.ca = self.dir / "ca.crt"

    def ready(self):
        return all(p.exists() for p in (self.key, self.cert, self.ca))

    def obtain(self):
        """Ask for a certificate and take it if it is there.

        Gives whether the files changed; raises Waiting while there is none.
        """
        relations = ht.relation_ids(self.endpoint)
        if not relations:
            raise Waiting("blocked", f"needs a relation to a certificate authority ({self.endpoint})")
        relation = relations[0]
        unit = os.environ["JUJU_UNIT_NAME"]
        address = ht.ingress_address(self.endpoint, relation)
        if not address:
            raise Waiting("waiting", "waiting for an address")
        request = self._request(unit, address)
        ht.relation_update(relation, unit, {"csr": request})
        app = ht.relation_app(relation)
        bag = ht.relation_get(relation, app, app=True) if app else {}
        reply = bag.get("unit-" + unit.replace("/", "-"))
        if not reply or not bag.get("ca"):
            raise Waiting("waiting", f"waiting for a certificate from {app}")
        answer = json.loads(reply)
        if answer.get("csr") != hashlib.sha256(request.encode()).hexdigest():
            raise Waiting("waiting", f"waiting for {app} to sign the present request")
        if answer.get("error"):
            raise Waiting("blocked", f"certificate refused: {answer['error'][:200]}")
        return self._take(answer["certificate"], bag["ca"])

    def forget(self):
        """Drop certificate and authority, when the relation is gone. The key stays."""
        for p in (self.cert, self.ca):
            p.unlink(missing_ok=True)

    def _request(self, unit, address):
        """The request for the unit's present names, made anew when they change."""
        self.dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._own(self.dir)
        if not self.key.exists():
            key = must("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096")
            self._write(self.key, key, 0o600)
        dashed = unit.replace("/", "-")
        app = unit.split("/")[0]
        wanted = f"DNS:{dashed},DNS:{dashed}.{app},IP:{address}"
        mark = self.dir / "tls.names"
        if self.csr.exists() and mark.exists() and mark.read_text(encoding="ascii") == wanted:
            return self.csr.read_text(encoding="ascii")
        csr = must("req", "-new", "-sha384", "-key", str(self.key), "-subj", f"/CN={dashed}",
                   "-addext", f"subjectAltName={wanted}")
        self._write(self.csr, csr, 0o644)
        self._write(mark, wanted, 0o644)
        return csr

    def _take(self, cert, ca):
        if self.ready() and self.cert.read_text(encoding="ascii") == cert and self.ca.read_text(encoding="ascii") == ca:
            return False
        with tempfile.TemporaryDirectory() as tmp:
            paths = {}
            for name, text in (("cert", cert), ("ca", ca)):
                paths[name] = os.path.join(tmp, name)
                with open(paths[name], "w", encoding="ascii") as f:
                    f.write(text)
            if openssl("verify", "-CAfile", paths["ca"], paths["cert"]).returncode != 0:
                raise Waiting("blocked", "the certificate does not come from the authority that sent it")
        if must("x509", "-noout", "-pubkey", stdin=cert) != must("pkey", "-in", str(self.key), "-pubout"):
            raise Waiting("blocked", "the certificate is not for this unit's key")
        self._write(self.ca, ca, 0o644)
        self._write(self.cert, cert, 0o644)
        return True

    def _write(self, path, text, mode):
        """Write beside the place, then move: readers see the old or the new."""
        fd, tmp = tempfile.mkstemp(dir=self.dir)
        try:
            with os.fdopen(fd, "w", encoding="ascii") as f:
                f.write(text)
                os.fchmod(f.fileno(), mode)
                f.flush()
                os.fsync(f.fileno())
            self._own(tmp)
            os.replace(tmp, path)
        except BaseException:
            os.unlink(tmp)
            raise

    def _own(self, path):
        subprocess.run(["chown", f"{self.owner}:{self.owner}", str(path)], check=True)
