#!/usr/bin/env python3
"""Writes malformed inputs, one directory a case, and cases.tsv: name, kind, mapping, path, what must happen, persons that must be kept.

What must happen: reject = exit 0, at least one record in the quarantine list; refuse = exit not 0, nothing stored; any = either, but
no crash. Every bad value holds MARKER, so that a message that repeats a value is found out. Standard library only.
Usage: malformed_inputs.py DIRECTORY
"""
import gzip
import json
import os
import random
import sys

MARKER = "Mrkzq777"
root = sys.argv[1]
cases = []
random.seed(20240229)


def write(name, data):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode("utf-8"))


def case(name, kind, must, kept, mapping="-", path=None):
    cases.append((name, kind, mapping, path or name, must, str(kept)))


# ---- FHIR ----
def person(i, **more):
    return {"resourceType": "Patient", "id": f"good{i}", "gender": "female", "birthDate": f"19{50 + i}-02-03", **more}


def observation(i, n, **more):
    o = {"resourceType": "Observation", "id": f"o{i}-{n}", "status": "final", "subject": {"reference": f"Patient/good{i}"},
         "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0", "display": "Creatinine"}]},
         "effectiveDateTime": f"2019-0{1 + n % 9}-11T10:00:00Z", "valueQuantity": {"value": 1.5, "unit": "mg/dL"}}
    o.update(more)
    return o


def good_lines(persons):
    return [json.dumps(r) for i in range(persons) for r in [person(i), observation(i, 1), observation(i, 2)]]


def fhir(name, bad, must="reject", kept=3):
    """good lines around one bad line, in one NDJSON file"""
    lines = [x.encode() for x in good_lines(3)]
    lines.insert(4, bad if isinstance(bad, bytes) else bad.encode("utf-8", "surrogatepass"))
    write(f"{name}/data.ndjson", b"\n".join(lines) + b"\n")
    case(name, "fhir", must, kept)


def obs(**more):
    return json.dumps(observation(1, 3, **more))


fhir("fhir_truncated_line", obs(note=[{"text": MARKER}])[:-20])
fhir("fhir_not_json", MARKER)
fhir("fhir_lonely_brace", "{")
fhir("fhir_array", f'["{MARKER}"]')
fhir("fhir_no_type", f'{{"id":"{MARKER}"}}')
fhir("fhir_type_is_number", f'{{"resourceType":12,"id":"{MARKER}"}}')
fhir("fhir_unknown_type", f'{{"resourceType":"{MARKER}","id":"x"}}', "any")
fhir("fhir_subject_is_list", obs(subject=[MARKER]))
fhir("fhir_no_subject", json.dumps({k: v for k, v in observation(1, 3, id=MARKER).items() if k != "subject"}))
fhir("fhir_subject_of_other_kind", obs(subject={"reference": f"Device/{MARKER}"}), "any")
fhir("fhir_code_is_text", obs(code=MARKER))
fhir("fhir_code_empty", obs(code={"coding": [], "text": MARKER}), "any")
fhir("fhir_coding_wrong_types", obs(code={"coding": [{"system": 4, "code": [MARKER], "display": {"x": MARKER}}]}))
fhir("fhir_date_nonsense", obs(effectiveDateTime=MARKER))
fhir("fhir_date_30_february", obs(effectiveDateTime="2019-02-30", note=[{"text": MARKER}]))
fhir("fhir_date_year_zero", obs(effectiveDateTime="0000-01-01"), "any")
fhir("fhir_value_is_text", obs(valueQuantity={"value": MARKER}))
fhir("fhir_value_huge", obs().replace("1.5", "1" * 400 + "e999"))
fhir("fhir_value_nan", obs().replace("1.5", "NaN"))
fhir("fhir_value_infinite", obs().replace("1.5", "1e309"))
fhir("fhir_deep_nesting", '{"resourceType":"Observation","x":' + "[" * 200000 + "]" * 200000 + "}")
fhir("fhir_deep_open", '{"a":' * 50000)
fhir("fhir_bad_utf8", obs(status="final").encode().replace(b"mg/dL", b"\xff\xfe\xc0\x80" + MARKER.encode()))
fhir("fhir_overlong_utf8", obs().encode().replace(b"Creatinine", b"\xc0\xafCreatinine" + MARKER.encode()))
fhir("fhir_lonely_surrogate", obs().replace("Creatinine", "\\ud800" + MARKER), "any")
fhir("fhir_nul_in_string", obs().replace("Creatinine", "\\u0000" + MARKER), "any")
fhir("fhir_raw_nul", obs().encode().replace(b"Creatinine", b"Crea\0tinine"))
fhir("fhir_duplicate_keys", obs()[:-1] + f',"status":"{MARKER}","subject":{{"reference":"Patient/{MARKER}"}}}}', "any")
fhir("fhir_long_code", obs(code={"coding": [{"system": "http://loinc.org", "code": MARKER * 20000}]}), "any")
fhir("fhir_long_person", obs(subject={"reference": "Patient/" + MARKER * 20000}), "any")
fhir("fhir_many_codings", obs(code={"coding": [{"system": "http://loinc.org", "code": f"{i}-0", "display": MARKER} for i in range(20000)]}), "any")
fhir("fhir_contained_bomb", obs(contained=[{"resourceType": "Patient", "id": MARKER, "contained": [{"resourceType": "Patient"}] * 100}] * 50), "any")
fhir("fhir_birthdate_is_object", json.dumps({"resourceType": "Patient", "id": "x", "birthDate": {"x": MARKER}}))
fhir("fhir_patient_without_id", json.dumps({"resourceType": "Patient", "birthDate": "1970-01-01", "name": [{"family": MARKER}]}))
fhir("fhir_modifier_extension", obs(modifierExtension=[{"url": "http://x/" + MARKER, "valueBoolean": True}]), "any")

body = ("\n".join(good_lines(3)) + "\n").encode()
write("fhir_empty_beside_good/a.ndjson", b"")
write("fhir_empty_beside_good/b.ndjson", body)
case("fhir_empty_beside_good", "fhir", "any", 3)
write("fhir_only_empty/a.ndjson", b"")
case("fhir_only_empty", "fhir", "refuse", 0)
write("fhir_only_blank/a.ndjson", b"\n\n  \n")
case("fhir_only_blank", "fhir", "refuse", 0)
os.makedirs(os.path.join(root, "fhir_no_files"))
case("fhir_no_files", "fhir", "refuse", 0)
write("fhir_noise/a.ndjson", bytes(random.randrange(256) for _ in range(60000)))
case("fhir_noise", "fhir", "refuse", 0)
write("fhir_noise_beside_good/a.ndjson", bytes(random.randrange(256) for _ in range(60000)))
write("fhir_noise_beside_good/b.ndjson", body)
case("fhir_noise_beside_good", "fhir", "reject", 3)
write("fhir_utf16/a.ndjson", body.decode().encode("utf-16"))
case("fhir_utf16", "fhir", "refuse", 0)
write("fhir_utf16_beside_good/a.json", json.dumps(person(1, name=[{"family": MARKER}])).encode("utf-16-le"))
write("fhir_utf16_beside_good/b.ndjson", body)
case("fhir_utf16_beside_good", "fhir", "reject", 3)
write("fhir_byte_order_mark/a.ndjson", b"\xef\xbb\xbf" + body)
case("fhir_byte_order_mark", "fhir", "any", 2)
write("fhir_crlf/a.ndjson", body.replace(b"\n", b"\r\n"))
case("fhir_crlf", "fhir", "any", 3)
whole = gzip.compress(body * 50)
write("fhir_gzip_truncated/a.ndjson.gz", whole[:-30])
write("fhir_gzip_truncated/b.ndjson", body)
case("fhir_gzip_truncated", "fhir", "any", 3)
write("fhir_gzip_not/a.ndjson.gz", (MARKER * 30).encode())
write("fhir_gzip_not/b.ndjson", body)
case("fhir_gzip_not", "fhir", "any", 3)
flipped = bytearray(whole)
flipped[len(flipped) // 2] ^= 0x55
write("fhir_gzip_flipped/a.ndjson.gz", bytes(flipped))
case("fhir_gzip_flipped", "fhir", "any", 0)
write("fhir_gzip_bomb/a.ndjson.gz", gzip.compress(b'{"resourceType":"Patient","id":"' + b"0" * 120_000_000))
write("fhir_gzip_bomb/b.ndjson", body)
case("fhir_gzip_bomb", "fhir", "any", 3)
bundle = {"resourceType": "Bundle", "type": "transaction",
          "entry": [{"fullUrl": f"urn:uuid:g{i}", "resource": person(i)} for i in range(2)] + [{"resource": observation(0, 1)}]}
write("fhir_bundle_odd_entries/a.json", json.dumps({**bundle, "entry": bundle["entry"] + [None, 4, MARKER, {}, {"resource": None}, {"resource": [MARKER]}]}))
case("fhir_bundle_odd_entries", "fhir", "reject", 1)
write("fhir_bundle_truncated/a.json", json.dumps(bundle)[:-40])
write("fhir_bundle_truncated/b.ndjson", body)
case("fhir_bundle_truncated", "fhir", "reject", 3)
write("fhir_bundle_entry_is_object/a.json", json.dumps({"resourceType": "Bundle", "entry": {"resource": MARKER}}))
case("fhir_bundle_entry_is_object", "fhir", "refuse", 0)
write("fhir_directory_named_like_a_file/x.json/y.txt", MARKER)
write("fhir_directory_named_like_a_file/b.ndjson", body)
case("fhir_directory_named_like_a_file", "fhir", "any", 3)

# ---- PhysioNet 2012: one file a stay ----
HEAD = "Time,Parameter,Value\n00:00,RecordID,{0}\n00:00,Age,54\n00:00,Gender,0\n00:00,Height,-1\n00:00,ICUType,4\n00:00,Weight,-1\n"


def stay(n, tail):
    return HEAD.format(n) + "00:07,HR,73\n00:37,GCS,15\n" + tail


def icu(name, tail, must="reject", kept=3, raw=None):
    for i in range(3):
        write(f"{name}/set-a/13254{i}.txt", stay(132540 + i, "01:00,HR,70\n"))
    write(f"{name}/set-a/139999.txt", raw if raw is not None else stay(139999, "") .encode() + (tail if isinstance(tail, bytes) else tail.encode()))
    case(name, "csv", must, kept, "physionet2012")


icu("icu_value_is_text", f"02:00,HR,{MARKER}\n")
icu("icu_time_is_text", f"{MARKER},HR,70\n")
icu("icu_time_over", "99999999999:00,HR,70\n")
icu("icu_unknown_parameter", f"02:00,{MARKER},70\n", "any")
icu("icu_too_many_fields", f"02:00,HR,70,{MARKER},{MARKER}\n")
icu("icu_too_few_fields", "02:00\n")
icu("icu_value_huge", "02:00,HR,1e400\n", "any")
icu("icu_value_nan", "02:00,HR,nan\n", "any")
icu("icu_open_quote", f'02:00,"HR,{MARKER}\n03:00,HR,70\n', "any")
icu("icu_quote_inside", f'02:00,H"R{MARKER},70\n', "any")
icu("icu_bad_utf8", b"02:00,H\xff\xfeR,70\n", "any")
icu("icu_nul", b"02:00,HR\0,70\n", "any")
icu("icu_long_field", "02:00,HR," + "7" * 3_000_000 + "\n", "any")
icu("icu_empty_file", "", "any", 3, b"")
icu("icu_no_header", "", "any", 3, stay(139999, "").split("\n", 1)[1].encode())
icu("icu_other_header", "", "any", 3, f"{MARKER},b,c\n1,2,3\n".encode())
icu("icu_only_commas", "", "any", 3, b"Time,Parameter,Value\n" + b",,\n" * 1000)
icu("icu_noise", "", "any", 3, bytes(random.randrange(256) for _ in range(20000)))
icu("icu_crlf", "", "any", 4, stay(139999, "").replace("\n", "\r\n").encode())
icu("icu_old_mac", "", "any", 3, stay(139999, "").replace("\n", "\r").encode())

# ---- OMOP ----
PERSON = "person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,birth_datetime,race_concept_id,ethnicity_concept_id\n"
GOOD = "".join(f"{i},8507,195{i},1,2,,8527,38003564\n" for i in range(1, 4))
VISIT = ("visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_end_date,visit_end_datetime,visit_type_concept_id\n"
         "1,1,9201,2010-01-02,2010-01-02 10:00:00,2010-01-05,2010-01-05 10:00:00,44818518\n")


def omop(name, person_rows="", must="reject", kept=1, visits="", files=None):
    write(f"{name}/person.csv", PERSON + GOOD + person_rows)
    write(f"{name}/visit_occurrence.csv", VISIT + visits)
    for f, data in (files or {}).items():
        write(f"{name}/{f}", data)
    case(name, "omop", must, kept)


omop("omop_person_id_text", f"{MARKER},8507,1950,1,2,,8527,0\n", "any")
omop("omop_no_person_id", ",8507,1950,1,2,,8527,0\n")
omop("omop_birth_year_text", f"9,8507,{MARKER},1,2,,8527,0\n", "any")
omop("omop_short_row", "9,8507\n")
omop("omop_long_row", "9,8507,1950,1,2,,8527,0," + ",".join([MARKER] * 300) + "\n")
omop("omop_visit_date_text", visits=f"2,1,9201,{MARKER},,,,44818518\n")
omop("omop_visit_of_nobody", visits=f"2,{MARKER},9201,2010-01-02,,,,44818518\n", must="any")
omop("omop_open_quote", visits=f'2,1,9201,"2010-01-02,,,,{MARKER}\n', must="any")
omop("omop_concept_garbage", files={"concept.csv": f"{MARKER}\n1\n\0\0\n"}, must="any")
omop("omop_table_empty", files={"measurement.csv": ""}, must="any")
omop("omop_table_noise", files={"measurement.csv": bytes(random.randrange(256) for _ in range(20000))}, must="any")
omop("omop_gzip_truncated", files={"measurement.csv.gz": gzip.compress(VISIT.encode() * 99)[:-12]}, must="any")

# ---- MIMIC-IV ----
MP = "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n1,F,50,2150,2011 - 2013,\n2,M,61,2160,2011 - 2013,\n"
MA = ("subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,discharge_location,insurance,language,"
      "marital_status,race,edregtime,edouttime,hospital_expire_flag\n"
      "1,11,2150-01-02 10:00:00,2150-01-05 10:00:00,,URGENT,,,HOME,Other,ENGLISH,SINGLE,WHITE,,,0\n"
      "2,12,2160-01-02 10:00:00,2160-01-05 10:00:00,,URGENT,,,HOME,Other,ENGLISH,SINGLE,WHITE,,,0\n")


def mimic(name, admissions="", patients="", must="reject", kept=2):
    write(f"{name}/hosp/patients.csv", MP + patients)
    write(f"{name}/hosp/admissions.csv", MA + admissions)
    case(name, "csv", must, kept, "mimic4")


mimic("mimic_time_text", f"1,13,{MARKER},2150-01-05 10:00:00,,URGENT,,,HOME,Other,ENGLISH,SINGLE,WHITE,,,0\n")
mimic("mimic_no_subject", ",13,2150-01-02 10:00:00,2150-01-05 10:00:00,,URGENT,,,HOME,Other,ENGLISH,SINGLE,WHITE,,,0\n")
mimic("mimic_age_text", patients=f"3,F,{MARKER},2150,2011 - 2013,\n", must="any")
mimic("mimic_short_row", "1,13\n")
mimic("mimic_free_text_category", f"1,13,2150-01-02 10:00:00,2150-01-05 10:00:00,,{MARKER} was here,,,HOME,Other,ENGLISH,SINGLE,WHITE,,,0\n", must="any")

# ---- MEDS ----
MEDS = "subject_id,time,code,numeric_value\n1,,GENDER//F,\n1,1970-01-02,MEDS_BIRTH,\n1,2010-01-02 10:00:00,LAB//A,1.5\n2,1980-01-02,MEDS_BIRTH,\n2,2011-01-02 10:00:00,LAB//A,2.5\n"


def meds(name, rows, must="reject", kept=2, files=None):
    write(f"{name}/data/0.csv", (MEDS.encode() + (rows if isinstance(rows, bytes) else rows.encode())))
    for f, data in (files or {}).items():
        write(f"{name}/{f}", data)
    case(name, "meds", must, kept)


meds("meds_time_text", f"1,{MARKER},LAB//A,1\n")
meds("meds_value_text", f"1,2010-01-03,LAB//A,{MARKER}\n", "any")
meds("meds_no_code", "1,2010-01-03,,1\n")
meds("meds_no_subject", f",2010-01-03,LAB//{MARKER},1\n")
meds("meds_short_row", "1\n")
meds("meds_bad_utf8", b"1,2010-01-03,LAB//\xff\xfe,1\n")
meds("meds_long_code", "1,2010-01-03," + MARKER * 4000 + ",1\n")
PARQUET = b"PAR1" + bytes(random.randrange(256) for _ in range(4000)) + MARKER.encode() + b"\x10\0\0\0PAR1"
meds("meds_parquet_noise", "", "any", 0, {"data/1.parquet": PARQUET})
write("meds_parquet_only/data/0.parquet", PARQUET)
case("meds_parquet_only", "meds", "refuse", 0)
write("meds_parquet_empty/data/0.parquet", b"")
case("meds_parquet_empty", "meds", "refuse", 0)

with open(os.path.join(root, "cases.tsv"), "w") as f:
    f.writelines("\t".join(c) + "\n" for c in cases)
