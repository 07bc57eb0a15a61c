"""Run by the tests, with JSON on standard input; prints JSON. What is not verified exits with 1.

{"vectors": [[key, message, signature], ...]}            the verdicts of the signatures
{"url", "creds", "policy", "vendor", "model", "rows"}    decisions by a running service, and what is refused
"""

import copy
import json
import sys
from pathlib import Path

from vouch_client import Client, Refused, Sealed, cbor, verify_ed25519, verify_receipt

given = json.load(sys.stdin)
if "vectors" in given:
    print(json.dumps([verify_ed25519(*map(bytes.fromhex, vector)) for vector in given["vectors"]]))
    sys.exit()
if "sealed" in given:
    parts = {name: bytes.fromhex(text) for name, text in given["sealed"].items()}
    print(json.dumps(Sealed(**parts).bytes.hex()))
    sys.exit()
if "cbor" in given:
    results = []
    for text in given["cbor"]:
        try:
            results.append(cbor.encode(cbor.decode(bytes.fromhex(text))).hex())
        except cbor.CborError:
            results.append(None)
    print(json.dumps(results))
    sys.exit()


def refusal(work) -> str:
    try:
        work()
    except Refused as error:
        return f"{error.code}: {error}"
    return "accepted"


policy, model = given["policy"], given["model"]
with Client(given["url"], given["creds"], policy, given["vendor"]) as client:
    decisions = [client.decide(model, row) for row in given["rows"]]
    service = client.service(model)
    bundle = decisions[0].receipt
    other = copy.deepcopy(policy)
    other["measurements"] = ["00" * 48]
    changed = bytearray(bundle)
    changed[len(changed) // 2] ^= 1
    refused = {
        "measurement": refusal(lambda: verify_receipt(bundle, other, service)),
        "simulated": refusal(lambda: verify_receipt(bundle, {**policy, "simulated": False}, service)),
        "changed": refusal(lambda: verify_receipt(bytes(changed), policy, service)),
        "row": refusal(lambda: client.decide(model, ["1"])),
        "model": refusal(lambda: client.decide("nobody", ["1"])),
    }
with Client(given["url"], given["creds"], policy, "00" * 32) as stranger:
    refused["vendor"] = refusal(lambda: stranger.decide(model, given["rows"][0]))
if "folder" in given:
    Path(given["folder"], "receipt.cose").write_bytes(bundle)
print(json.dumps({"labels": [[made.decision, made.label, made.receipt_id] for made in decisions], "refused": refused}))
