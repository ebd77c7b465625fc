"""Reads the JSON of go test: prints failures whole, skips with their reason, UNVERIFIED lines, time per package, and one closing line."""
import collections
import json
import sys

outputs = collections.defaultdict(list)
count = collections.Counter()
failed, skipped, unverified, packages = [], [], [], []
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    try:
        event = json.loads(line)
    except ValueError:
        print(line, end="")
        continue
    key = (event.get("Package", event.get("ImportPath")), event.get("Test"))
    action = event["Action"]
    if action in ("output", "build-output"):
        outputs[key].append(event["Output"])
        if "UNVERIFIED:" in event["Output"]:
            unverified.append(event["Output"].strip())
    elif action in ("pass", "fail", "skip"):
        if key[1]:
            count[action] += 1
            if action == "skip":
                skipped.append(key)
        else:
            packages.append((event.get("Elapsed", 0), key[0], action))
            if action == "fail" and not any(k[0] == key[0] for k in failed):
                count["fail"] += 1
        if action == "fail":
            failed.append(key)
    elif action == "build-fail":
        failed.append(key)
for key in failed:
    print("FAILED", *[k for k in key if k])
    print("".join(outputs[key])[-6000:])
for key in skipped:
    print("SKIPPED", *key, "".join(o for o in outputs[key] if not o.startswith(("===", "---"))).strip())
for line in sorted(set(unverified)):
    print(line[line.index("UNVERIFIED:"):])
for elapsed, package, action in sorted(packages, reverse=True)[:12]:
    print(f"{elapsed:7.1f}s {action} {package}")
print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
sys.exit(1 if failed else 0)
