"""Decides on the rows of a table: python3 example.py URL CREDS POLICY VENDOR MODEL ROWS.csv

With pandas installed the decisions come back as a table beside the rows; without it, one line a row.
"""

import csv
import json
import sys

from vouch_client import Client

url, creds, policy, vendor, model, table = sys.argv[1:7]
with open(creds) as file:
    credentials = file.read()
with open(policy) as file:
    demanded = json.load(file)
with open(table, newline="") as file:
    header, *rows = csv.reader(file)

with Client(url, credentials, demanded, vendor) as client:
    decisions = [client.decide(model, row) for row in rows]
try:
    import pandas
except ImportError:
    for decision in decisions:
        print(decision.label, decision.evidence, decision.receipt_id, sep="\t")
else:
    frame = pandas.DataFrame(rows, columns=header)
    frame["decision"] = [decision.label for decision in decisions]
    frame["receipt"] = [decision.receipt_id for decision in decisions]
    print(frame.to_string())
