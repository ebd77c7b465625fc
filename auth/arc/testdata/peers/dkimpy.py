"""Verifies ARC chains with dkimpy. Standard input: a line of JSON with the TXT records by name, then a message in base64 a line.
Standard output: for each message "pass", "fail" or "none", and the reason."""
import base64
import json
import logging
import sys

import dkim

logging.disable(logging.CRITICAL)
records = json.loads(sys.stdin.readline())


def txt(name, timeout=5):
    name = (name.decode() if isinstance(name, bytes) else name).rstrip(".").lower()
    found = records.get(name)
    return found.encode() if found else None


def verdict(message):
    try:
        cv, _, reason = dkim.ARC(message).verify(dnsfunc=txt)
        return [cv.decode() if cv else "ended", str(reason)]
    except Exception as e:
        return ["died", f"{type(e).__name__}: {e}"]


for line in sys.stdin:
    print(json.dumps(verdict(base64.b64decode(line))))
