"""Reads the JSON of go test and prints a table of the public test suites, from the lines that their tests log:

    CONFORMANCE: suite=NAME cases=N passed=N contested=N: case (reason); case (reason)

Exits 1 if a suite that must be there printed nothing, if one has a case that neither passed nor is contested by name, or if a
test that runs a suite failed. A suite that is not listed here appears in the table as soon as its test prints a line.
"""
import collections
import json
import re
import sys

REQUIRED = ["arc-valimail", "spf-rfc7208", "rfc-vectors", "dkim-dkimpy", "isemail", "smtp-dialogues", "smtp-dialogues-intake"]
LINE = re.compile(r"CONFORMANCE: suite=(\S+) cases=(\d+) passed=(\d+) contested=(\d+):(.*)")


def read(path):
    """Gives the output and the outcome of each test; long lines come in pieces."""
    outputs, outcome = collections.defaultdict(str), {}
    for line in open(path, encoding="utf-8", errors="replace"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        key = (event.get("Package"), event.get("Test"))
        if event["Action"] == "output":
            outputs[key] += event["Output"]
        elif event["Action"] in ("pass", "fail", "skip"):
            outcome[key] = event["Action"]
    return outputs, outcome


def named(text):
    return [name.strip() for name in text.split("; ") if name.strip()]


def judge(suite, row, outcome):
    """Says what is wrong with a suite's line, if anything."""
    cases, passed, contested, names = row
    if outcome != "pass":
        return f"{suite}: its test did not pass"
    if passed + contested != cases:
        return f"{suite}: {cases - passed - contested} of {cases} cases have an unexpected result"
    if len(names) != contested:
        return f"{suite}: {contested} contested, {len(names)} named"
    return None


def main():
    outputs, outcome = read(sys.argv[1])
    rows, faults = {}, []
    for key, text in outputs.items():
        for suite, cases, passed, contested, names in LINE.findall(text):
            rows[suite] = (int(cases), int(passed), int(contested), named(names))
            fault = judge(suite, rows[suite], outcome.get(key))
            if fault:
                faults.append(fault)
    faults += [f"{suite}: no result; set GATEPOST_SUITES" for suite in REQUIRED if suite not in rows]
    print(f"{'suite':24}{'cases':>7}{'passed':>8}{'contested':>11}")
    for suite in sorted(rows):
        cases, passed, contested, names = rows[suite]
        print(f"{suite:24}{cases:7}{passed:8}{contested:11}")
        for name in names:
            print(f"    {name}")
    for fault in faults:
        print("UNEXPECTED:", fault)
    sys.exit(1 if faults else 0)


main()
