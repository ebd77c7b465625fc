"""Checks clients with pyspf. Standard input: a line of JSON with the records, {"name type": [data, …]}, then a JSON list a line: client
address, HELO, sender. Standard output: a result a line."""
import json
import logging
import sys
import warnings

warnings.simplefilter("ignore")
import spf

logging.disable(logging.CRITICAL)
records = json.loads(sys.stdin.readline())


def lookup(name, kind, tcpfallback=True, timeout=30):
    found = []
    for data in records.get(f"{name.lower().rstrip('.')} {kind}", []):
        if kind == "TXT":
            data = [data.encode("latin-1")]
        elif kind == "MX":
            preference, host = data.split()
            data = (int(preference), host.rstrip("."))
        elif kind == "PTR":
            data = data.rstrip(".")
        found.append(((name, kind), data))
    return found


spf.DNSLookup = lookup
for line in sys.stdin:
    client, helo, sender = json.loads(line)
    try:
        print(spf.query(i=client, s=sender, h=helo, strict=True, querytime=60).check()[0])
    except Exception as e:
        print(f"{type(e).__name__}: {e}".replace("\n", " "))
