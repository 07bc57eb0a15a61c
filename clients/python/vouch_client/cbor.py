"""Deterministic CBOR (RFC 8949, section 4.2.1), as far as docs/PROTOCOL.md uses it.

What is decoded encodes to the very same bytes, or it is refused.
"""

from typing import Any


class CborError(ValueError):
    """Bytes that are not deterministic CBOR."""


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise CborError("an integer beyond 64 bits")


def encode(value: Any) -> bytes:
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(member)) for key, member in value.items())
        return _head(5, len(pairs)) + b"".join(key + member for key, member in pairs)
    raise CborError(f"cannot encode {type(value).__name__}")


def decode(data: bytes) -> Any:
    value, end = _read(data, 0, 0)
    if end != len(data) or encode(value) != data:
        raise CborError("expected deterministic CBOR, got other bytes")
    return value


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > 16:
        raise CborError("nested too deep")
    if at >= len(data):
        raise CborError("cut off")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        simple = {20: False, 21: True, 22: None}
        if info not in simple:
            raise CborError("expected no floating point and no other simple values")
        return simple[info], at
    if info < 24:
        length = info
    elif info <= 27:
        size = 1 << info - 24
        if at + size > len(data):
            raise CborError("cut off")
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    else:
        raise CborError("expected definite lengths")
    if major == 0:
        return length, at
    if major == 1:
        return -1 - length, at
    if major == 6:
        raise CborError("expected no tag here")
    if length > len(data) - at:
        raise CborError("cut off")
    if major == 2:
        return data[at : at + length], at + length
    if major == 3:
        try:
            return data[at : at + length].decode(), at + length
        except UnicodeDecodeError:
            raise CborError("text that is not UTF-8") from None
    if major == 4:
        items = []
        for _ in range(length):
            item, at = _read(data, at, depth + 1)
            items.append(item)
        return items, at
    pairs = {}
    for _ in range(length):
        key, at = _read(data, at, depth + 1)
        if not isinstance(key, (str, int)) or key in pairs:
            raise CborError("expected each key once, text or integer")
        pairs[key], at = _read(data, at, depth + 1)
    return pairs, at
