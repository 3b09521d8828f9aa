#!/usr/bin/env python3
"""The peer of bench/run-ingest: FHIR NDJSON on standard input to event rows on standard output, as a data team writes it in plain Python.

The same resources and the same columns as `vitae ingest`: subject (pseudonym), time (shifted for each person), code, value, unit; dates
before the person's line wait for nothing: the shift comes from the person's key. No vault, no checksums, no sorting, no verification.
"""
import csv
import datetime
import hashlib
import json
import sys

SYSTEMS = {"http://loinc.org": "LOINC", "http://snomed.info/sct": "SNOMED", "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
           "http://hl7.org/fhir/sid/cvx": "CVX"}
TIMES = ("effectiveDateTime", "onsetDateTime", "authoredOn", "occurrenceDateTime", "recordedDate", "issued")
CODES = ("code", "medicationCodeableConcept", "vaccineCode")
persons = {}
out = csv.writer(sys.stdout)


def person(reference):
    known = persons.get(reference)
    if known is None:
        digest = hashlib.blake2b(reference.encode(), key=b"site key", digest_size=16).digest()
        known = persons[reference] = (int.from_bytes(digest[:8], "little") >> 1,
                                      datetime.timedelta(days=int.from_bytes(digest[8:12], "little") % 731 - 365))
    return known


def when(text, shift):
    if not text:
        return ""
    if len(text) <= 10:
        parts = [int(p) for p in text.split("-")] + [1, 1]
        return (datetime.datetime(*parts[:3]) + shift).isoformat()
    return (datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=None) + shift).isoformat()


def spelled(concept):
    for c in concept.get("coding", ()):
        system = SYSTEMS.get(c.get("system"))
        if system and c.get("code"):
            return f'{system}//{c["code"]}'
    return None


def value(subject, time, code, o):
    q = o.get("valueQuantity")
    if q:
        out.writerow((subject, time, code, q.get("value", ""), q.get("code") or q.get("unit", "")))
    elif "valueCodeableConcept" in o:
        out.writerow((subject, time, f'{code}//{spelled(o["valueCodeableConcept"]) or ""}', "", ""))
    else:
        out.writerow((subject, time, code, "", ""))


def take(r):
    kind = r.get("resourceType")
    if kind == "Patient":
        subject, shift = person("Patient/" + r["id"])
        out.writerow((subject, "", "GENDER//" + r.get("gender", "unknown")[0].upper(), "", ""))
        out.writerow((subject, when(r.get("birthDate"), shift), "MEDS_BIRTH", "", ""))
        if r.get("deceasedDateTime"):
            out.writerow((subject, when(r["deceasedDateTime"], shift), "MEDS_DEATH", "", ""))
        if "maritalStatus" in r:
            out.writerow((subject, "", "MARITAL//" + (r["maritalStatus"].get("text") or ""), "", ""))
        return
    reference = (r.get("subject") or r.get("patient") or {}).get("reference")
    if not reference or not reference.startswith("Patient/"):
        return
    subject, shift = person(reference)
    if kind == "Encounter":
        period = r.get("period", {})
        out.writerow((subject, when(period.get("start"), shift), "ENCOUNTER//" + r.get("class", {}).get("code", ""), "", ""))
        for t in r.get("type", ()):
            code = spelled(t)
            if code:
                out.writerow((subject, when(period.get("start"), shift), code, "", ""))
        out.writerow((subject, when(period.get("end"), shift), "ENCOUNTER_END//" + r.get("class", {}).get("code", ""), "", ""))
    elif kind in ("Observation", "Condition", "Procedure", "MedicationRequest", "Immunization", "AllergyIntolerance", "DiagnosticReport"):
        code = next((c for c in (spelled(r[k]) for k in CODES if k in r) if c), None)
        if not code:
            return
        stamp = next((r[k] for k in TIMES if k in r), None) or r.get("performedPeriod", {}).get("start")
        time = when(stamp, shift)
        if "component" in r:
            for c in r["component"]:
                value(subject, time, spelled(c["code"]) or code, c)
        else:
            value(subject, time, code, r)


lines = events = 0
for line in sys.stdin.buffer:
    take(json.loads(line))
