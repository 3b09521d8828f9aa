#!/usr/bin/env python3
"""Looks for canaries (tests/canary.h: every word holds the letters z v k x j) in every byte of the given files and directories.

Forms that are found: the letters as they are in either case, as UTF-16 and UTF-32 of either order, in base64 of any alignment, in hex,
backwards, and all of these inside zstd frames and gzip members, wherever in a file these begin. Also in file names.
Usage: canary_search.py [--strip-names] PATH...    prints `path: form` for each find; exit status 1 if there is any
--strip-names: the "file" values of JSON lines may hold them (the quarantine lists name source files).
"""
import base64
import os
import re
import subprocess
import sys
import zlib

CORE = "zvkxj"


def forms():
    out = {}
    for word in (CORE, CORE.upper(), CORE.capitalize()):
        out[word.encode()] = "plain"
        out[word[::-1].encode()] = "backwards"
        for codec in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            out[word.encode(codec)] = codec
        out[word.encode().hex().encode()] = "hex"
        out[word.encode().hex().upper().encode()] = "hex"
        for alignment in range(3):  # the characters that depend on the word alone
            raw = b"\0" * alignment + word.encode() + b"\0" * 3
            text = base64.b64encode(raw)
            first, last = -(-alignment * 8 // 6), (alignment + len(word)) * 8 // 6
            out[text[first:last]] = "base64"
            out[base64.urlsafe_b64encode(raw)[first:last]] = "base64"
    return out


FORMS = forms()
PATTERN = re.compile(b"|".join(re.escape(k) for k in FORMS))


def unpacked(data):
    """what zstd frames and gzip members in the data hold"""
    for m in re.finditer(rb"\x28\xb5\x2f\xfd", data):
        r = subprocess.run(["zstd", "-dcq"], input=data[m.start():], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if r.stdout:
            yield "zstd", r.stdout
    for m in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        try:
            text = zlib.decompressobj(47).decompress(data[m.start():], 1 << 26)
        except zlib.error:
            continue
        if len(text) > 8:
            yield "gzip", text


def search(data, depth=0):
    for m in PATTERN.finditer(data):
        yield FORMS[m.group()]
    if depth < 2:
        for what, text in unpacked(data):
            for form in search(text, depth + 1):
                yield f"{form} in {what}"


def main(args):
    strip = args[:1] == ["--strip-names"]
    files = []
    for path in args[1 if strip else 0:]:
        if os.path.isdir(path):
            for at, _, names in os.walk(path):
                files += [os.path.join(at, n) for n in names]
        else:
            files.append(path)
    found = 0
    for path in files:
        with open(path, "rb") as f:
            data = f.read()
        if strip:
            data = re.sub(rb'^\{"file":"(\\.|[^"\\])*"', b"{", data, flags=re.M)
        finds = sorted(set(search(data)))
        if CORE in os.path.basename(path).lower():
            finds.append("its name")
        for form in finds:
            found += 1
            print(f"{path}: {form}")
    if not files:
        print("nothing to search")
    return 1 if found or not files else 0


sys.exit(main(sys.argv[1:]))
