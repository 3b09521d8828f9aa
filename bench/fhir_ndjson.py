#!/usr/bin/env python3
"""Bundles of a tar archive as one NDJSON file: fhir_ndjson.py ARCHIVE.tar.xz OUT MEGABYTES

Patients' and encounters' references (urn:uuid:…) become Type/id, as a bulk export writes them. Stops after MEGABYTES.
"""
import json
import os
import sys
import tarfile

limit = float(sys.argv[3]) * 1e6
done = 0
with open(sys.argv[2] + ".new", "wb") as out, tarfile.open(sys.argv[1], "r|xz") as tar:
    for member in tar:
        if not member.isfile() or not member.name.endswith(".json"):
            continue
        entries = json.load(tar.extractfile(member)).get("entry", [])
        kind = {e["fullUrl"]: f'{e["resource"]["resourceType"]}/{e["resource"]["id"]}' for e in entries if "fullUrl" in e}
        for e in entries:
            text = json.dumps(e["resource"], ensure_ascii=False)
            if "urn:uuid:" in text:
                parts = text.split('"urn:uuid:')
                for i in range(1, len(parts)):
                    name, rest = parts[i].split('"', 1)
                    parts[i] = f'"{kind.get("urn:uuid:" + name, "urn:uuid:" + name)}"{rest}'
                text = parts[0] + "".join(parts[1:])
            line = text.encode() + b"\n"
            out.write(line)
            done += len(line)
        if done >= limit:
            break
os.rename(sys.argv[2] + ".new", sys.argv[2])
