"""Verifies messages with libopendkim, the library of opendkim and opendkim-testmsg; input and output are those of dkimpy.py.
The library reads keys from a file, which holds one record for a name."""
import base64
import ctypes
import json
import sys
import tempfile

lib = ctypes.CDLL("libopendkim.so.11")
for name in ("dkim_init", "dkim_verify"):
    getattr(lib, name).restype = ctypes.c_void_p
lib.dkim_sig_geterrorstr.restype = ctypes.c_char_p
PASSED, MATCH, SETOPT, QUERYMETHOD, QUERYINFO, BY_FILE = 4, 0, 1, 6, 7, 1

records = json.loads(sys.stdin.readline())
keys = tempfile.NamedTemporaryFile("w")
for name, found in records.items():
    keys.write(f"{name} {found[0]}\n")
keys.flush()
handle = ctypes.c_void_p(lib.dkim_init(None, None))
method = ctypes.c_int(BY_FILE)
path = ctypes.create_string_buffer(keys.name.encode(), 4096)
assert lib.dkim_options(handle, SETOPT, QUERYMETHOD, ctypes.byref(method), ctypes.c_size_t(ctypes.sizeof(method))) == 0
assert lib.dkim_options(handle, SETOPT, QUERYINFO, path, ctypes.c_size_t(4096)) == 0


def fields(head):
    """Splits a header; folded lines belong to their field."""
    found = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and found:
            found[-1] += b"\r\n" + line
        elif line:
            found.append(line)
    return found


def verdict(dkim, sig):
    lib.dkim_sig_process(dkim, sig)
    error = lib.dkim_sig_geterror(sig)
    if lib.dkim_sig_getflags(sig) & PASSED and lib.dkim_sig_getbh(sig) == MATCH and error == 0:
        return "pass"
    text = lib.dkim_sig_geterrorstr(error) or b"error %d" % error
    return f"{text.decode()}, body hash {lib.dkim_sig_getbh(sig)}"


def verify(message):
    status = ctypes.c_int(0)
    dkim = ctypes.c_void_p(lib.dkim_verify(handle, b"test", None, ctypes.byref(status)))
    head, _, body = message.partition(b"\r\n\r\n")
    try:
        for field in fields(head):
            if lib.dkim_header(dkim, field, ctypes.c_size_t(len(field))) != 0:
                return ["header refused"]
        end = lib.dkim_eoh(dkim)
        if body:
            lib.dkim_body(dkim, body, ctypes.c_size_t(len(body)))
        lib.dkim_eom(dkim, None)
        sigs, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_int(0)
        if lib.dkim_getsiglist(dkim, ctypes.byref(sigs), ctypes.byref(count)) != 0:
            return [f"no list of signatures (status {end})"]
        return [verdict(dkim, ctypes.c_void_p(sigs[i])) for i in range(count.value)]
    finally:
        lib.dkim_free(dkim)


for line in sys.stdin:
    print(json.dumps(verify(base64.b64decode(line))), flush=True)
