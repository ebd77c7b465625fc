"""Verifies messages with dkimpy. Standard input: a line of JSON with the TXT records by name, then a message in base64 a line.
Standard output: for each message a JSON list of "pass" or the reason, a signature each, from the top."""
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
    return found[0].encode() if found else None


def verdict(message, index):
    try:
        return "pass" if dkim.DKIM(message).verify(index, dnsfunc=txt) else "fail"
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def signatures(message):
    try:
        return sum(1 for name, _ in dkim.DKIM(message).headers if name.lower() == b"dkim-signature")
    except dkim.MessageFormatError:
        return 0


for line in sys.stdin:
    message = base64.b64decode(line)
    print(json.dumps([verdict(message, i) for i in range(signatures(message))]))
