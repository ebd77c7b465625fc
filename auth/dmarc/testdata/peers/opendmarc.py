"""Evaluates DMARC with libopendmarc, the library of opendmarc. Standard input, a JSON object a line: from, record, org (the domain of
the record, if it is not from itself), spf and dkim (lists of domain and pass or fail). Standard output: pass, none, quarantine, reject
or no policy, a line each."""
import ctypes
import json
import sys
import tempfile

lib = ctypes.CDLL("libopendmarc.so.2")
lib.opendmarc_policy_connect_init.restype = ctypes.c_void_p
MAILFROM, ENFORCE = 1, {15: "pass", 16: "reject", 17: "quarantine", 18: "none", 14: "no policy"}
OUTCOME = {"none": 0, "pass": 1, "fail": 2}
suffixes = tempfile.NamedTemporaryFile("w", suffix=".dat")
suffixes.write("example\n")
suffixes.flush()
lib.opendmarc_tld_read_file(suffixes.name.encode(), b"//", b"*.", b"!")


def evaluate(case):
    policy = ctypes.c_void_p(lib.opendmarc_policy_connect_init(b"192.0.2.1", 4))
    try:
        lib.opendmarc_policy_store_from_domain(policy, case["from"].encode())
        domain, result = case["spf"]
        lib.opendmarc_policy_store_spf(policy, domain.encode(), OUTCOME[result], MAILFROM, None)
        for domain, result in case["dkim"]:
            lib.opendmarc_policy_store_dkim(policy, domain.encode(), b"s", OUTCOME[result], None)
        org = case["org"].encode() if case["org"] else None
        if lib.opendmarc_policy_store_dmarc(policy, case["record"].encode("latin-1"), org or case["from"].encode(), org) != 0:
            return "no policy"
        return ENFORCE[lib.opendmarc_get_policy_to_enforce(policy)]
    finally:
        lib.opendmarc_policy_connect_shutdown(policy)


for line in sys.stdin:
    print(evaluate(json.loads(line)), flush=True)
