"""A NATS client in the standard library: mutual TLS and the text protocol.

It knows INFO, CONNECT, PUB, SUB, MSG, PING and PONG. Everything it reads is
bounded.
"""

import json
import socket
import ssl

MAX_LINE = 64 * 1024
MAX_PAYLOAD = 8 * 1024 * 1024


class NatsError(Exception):
    """The server refused, or broke the protocol."""


class Client:
    def __init__(self, host, port, ca, cert, key, name, timeout=10):
        self.messages = []
        self._buf = b""
        raw = socket.create_connection((host, port), timeout=timeout)
        try:
            self._sock = raw
            self.info = self._read_info()
            if not self.info.get("tls_required"):
                raise NatsError("the server does not speak TLS")
            if self._buf:
                raise NatsError("the server sent plain text where TLS must begin")
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(cert, key)
            self._sock = context.wrap_socket(raw, server_hostname=host)
            self._sock.settimeout(timeout)
            hello = {"verbose": False, "pedantic": True, "tls_required": True, "name": name,
                     "lang": "python-stdlib", "version": "1", "protocol": 1, "echo": True}
            self._send(b"CONNECT " + json.dumps(hello).encode() + b"\r\n")
            self.flush()
        except BaseException:
            self._sock.close()
            raise

    def tls_version(self):
        return self._sock.version()

    def close(self):
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def subscribe(self, subject, sid):
        self._send(f"SUB {check_subject(subject)} {sid}\r\n".encode())

    def publish(self, subject, payload):
        limit = self.info.get("max_payload", MAX_PAYLOAD)
        if len(payload) > limit:
            raise NatsError(f"message has {len(payload)} bytes, the server takes {limit}")
        self._send(f"PUB {check_subject(subject)} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def flush(self):
        """Wait until the server has seen all that was sent."""
        self._send(b"PING\r\n")
        while not self._step():
            pass

    def next(self, timeout):
        """The next message as (subject, payload), or None after the timeout."""
        self._sock.settimeout(timeout)
        try:
            while not self.messages:
                self._step()
        except TimeoutError:
            return None
        finally:
            self._sock.settimeout(10)
        return self.messages.pop(0)

    def _step(self):
        """Handle one line of the server; True if it was a PONG."""
        line = self._line()
        word, _, rest = line.partition(b" ")
        word = word.upper()
        if word == b"PONG":
            return True
        if word == b"PING":
            self._send(b"PONG\r\n")
        elif word == b"MSG":
            self._message(rest)
        elif word == b"-ERR":
            raise NatsError(rest.decode("utf-8", "replace").strip("' "))
        elif word not in (b"+OK", b"INFO"):
            raise NatsError("the server sent a line that is not understood")
        return False

    def _message(self, rest):
        parts = rest.split()
        if len(parts) not in (3, 4) or not parts[-1].isdigit():
            raise NatsError("the server sent a broken message")
        size = int(parts[-1])
        if size > MAX_PAYLOAD:
            raise NatsError("the server sent a message that is too large")
        while len(self._buf) < size + 2:
            self._fill()
        payload, end = self._buf[:size], self._buf[size:size + 2]
        if end != b"\r\n":
            raise NatsError("the server sent a broken message")
        self._buf = self._buf[size + 2:]
        self.messages.append((parts[0].decode("utf-8", "replace"), payload))

    def _read_info(self):
        word, _, rest = self._line().partition(b" ")
        if word.upper() != b"INFO":
            raise NatsError("the server is no NATS server")
        return json.loads(rest)

    def _line(self):
        while b"\r\n" not in self._buf:
            if len(self._buf) > MAX_LINE:
                raise NatsError("the server sent a line that is too long")
            self._fill()
        line, _, self._buf = self._buf.partition(b"\r\n")
        return line

    def _fill(self):
        data = self._sock.recv(65536)
        if not data:
            raise NatsError("the server closed the connection")
        self._buf += data

    def _send(self, data):
        self._sock.sendall(data)


def check_subject(subject):
    """Subjects go into a line of text: nothing may break it."""
    if not subject or len(subject) > 255 or any(c.isspace() or ord(c) < 33 or ord(c) == 127 for c in subject):
        raise NatsError(f"subject {subject[:80]!r} is not valid")
    return subject
