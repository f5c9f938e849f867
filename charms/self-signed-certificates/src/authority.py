"""The certificate authority: its key, and what it signs.

All cryptography is openssl's. The authority decides by itself what stands in
a certificate; a request is only asked for its key, and compared.
"""

import hashlib
import ipaddress
import os
import pathlib
import re
import secrets
import subprocess
import tempfile

MAX_REQUEST = 16 * 1024
TIMEOUT = 120


class Refused(Exception):
    """A request that will not be signed; the text is for the requester."""


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


def fingerprint(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Authority:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.key = self.dir / "ca.key"
        self.cert = self.dir / "ca.crt"

    def exists(self):
        return self.key.exists() and self.cert.exists()

    def create(self, name, organization, days):
        """Make the key and its certificate, once. Safe to repeat at any point."""
        self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self.dir, 0o700)
        if self.exists():
            return False
        old = os.umask(0o077)
        try:
            with tempfile.TemporaryDirectory(dir=self.dir) as tmp:
                key, crt = os.path.join(tmp, "key"), os.path.join(tmp, "crt")
                must("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096", "-out", key)
                conf = os.path.join(tmp, "conf")
                with open(conf, "w", encoding="utf-8") as f:
                    f.write(ca_config(name, organization))
                must("req", "-new", "-x509", "-utf8", "-sha384", "-key", key, "-out", crt, "-days", str(days),
                     "-config", conf, "-set_serial", serial())
                os.chmod(key, 0o600)
                # The certificate comes last: without it the authority does not exist.
                os.replace(key, self.key)
                os.replace(crt, self.cert)
        finally:
            os.umask(old)
        return True

    def certificate(self):
        return self.cert.read_text(encoding="ascii")

    def lasts(self, certificate, days):
        """Whether a certificate of ours is good for so many more days."""
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as f:
            f.write(certificate)
            f.flush()
            if openssl("verify", "-CAfile", str(self.cert), f.name).returncode != 0:
                return False
        return openssl("x509", "-noout", "-checkend", str(int(days * 86400)), stdin=certificate).returncode == 0

    def names_of(self, certificate):
        """The alternative names of a certificate, as a set of (kind, text)."""
        out = openssl("x509", "-noout", "-ext", "subjectAltName", stdin=certificate)
        return parse_names(out.stdout)

    def sign(self, request, unit, addresses, days):
        """Sign a unit's request for its own names, or raise Refused."""
        check_request(request, unit, addresses)
        with tempfile.TemporaryDirectory(dir=self.dir) as tmp:
            csr, ext = os.path.join(tmp, "csr"), os.path.join(tmp, "ext")
            with open(csr, "w", encoding="ascii") as f:
                f.write(request)
            with open(ext, "w", encoding="ascii") as f:
                f.write(extensions(unit, addresses))
            return must("x509", "-req", "-in", csr, "-CA", str(self.cert), "-CAkey", str(self.key), "-sha384",
                        "-days", str(days), "-set_serial", serial(), "-extfile", ext)


def serial():
    return "0x" + secrets.token_hex(16).lstrip("0")


def ca_config(name, organization):
    def safe(text):
        return re.sub(r"[^A-Za-z0-9 ._-]", "", text)[:60]

    org = f"O = {safe(organization)}\n" if safe(organization) else ""
    return (
        "[req]\nprompt = no\ndistinguished_name = dn\nx509_extensions = ext\n"
        f"[dn]\nCN = {safe(name)}\n{org}"
        "[ext]\nbasicConstraints = critical,CA:true,pathlen:0\nkeyUsage = critical,keyCertSign,cRLSign\n"
        "subjectKeyIdentifier = hash\n"
    )


def own_names(unit, addresses):
    """The names that belong to a unit: nobody else gets them."""
    dashed = unit.replace("/", "-")
    app = unit.split("/")[0]
    return {("DNS", dashed), ("DNS", f"{dashed}.{app}")} | {("IP", a) for a in addresses}


def extensions(unit, addresses):
    names = sorted(own_names(unit, addresses))
    return (
        "basicConstraints = critical,CA:false\n"
        "keyUsage = critical,digitalSignature,keyEncipherment\n"
        "extendedKeyUsage = serverAuth,clientAuth\n"
        "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        "subjectAltName = " + ",".join(f"{k}:{v}" for k, v in names) + "\n"
    )


def parse_names(text):
    """Alternative names out of openssl's text form."""
    found = set()
    lines = text.splitlines()
    for i, line in enumerate(lines[:-1]):
        if "Subject Alternative Name" not in line:
            continue
        for part in lines[i + 1].split(","):
            kind, _, value = part.strip().partition(":")
            if kind == "IP Address":
                try:
                    value = str(ipaddress.ip_address(value.strip()))
                except ValueError:
                    pass
                kind = "IP"
            found.add((kind, value.strip()))
    return found


def check_request(request, unit, addresses):
    """Refuse what is no sound request of that unit for itself."""
    if len(request) > MAX_REQUEST or not request.isascii():
        raise Refused(f"request has more than {MAX_REQUEST} bytes, or is no text")
    if request.count("-----BEGIN") != 1 or not request.startswith("-----BEGIN CERTIFICATE REQUEST-----"):
        raise Refused("request is no single PEM certificate request")
    done = openssl("req", "-verify", "-noout", "-subject", "-nameopt", "RFC2253", "-text", stdin=request)
    if done.returncode != 0 or "verify OK" not in done.stdout + done.stderr:
        raise Refused("request is damaged, or not signed by its own key")
    dashed = unit.replace("/", "-")
    subjects = [l.split("=", 1)[1].strip() for l in done.stdout.splitlines() if l.startswith("subject=")]
    if subjects != [f"CN={dashed}"]:
        raise Refused(f"request is for {subjects or 'nobody'}, not for CN={dashed}")
    check_strength(done.stdout)
    asked = parse_names(done.stdout)
    foreign = asked - own_names(unit, addresses)
    if foreign:
        text = ", ".join(f"{k}:{v}" for k, v in sorted(foreign))[:300]
        raise Refused(f"request names what does not belong to {unit}: {text}")


def check_strength(text):
    size = re.search(r"Public-Key: \((\d+) bit\)", text)
    kind = re.search(r"Public Key Algorithm: (\S+)", text)
    bits = int(size.group(1)) if size else 0
    if kind and kind.group(1) == "rsaEncryption" and 4096 <= bits <= 8192:
        return
    if kind and kind.group(1) == "id-ecPublicKey" and 384 <= bits <= 521:
        return
    raise Refused("request's key must be RSA of 4096 bits or more, or EC of 384 bits or more")
