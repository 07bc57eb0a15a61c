"""A client of Vouch, written from docs/PROTOCOL.md alone; section numbers are the document's.

It verifies a service's evidence by a policy, seals a row, opens the answer, and believes it with a receipt that it has
verified. What it cannot verify (hardware's evidence, statements about software) it refuses: SIMULATED evidence is all
that it knows. Needs Python 3.11 and `cryptography`, nothing else.
"""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import cbor
from .nats import Connection, NatsError, raw

__all__ = ["Client", "Decision", "NatsError", "Refused", "Sealed", "Service", "verify_ed25519", "verify_evidence", "verify_receipt"]

CLOCK_SKEW_SECONDS = 60
FIELD = 21888242871839275222246405745257275088548364400416034343698204186575808495617


class Refused(Exception):
    """What does not verify here, or what the other side refuses with its code."""

    def __init__(self, message: str, code: str = "refused"):
        super().__init__(message)
        self.code = code


def _demand(condition: bool, what: str) -> None:
    if not condition:
        raise Refused(f"refused: {what}")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _json(value: Any) -> str:
    """As ECMAScript writes text, integers and lists."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _canonical(value: Any) -> bytes:
    """RFC 8785 for what manifests hold: text, integers, lists and maps."""

    def ordered(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: ordered(part[key]) for key in sorted(part, key=lambda name: name.encode("utf-16-be"))}
        return [ordered(item) for item in part] if isinstance(part, list) else part

    return _json(ordered(value)).encode()


# --- 7. Signed statements

_L = 2**252 + 27742317777372353535851937790883648493
_P = 2**255 - 19
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER = {0, 1, _P - 1, _Y8, _P - _Y8}


def _sound_point(encoded: bytes) -> bool:
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y < _P and y not in _SMALL_ORDER


def verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """Canonical encodings, no small order, s < L, and the equation without cofactor, which is OpenSSL's."""
    if len(key) != 32 or len(signature) != 64 or not _sound_point(key) or not _sound_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= _L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def _statement(key: bytes, content_type: str, statement: bytes) -> bytes:
    _demand(statement[:1] == b"\xd2", "CBOR tag 18")
    parts = cbor.decode(statement[1:])
    _demand(isinstance(parts, list) and len(parts) == 4, "a COSE_Sign1")
    header, unprotected, payload, signature = parts
    _demand(header == cbor.encode({1: -8, 3: content_type}) and unprotected == {}, "the headers")
    signed = cbor.encode(["Signature1", header, b"", payload])
    _demand(verify_ed25519(key, signed, signature), f"the signature of {content_type}")
    return payload


# --- 7. Evidence


def _field(decimal: str) -> bytes:
    value = int(decimal)
    _demand(0 <= value < FIELD, "a field element")
    return value.to_bytes(32, "little")


def _slots(algorithm: str, domain: str, parts: list[bytes]) -> bytes:
    digest = hashlib.new(algorithm, domain.encode() + b"\0")
    for i, part in enumerate(parts):
        digest.update(bytes([i + 1]) + len(part).to_bytes(2, "big") + part)
    return digest.digest()


def _gpu_digest(gpu: dict) -> bytes:
    def part(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    head = bytes([["off", "on", "devtools"].index(gpu["ccMode"]), int(gpu["ready"]), len(gpu["devices"])])
    devices = b"".join(
        part(device["format"].encode())
        + part(raw(device["evidence"]))
        + bytes([len(device["certificates"])])
        + b"".join(part(raw(der)) for der in device["certificates"])
        for device in gpu["devices"]
    )
    return _sha256(b"vouch/v2/gpu-evidence\0" + head + devices)


def verify_evidence(document: dict, policy: dict, nonce: str, commitment: str, at: float) -> str:
    """The evidence digest of a document that satisfies the policy. Raises Refused."""
    _demand(
        document["version"] == 2 and document["cpu"]["format"] == "simulated" and document["hardware"] is False,
        "the format: this client verifies SIMULATED evidence only",
    )
    _demand(policy["simulated"] is True, "SIMULATED evidence")
    _demand("gce" not in policy and "provenance" not in policy, "a policy without statements about software")
    _demand(policy.get("sealing", "x25519") == "x25519", "a policy that seals to X25519")
    parts = cbor.decode(raw(document["cpu"]["evidence"]))
    roots = policy["simulatedRoots"]
    _demand(_sha256(parts["root"]).hex() in roots, "the root")
    prefix = "application/vouch-simulated"
    device = cbor.decode(_statement(parts["root"], f"{prefix}-device+cbor", parts["device"]))
    quote = cbor.decode(_statement(device["key"], f"{prefix}-quote+cbor", parts["quote"]))
    platform = quote["platform"]
    _demand(parts["v"] == 1 and quote["v"] == 2 and platform in policy["platforms"], "the platform")
    _demand(quote["measurement"].hex() in policy["measurements"], "the measurement")
    _demand(quote["debug"] is False or policy["debug"] is True, "debug mode")
    least = policy["minimumTcb"][platform]
    _demand(len(least) == 1 and quote["tcb"] >= least[0], "the TCB")
    age = at - document["time"]
    _demand(age >= -CLOCK_SKEW_SECONDS, f"the age: your clock is {round(-age)} s behind the enclave's")
    _demand(age <= policy["maxAgeSeconds"], f"the age, {round(age)} s")
    _demand(document["nonce"] == nonce, "the nonce")
    _demand(document["modelCommitment"] == commitment, "the commitment")

    gpu = document["gpu"]
    slots = [
        bytes.fromhex(nonce),
        raw(document["hpkeKey"]),
        raw(document["receiptKey"] or ""),
        _field(commitment),
        document["enclave"].encode(),
        bytes.fromhex(document["tlsKey"] or ""),
        b"" if gpu is None else _gpu_digest(gpu),
        raw(document["xWingKey"] or ""),
        document["time"].to_bytes(8, "big"),
    ]
    _demand(_slots("sha512", "vouch/v2/report-data", slots) == quote["reportData"], "the report data")
    _demand((document["gpuEvidence"] or "") == slots[6].hex(), "that the GPU evidence is bound")
    _demand(gpu is None or (gpu["ccMode"] == "on" and gpu["ready"] is True), "the state of the GPU")
    gpu_nonce = _slots("sha256", "vouch/v2/gpu-nonce", [*slots[:6], b"", *slots[7:]])
    for each in gpu["devices"] if gpu else []:
        _demand(each["format"] == "simulated-gpu", "the format of the GPU")
        signed = cbor.decode(raw(each["evidence"]))
        _demand(_sha256(signed["root"]).hex() in roots, "the GPU's root")
        key = cbor.decode(_statement(signed["root"], f"{prefix}-device+cbor", signed["device"]))["key"]
        answer = cbor.decode(_statement(key, f"{prefix}-gpu+cbor", signed["quote"]))
        _demand(answer["nonce"] == gpu_nonce, "the GPU's nonce")
    _demand(policy.get("gpu") is None or gpu is not None, "a GPU, which the policy demands")
    return _sha256(cbor.encode(document)).hex()


# --- 6. Sealing: HPKE base mode (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM


def _extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def _expand(prk: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(hashes.SHA256(), length, info).derive(prk)


_KEM = b"KEM\x00\x20"
_HPKE = b"HPKE\x00\x20\x00\x01\x00\x02"


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + ikm)


def _labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def _raw_public(key: X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


class Sealed:
    """One sealed request, and the way to open its reply. `ephemeral` is for test vectors alone."""

    def __init__(self, recipient: bytes, info: bytes, aad: bytes, plaintext: bytes, ephemeral: bytes | None = None):
        own = X25519PrivateKey.from_private_bytes(ephemeral) if ephemeral else X25519PrivateKey.generate()
        self.enc = _raw_public(own.public_key())
        # Raises for a key of small order.
        shared = own.exchange(X25519PublicKey.from_public_bytes(recipient))
        prk = _labeled_extract(_KEM, b"", b"eae_prk", shared)
        secret = _labeled_expand(_KEM, prk, b"shared_secret", self.enc + recipient, 32)
        context = b"\0" + _labeled_extract(_HPKE, b"", b"psk_id_hash", b"") + _labeled_extract(_HPKE, b"", b"info_hash", info)
        schedule = _labeled_extract(_HPKE, secret, b"secret", b"")
        key = _labeled_expand(_HPKE, schedule, b"key", context, 32)
        nonce = _labeled_expand(_HPKE, schedule, b"base_nonce", context, 12)
        exporter = _labeled_expand(_HPKE, schedule, b"exp", context, 32)
        self._secret = _labeled_expand(_HPKE, exporter, b"sec", b"vouch/v2/reply", 32)
        self.bytes = b"\x00\x20" + self.enc + AESGCM(key).encrypt(nonce, plaintext, aad)

    def open(self, reply: bytes) -> bytes:
        prk = _extract(self.enc + reply[:32], self._secret)
        try:
            return AESGCM(_expand(prk, b"key", 32)).decrypt(_expand(prk, b"nonce", 12), reply[32:], b"")
        except InvalidTag:
            raise Refused("refused: the reply does not open: it is not of this enclave, or was changed") from None


# --- 8. Inference, 9. receipts, 10. models


@dataclass(frozen=True)
class Service:
    """A service whose evidence was verified; good for as long as the policy says."""

    model: str
    manifest: dict
    manifest_digest: str
    document: dict
    evidence_digest: str


@dataclass(frozen=True)
class Decision:
    """An answer whose receipt was verified."""

    label: str
    decision: int
    scores: list[int] | None
    receipt_id: str
    #: the receipt bundle, for `vouch verify`
    receipt: bytes
    evidence: str = "SIMULATED"


def verify_receipt(bundle: bytes, policy: dict, service: Service, now: float | None = None) -> dict:
    """The claims of a receipt by the service's enclave, bytes as hex. Raises Refused."""
    try:
        parts = cbor.decode(bundle)
        document = parts["evidence"]
        payload = _statement(raw(document["receiptKey"] or ""), "application/vouch-receipt+cbor", parts["receipt"])
        claims = {name: value.hex() if isinstance(value, bytes) else value for name, value in cbor.decode(payload).items()}
        _demand(parts["v"] == 3 and claims["v"] == 3, "a receipt of version 3")
        commitment = service.manifest["commitment"]
        digest = verify_evidence(document, policy, document["nonce"], commitment, claims["time"])
    except (cbor.CborError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"refused: a receipt bundle: {error}") from None
    _demand(claims["evidence"] == digest and claims["enclave"] == document["enclave"], "the evidence")
    _demand(claims["model"] == _field(commitment).hex(), "the commitment")
    _demand(claims["manifest"] == service.manifest_digest, "the manifest")
    terms = service.manifest["terms"]
    _demand(claims["policy"] == service.manifest["policy"] and claims["answers"] == terms["answers"], "policy and terms")
    name = b"vouch/v1/receipt-id\0" + document["enclave"].encode() + b"\0" + bytes.fromhex(claims["nonce"])
    _demand(claims["id"] == _sha256(name).hex()[:32], "the id")
    _demand(claims["time"] <= (time.time() if now is None else now) + CLOCK_SKEW_SECONDS, "the time")
    return claims


class Client:
    """`policy`: the JSON of a policy file. `vendor`: the fingerprint of the model's vendor, from elsewhere than NATS."""

    def __init__(self, url: str, creds: str, policy: dict, vendor: str):
        self._nats = Connection(url, creds)
        self._policy = policy
        self._vendor = vendor
        self._services: dict[str, Service] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._nats.close()

    def _envelope(self, kind: str, subject: str, body: dict) -> dict:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"
        return {
            "id": str(uuid.uuid4()),
            "type": kind,
            "version": 1,
            "source": self._nats.source,
            "time": stamp,
            "subject": subject,
            "body": body,
        }

    @staticmethod
    def _checked(text: str | bytes, kind: str, subject: str, cause: str | None = None, version: int = 1) -> dict:
        message = json.loads(text)
        if message["type"] == "error" and cause is not None:
            raise Refused(message["body"]["message"], message["body"]["code"])
        _demand(message["type"] == kind and message["version"] == version, f"{kind}, version {version}")
        _demand(message["subject"] == subject, "the subject")
        _demand(cause is None or message["cause"] == cause, "the cause")
        return message["body"]

    def _manifest(self, model: str) -> tuple[dict, str]:
        place = f"vouch.v1.model.{model}"
        headers, data = self._nats.request(f"$JS.API.DIRECT.GET.VOUCH_MODELS.{place}", b"")
        _demand(headers.get("") in ("", None) and headers.get("Nats-Subject") == place, f"model {model}: nobody has published it")
        body = self._checked(data, "model.manifest", place, version=2)
        manifest = body["manifest"]
        key = raw(manifest["vendor"])
        digest = _sha256(_canonical(manifest))
        signed = _statement(key, "application/vouch-manifest+json", raw(body["signature"]))
        _demand(digest == signed, "the manifest that was signed")
        _demand(manifest["name"] == model, "the name")
        _demand(_sha256(key).hex() == self._vendor, "the vendor")
        return manifest, digest.hex()

    def service(self, model: str) -> Service:
        """Asks for evidence with a fresh nonce and verifies it."""
        manifest, digest = self._manifest(model)
        nonce = secrets.token_hex(32)
        place = f"vouch.v1.evidence.{model}.{self._nats.id}"
        question = self._envelope("evidence.request", place, {"nonce": nonce})
        _, data = self._nats.request(place, _json(question).encode())
        document = self._checked(data, "evidence.reply", place, question["id"])["document"]
        evidence = verify_evidence(document, self._policy, nonce, manifest["commitment"], time.time())
        self._services[model] = found = Service(model, manifest, digest, document, evidence)
        return found

    def decide(self, model: str, row: list[str]) -> Decision:
        """One row of cells, in the order of the model's columns."""
        known = self._services.get(model)
        fresh = known and time.time() < known.document["time"] + self._policy["maxAgeSeconds"] * 3 / 4
        service = known if known and fresh else self.service(model)
        document = service.document
        row = [str(cell) for cell in row]
        nonce, request_salt, response_salt = (secrets.token_hex(32) for _ in range(3))
        plaintext = {
            "version": 1,
            "nonce": nonce,
            "evidence": service.evidence_digest,
            "requestSalt": request_salt,
            "responseSalt": response_salt,
            "row": row,
        }
        subject = f"vouch.v1.infer.{model}.{document['enclave']}.{self._nats.id}"
        sealed = Sealed(raw(document["hpkeKey"]), b"vouch/v2/infer", subject.encode(), _json(plaintext).encode())
        head = self._envelope("infer.request", subject, {"enclave": document["enclave"]})
        headers, data = self._nats.request(subject, sealed.bytes, {"Vouch-Envelope": json.dumps(head)})
        reply = self._checked(headers.get("Vouch-Envelope") or data, "infer.reply", subject, head["id"])
        _demand(reply["enclave"] == document["enclave"], "the enclave")
        answer = json.loads(sealed.open(data))
        if "error" in answer:
            raise Refused(answer["error"]["message"], answer["error"]["code"])
        _demand(answer["version"] == 2, "an answer of version 2")
        answers = service.manifest["terms"]["answers"]
        scores = answer.get("scores")
        _demand(answer["answers"] == answers and (answers == "decision") == (scores is None), "what it holds")

        bundle = raw(answer["receipt"])
        _demand(_sha256(bundle).hex() == answer["receiptDigest"], "the digest of the bundle")
        claims = verify_receipt(bundle, self._policy, service)
        _demand(claims["evidence"] == service.evidence_digest, "the evidence that was accepted")
        _demand(claims["nonce"] == nonce and claims["id"] == answer["receiptId"], "the nonce")

        def salted(salt: str, domain: bytes, body: list) -> str:
            return hmac.digest(bytes.fromhex(salt), domain + b"\0" + _json(body).encode(), "sha256").hex()

        body = [answer["decision"], answer["label"], *([scores] if scores is not None else [])]
        _demand(claims["request"] == salted(request_salt, b"vouch/v1/request", row), "the request digest")
        _demand(claims["response"] == salted(response_salt, b"vouch/v1/response", body), "the response digest")
        return Decision(answer["label"], answer["decision"], scores, answer["receiptId"], bundle)
