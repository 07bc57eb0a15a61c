"""As much of the NATS text protocol as a client of Vouch needs: connect as a user, ask, hear one answer.

Credentials are a user's JWT and the seed that signs the server's nonce (PROTOCOL, section 2). One question at a time.
Not guaranteed: reconnecting. A lost connection is an error; connect again.
"""

import base64
import json
import re
import socket
import ssl
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_LINE = 1 << 20
MAX_PAYLOAD = 64 << 20


class NatsError(Exception):
    """What went wrong between here and the server."""


def raw(text: str) -> bytes:
    """Unpadded base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _block(creds: str, name: str) -> str | None:
    found = re.search(rf"-----BEGIN {name}-----\s+([A-Za-z0-9_.\-]+)\s", creds)
    return found and found[1]


class Connection:
    """`url`: `nats://host:port`, or `tls://host:port`. `creds`: the text of a .creds file."""

    def __init__(self, url: str, creds: str, timeout: float = 10.0):
        jwt, seed = _block(creds, "NATS USER JWT"), _block(creds, "USER NKEY SEED")
        if not jwt or not seed:
            raise NatsError("expected the text of a .creds file, with a JWT and a seed")
        claims = json.loads(raw(jwt.split(".")[1]))
        self.id = claims["name"]
        roles = [tag[5:] for tag in claims["nats"]["tags"] if tag.startswith("role:")]
        self.source = f"{roles[0]}.{self.id}"
        # Two bytes say what kind of seed it is, two at the end are a checksum.
        secret = base64.b32decode(seed + "=" * (-len(seed) % 8))[2:34]
        key = Ed25519PrivateKey.from_private_bytes(secret)

        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname, place.port or 4222), timeout)
        self._buffer = b""
        self._inbox = f"_INBOX.{roles[0]}.{self.id}.{_text(key.sign(b'inbox'))[:8]}"
        self._asked = 0
        info = json.loads(self._line().removeprefix(b"INFO "))
        if place.scheme == "tls":
            self._socket = self._secured(creds, place.hostname)
        elif info.get("tls_required"):
            raise NatsError("the server demands TLS: expected a tls:// URL")
        connect = {
            "jwt": jwt,
            "sig": _text(key.sign(info["nonce"].encode())),
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "no_responders": True,
            "protocol": 1,
            "lang": "vouch-python",
            "version": "1",
        }
        self._send(f"CONNECT {json.dumps(connect)}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode())
        while (line := self._line()) != b"PONG":
            if line.startswith(b"-ERR"):
                raise NatsError(line.decode())

    def _secured(self, creds: str, host: str | None) -> ssl.SSLSocket:
        pinned = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", creds, re.S)
        context = ssl.create_default_context(cadata=pinned[0] if pinned else None)
        # An authority of one installation certifies its servers and nothing else, by whatever name they are reached.
        context.check_hostname = pinned is None
        return context.wrap_socket(self._socket, server_hostname=host)

    def close(self) -> None:
        self._socket.close()

    def request(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> tuple[dict[str, str], bytes]:
        """One answer: its headers and its payload."""
        if re.search(r"[\s*>]", subject):
            raise NatsError("a subject without spaces and wildcards is expected")
        self._asked += 1
        reply = f"{self._inbox}.{self._asked}"
        if headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
            self._send(f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode() + head + data + b"\r\n")
        else:
            self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")
        while True:
            place, answer_headers, payload = self._message()
            if place == reply:
                if answer_headers.get("") == "503":
                    raise NatsError(f"{subject}: nobody answers there now")
                return answer_headers, payload

    def _message(self) -> tuple[str, dict[str, str], bytes]:
        while True:
            line = self._line()
            words = line.decode().split()
            if words[0] == "PING":
                self._send(b"PONG\r\n")
            elif words[0] == "-ERR":
                raise NatsError(line.decode())
            elif words[0] in ("MSG", "HMSG"):
                sizes = [int(word) for word in words[-2:]] if words[0] == "HMSG" else [0, int(words[-1])]
                head_size, size = sizes
                if not 0 <= head_size <= size <= MAX_PAYLOAD:
                    raise NatsError("a message of a senseless size")
                whole = self._bytes(size + 2)[:-2]
                return words[1], _headers(whole[:head_size]), whole[head_size:]

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def _more(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise NatsError("the server has closed the connection")
        self._buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE:
                raise NatsError("a line that does not end")
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _bytes(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data


def _headers(data: bytes) -> dict[str, str]:
    """By name; the status of the first line, if there is one, under the empty name."""
    if not data:
        return {}
    first, *lines = data.decode().split("\r\n")
    found = {"": first.removeprefix("NATS/1.0").strip().split(" ")[0]}
    for line in lines:
        if ":" in line:
            name, value = line.split(":", 1)
            found[name] = value.strip()
    return found
