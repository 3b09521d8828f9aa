#!/usr/bin/env bash
# One person in every source that the program reads: FHIR, HL7 v2, OMOP, MEDS, notes (CSV), DICOM, VCF. One pseudonym, one shift, intervals exact
# to the second, whatever the order of the sources; and no name of the person in what comes out.
. "$(dirname "$0")/../../scripts/testlib.sh"
py=/usr/bin/python3
$py -c 'import pydicom, numpy' 2> /dev/null || { [ -n "${CI:-}" ] && { echo "no python3-pydicom"; exit 1; }; no_dicom=1; }

# Two persons, 70001 and 70002. Each source has an event of person p on 2010-01-1p at 07:08:0S, S the number of the source.
make_sources() { $py - "$1" <<'P'
import json, os, sys
d = sys.argv[1]
for s in ("fhir", "hl7v2", "omop", "meds", "notes", "dicom", "vcf"): os.makedirs(f"{d}/{s}", exist_ok=True)
P = (1, 2)
with open(f"{d}/fhir/x.ndjson", "w") as f:
    for p in P:
        f.write(json.dumps({"resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/p{p}"}, "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
            "effectiveDateTime": f"2010-01-1{p}T07:08:01Z", "valueQuantity": {"value": 13, "unit": "g/dL"}}) + "\n")
        f.write(json.dumps({"resourceType": "Patient", "id": f"p{p}", "gender": "female", "birthDate": f"195{p}-03-04", "name": [{"family": f"Quetzal{'ab'[p-1]}", "given": ["Xochitl"]}],
            "identifier": [{"system": "urn:oid:1.2.3", "value": f"7000{p}"}]}) + "\n")
with open(f"{d}/hl7v2/x.hl7", "w", newline="") as f:
    for p in P:
        f.write("\r".join([f"MSH|^~\\&|LAB|H|EHR|H|2010011{p}070900||ORU^R01|M{p}|P|2.5.1", f"PID|1||7000{p}^^^HOSP&1.2.3&ISO^MR||QUETZAL{'AB'[p-1]}^XOCHITL", "OBR|1|||24323-8^CMP^LN",
            f"OBX|1|NM|2160-0^Creatinine^LN||1.2|mg/dL|||||F|||2010011{p}070802", ""]))
with open(f"{d}/omop/person.csv", "w") as f:
    f.write("person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,birth_datetime,race_concept_id,ethnicity_concept_id,person_source_value,gender_source_value,race_source_value,ethnicity_source_value\n")
    for p in P: f.write(f"{900 + p},8532,195{p},3,4,,0,0,7000{p},F,,\n")
with open(f"{d}/omop/visit_occurrence.csv", "w") as f:
    f.write("visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_end_date,visit_end_datetime,visit_type_concept_id,visit_source_value\n")
    for p in P: f.write(f"{p},{900 + p},9201,2010-01-1{p},2010-01-1{p} 07:08:03,2010-01-2{p},2010-01-2{p} 00:00:00,0,\n")
with open(f"{d}/meds/data.csv", "w") as f:
    f.write("subject_id,time,code,numeric_value\n")
    for p in P: f.write(f"7000{p},2010-01-1{p} 07:08:04,LOINC//8480-6,12{p}\n")
with open(f"{d}/notes/notes.csv", "w") as f:
    f.write("note,mrn,written,kind,words\n")
    for p in P: f.write(f"{p},7000{p},2010-01-1{p} 07:08:05,11506-3,\"Ms. Quetzal{'ab'[p-1]} (MRN 7000{p}) came on 1/1{p}/2010. Xochitl feels better.\"\n")
json.dump({"name": "notes", "tables": [{"table": "notes", "path": "notes.csv", "subject": "{mrn}", "time": "{written}", "allow": {"kind": "code"},
    "events": [{"code": "LOINC//{kind}", "text": "{words}"}]}]}, open(f"{d}/notes.json", "w"))
with open(f"{d}/vcf/x.vcf", "w") as f:
    f.write("##fileformat=VCFv4.2\n##contig=<ID=1,length=248956422>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n")
    f.write("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t70001\t70002\n1\t1000\trs1\tA\tG\t50\tPASS\t.\tGT\t0/1\t1/1\n")
try: import pydicom, numpy
except ImportError: sys.exit()
from pydicom.dataset import Dataset, FileMetaDataset
for p in P:
    m = FileMetaDataset(); m.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"; m.MediaStorageSOPInstanceUID = f"1.2.3.4.{p}"; m.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    s = Dataset(); s.file_meta = m; s.is_little_endian = True; s.is_implicit_VR = False
    s.SOPClassUID = m.MediaStorageSOPClassUID; s.SOPInstanceUID = m.MediaStorageSOPInstanceUID; s.StudyInstanceUID = f"1.2.3.5.{p}"; s.SeriesInstanceUID = f"1.2.3.6.{p}"
    s.PatientID = f"7000{p}"; s.IssuerOfPatientID = "HOSP"; s.PatientName = f"Quetzal{'ab'[p-1]}^Xochitl"; s.Modality = "MR"; s.BodyPartExamined = "KNEE"
    s.StudyDate = s.ContentDate = s.AcquisitionDate = f"2010011{p}"; s.StudyTime = "070000"; s.AcquisitionTime = "070806.25"
    s.Rows = s.Columns = 8; s.SamplesPerPixel = 1; s.PhotometricInterpretation = "MONOCHROME2"; s.BitsAllocated = s.BitsStored = 8; s.HighBit = 7; s.PixelRepresentation = 0; s.PixelData = bytes(64)
    pydicom.dcmwrite(f"{d}/dicom/{p}.dcm", s, write_like_original=False)
P
}
trust() { $py - "$1" <<'P'
import json, sys
p = sys.argv[1] + "/identity.json"; j = json.load(open(p)); t = "urn:oid:1.2.3"
j["namespaces"] = [t]; j["aliases"] = {"omop54/person_source_value": t, "meds": t, "notes": t, "HOSP": t, "vcf-sample": t}
json.dump(j, open(p, "w"))
P
}
site_of() { # SITE SOURCE...
  local s=$1 k; shift
  run "$vitae" init "$s"; status_is 0; trust "$s"
  for k in "$@"; do
    case $k in notes) run "$vitae" ingest "$s" "$work/src/notes" --from csv --mapping "$work/src/notes.json" ;; *) run "$vitae" ingest "$s" "$work/src/$k" --from "$k" ;; esac
    status_is 0
  done
}
subject_of() { run "$vitae" vault "$1" lookup --source "$2" --person "$3" --json; status_is 0; json "j['subject']"; }

one_life_from_seven_sources() {
  local all order n=0 s p q k keys
  make_sources "$work/src"
  all="fhir hl7v2 omop meds notes dicom vcf"; [ -n "${no_dicom:-}" ] && all="fhir hl7v2 omop meds notes vcf"
  for order in "$all" "$(echo "$all" | tr ' ' '\n' | tac | tr '\n' ' ')"; do
    n=$((n + 1)); s=$work/s$n
    site_of "$s" $order
    run "$vitae" show "$s" --json; json_is "j['subjects']" 2
    for p in 1 2; do
      q=$(subject_of "$s" fhir p$p)
      keys="hl7v2=HOSP/7000$p omop54=90$p meds=7000$p notes=7000$p vcf=7000$p"; [ -n "${no_dicom:-}" ] || keys="$keys dicom=HOSP/7000$p"
      for k in $keys; do same "$(subject_of "$s" "${k%%=*}" "${k#*=}")" "$q" "pseudonym in ${k%%=*}"; done
      run "$vitae" show "$s" "$q" --json; status_is 0
      # whole seconds after the first source's event: each source has its own
      json_is "sorted(set(round((e['t'] - [x['t'] for x in j['events'] if x['code'] == 'LOINC//718-7'][0]) / 1e6) for e in j['events'] if e['t'] is not None and 0 <= e['t'] - [x['t'] for x in j['events'] if x['code'] == 'LOINC//718-7'][0] < 60 * 10**6))" \
        "$([ -n "${no_dicom:-}" ] && echo '[0, 1, 2, 3, 4]' || echo '[0, 1, 2, 3, 4, 5]')"
      json_is "(lambda d: d != 0 and d % 86400000000 == 0)([e['t'] for e in j['events'] if e['code'] == 'LOINC//718-7'][0] - (1263193681 + 86400 * $((p - 1))) * 1000000)" True
      json_is "len([e for e in j['events'] if e['code'].startswith('GENOME//VCF')])" 1
    done
    run "$vitae" verify "$s"; status_is 0
    ! grep -rqaiE 'quetzal|xochitl|\b7000[12]\b' "$s/timelines" "$s/reports" || fail "a name or number of the person is in the store or the reports"
    run "$vitae" audit "$s"; status_is 0
  done
}

a_text_by_itself_moves_with_the_person() {
  local s=$work/s1 shift
  [ -d "$s" ] || { make_sources "$work/src"; site_of "$s" fhir; }
  run "$vitae" vault "$s" lookup --source fhir --person p1; shift=$(grep -oE '[+-][0-9]+ days' "$work/out" | head -1 | cut -d' ' -f1)
  echo '{"id": "t1", "person": "p1", "text": "Ms. Quetzala came on 2010-01-11."}' > "$work/t.jsonl"
  run "$vitae" deid --from text "$work/t.jsonl" "$work/t.out" --vault "$s/vault" --policy expert; status_is 0
  grep -qF "$(date -u -d "2010-01-11 $shift days" +%Y-%m-%d)" "$work/t.out" || fail "the date did not move with the person: $(cat "$work/t.out")"
  ! grep -qi quetzal "$work/t.out" || fail "the name is there"
}

untrusted_authorities_link_nobody() {
  local s=$work/apart
  [ -d "$work/src" ] || make_sources "$work/src"
  run "$vitae" init "$s"
  for k in fhir hl7v2; do run "$vitae" ingest "$s" "$work/src/$k" --from $k; status_is 0; done
  run "$vitae" show "$s" --json; json_is "j['subjects']" 4
}

a_merge_makes_one_life_of_two_numbers() {
  local s=$work/merge q
  run "$vitae" init "$s"
  mkdir -p "$work/m1"
  $py - "$work/m1/x.hl7" <<'P'
import sys
head = lambda t, n: f"MSH|^~\\&|ADT|H|EHR|H|20100111070900||{t}|M{n}|P|2.5.1"
oru = lambda n, mrn, sec: [head("ORU^R01", n), f"PID|1||{mrn}^^^HOSP^MR||DOE^JO", "OBR|1|||24323-8^CMP^LN", f"OBX|1|NM|2160-0^Creatinine^LN||1.{n}|mg/dL|||||F|||201001110708{sec:02d}", ""]
m = oru(1, "A17", 1) + oru(2, "B29", 5) + [head("ADT^A40", 3), "EVN|A40|20100111", "PID|1||A17^^^HOSP^MR||DOE^JO", "MRG|B29^^^HOSP^MR", ""]
open(sys.argv[1], "w", newline="").write("\r".join(m))
P
  run "$vitae" ingest "$s" "$work/m1" --from hl7v2; status_is 0
  run "$vitae" show "$s" --json; json_is "j['subjects']" 1
  q=$(subject_of "$s" hl7v2 HOSP/A17); same "$(subject_of "$s" hl7v2 HOSP/B29)" "$q" "pseudonym of the number that was merged"
  run "$vitae" show "$s" "$q" --json
  json_is "(lambda t: t[1] - t[0])(sorted(e['t'] for e in j['events'] if e['code'] == 'LOINC//2160-0'))" 4000000
  # too late for two who have events already: counted, never mixed
  s=$work/late; run "$vitae" init "$s"; mkdir -p "$work/m2" "$work/m3"
  tr '\r' '\n' < "$work/m1/x.hl7" | sed '/A40/,$d' > "$work/m2/x.hl7"; tr '\r' '\n' < "$work/m1/x.hl7" > "$work/m3/x.hl7"
  run "$vitae" ingest "$s" "$work/m2" --from hl7v2; status_is 0
  run "$vitae" ingest "$s" "$work/m3" --from hl7v2 --json; status_is 0
  json_is "j['wall']['linking']['conflicts'] > 0" True
  run "$vitae" show "$s" --json; json_is "j['subjects']" 2
}
# An admission, a discharge and two results of one ingest; a later one takes the discharge and one result back and corrects the result.
a_later_ingest_takes_back() {
  local s=$work/back policy
  mkdir -p "$work/b1" "$work/b2"
  $py - "$work" <<'P'
import sys
head = lambda t, n: f"MSH|^~\\&|ADT|H|EHR|H|20100111070900||{t}|M{n}|P|2.5.1"
pid = "PID|1||A17^^^HOSP^MR||DOE^JO||19500101"
visit = lambda t, n, end: [head("ADT^" + t, n), f"EVN|{t}|20100111", pid, "PV1|1|I" + "|" * 17 + "V1" + "|" * 25 + "201001110100" + end, ""]
def oru(n, *results):
    return [head("ORU^R01", n), pid, "OBR|1|||24323-8^CMP^LN"] + [f"OBX|{k}|NM|{code}^x^LN||{v}|mg/dL|||||{status}|||20100111070801" for k, (code, v, status) in enumerate(results)] + [""]
write = lambda name, m: open(f"{sys.argv[1]}/{name}/x.hl7", "w", newline="").write("\r".join(m))
write("b1", visit("A01", 1, "") + visit("A03", 2, "|201001120100") + oru(3, ("2160-0", 1.5, "F"), ("718-7", 13, "F")))
write("b2", visit("A13", 4, "|201001120100") + oru(5, ("718-7", "", "W")) + oru(6, ("2160-0", "", "D")) + oru(7, ("2160-0", 2.5, "C")))
P
  for policy in expert limited; do
    rm -rf "$s"; run "$vitae" init "$s"
    for k in b1 b2 b2; do run "$vitae" ingest "$s" "$work/$k" --from hl7v2 --policy $policy --json; status_is 0; done
    json_is "j['wall']['taken_back']" 3
    run "$vitae" show "$s" "$(subject_of "$s" hl7v2 HOSP/A17)" --json; status_is 0
    json_is "sorted((e['code'], e.get('value')) for e in j['events'] if '//' in e['code'])" "[('ENCOUNTER//IMP', None), ('LOINC//2160-0', 2.5)]"
    run "$vitae" verify "$s"; status_is 0
  done
  # a year's events that are one are not all wrong because one was
  rm -rf "$s"; run "$vitae" init "$s"
  for k in b1 b2; do run "$vitae" ingest "$s" "$work/$k" --from hl7v2 --policy safe-harbor --json; status_is 0; done
  json_is "j['wall']['dropped']['correction-without-effect']" 3
}
# Entered in error: gone with the next ingest, also where the corrected result stands before it; the same day's other results stay.
an_error_in_fhir_is_taken_back() {
  local s=$work/wrong
  mkdir -p "$work/e1" "$work/e2"
  $py - "$work" <<'P'
import json, sys
def obs(i, code, hour, v, status="final"): return {"resourceType": "Observation", "id": i, "status": status, "subject": {"reference": "Patient/p1"}, "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
    "effectiveDateTime": f"2015-03-02T{hour:02d}:00:00Z", "valueQuantity": {"value": v, "unit": "mg/dL"}}
write = lambda d, l: open(f"{sys.argv[1]}/{d}/x.ndjson", "w").write("".join(json.dumps(r) + "\n" for r in l))
write("e1", [{"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}, obs("a", "2160-0", 8, 1.5), obs("b", "2160-0", 9, 1.6), obs("c", "718-7", 8, 13)])
write("e2", [obs("d", "2160-0", 8, 2.5), obs("a", "2160-0", 8, 1.5, "entered-in-error"), obs("c", "718-7", 8, 13, "entered-in-error")])
P
  run "$vitae" init "$s"
  for k in e1 e2 e2; do run "$vitae" ingest "$s" "$work/$k" --from fhir --json; status_is 0; done
  json_is "j['wall']['taken_back']" 2
  run "$vitae" show "$s" "$(subject_of "$s" fhir p1)" --json; status_is 0
  json_is "sorted((e['code'], round(e['value'], 3)) for e in j['events'] if '//' in e['code'])" "[('LOINC//2160-0', 1.6), ('LOINC//2160-0', 2.5)]"
  run "$vitae" verify "$s"; status_is 0
}
run_cases one_life_from_seven_sources a_text_by_itself_moves_with_the_person untrusted_authorities_link_nobody a_merge_makes_one_life_of_two_numbers a_later_ingest_takes_back an_error_in_fhir_is_taken_back
