#!/usr/bin/env python3
"""A plain Python baseline for FHIR NDJSON -> FHIR NDJSON: parse, drop what identifies by element name, shift dates, hash ids, write.

It does less than `vitae deid --from fhir` (no types, no code tables, no ages, no required elements): what a short script does.
Usage: peer_deid_fhir.py < in.ndjson > out.ndjson
"""
import datetime
import hashlib
import hmac
import json
import re
import sys

KEY = b"benchmark"
DROP = {"text", "name", "telecom", "identifier", "contact", "photo", "note", "extension", "display", "meta", "line", "city", "district", "contained",
        "description", "title", "udiCarrier", "serialNumber", "lotNumber", "generalPractitioner", "modifierExtension"}
DATE = re.compile(r"^\d{4}-\d\d-\d\d(T.*)?$")


def digest(text):
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()[:32]


def shift(person):
    return datetime.timedelta(days=int(digest("shift" + person), 16) % 730 - 365 or 1)


def clean(x, days):
    if isinstance(x, dict):
        out = {}
        for key, value in x.items():
            if key in DROP or key.startswith("_"):
                continue
            if key == "id":
                out[key] = digest(value)
            elif key == "reference" and isinstance(value, str):
                kind, _, ident = value.rpartition("/")
                out[key] = f"{kind}/{digest(ident)}"
            elif key == "postalCode":
                out[key] = value[:3]
            else:
                out[key] = clean(value, days)
        return out
    if isinstance(x, list):
        return [clean(v, days) for v in x]
    if isinstance(x, str) and DATE.match(x):
        return (datetime.date.fromisoformat(x[:10]) + days).isoformat() + x[10:]
    return x


for line in sys.stdin:
    resource = json.loads(line)
    subject = resource.get("subject") or resource.get("patient") or {}
    person = resource["id"] if resource["resourceType"] == "Patient" else subject.get("reference", "").rpartition("/")[2]
    sys.stdout.write(json.dumps(clean(resource, shift(person)), ensure_ascii=False) + "\n")
