#!/usr/bin/env bash
# Images through `vitae deid` and `vitae ingest`: scored by an independent reader, the same bytes again, nothing of the patients anywhere.
. "$(dirname "$0")/../../scripts/testlib.sh"
py=/usr/bin/python3

inputs() { # the provided images, flat
  have_data deid-ms-anonymizer && have_data deid-presidio-dicom && have_data deid-reference || return 1
  $py -c 'import pydicom, numpy' 2> /dev/null || { if [ -n "${CI:-}" ]; then fail "no python3-pydicom"; else skip "no python3-pydicom"; fi; return 1; }
  [ -d "$work/in" ] && return 0
  mkdir "$work/in" "$work/raw" "$work/ref"
  for f in "$data"/deid-ms-anonymizer/*dicom*.tar.xz "$data"/deid-presidio-dicom/*.tar.xz; do tar xJf "$f" -C "$work/raw"; done
  for f in "$data"/deid-reference/*dicom*.tar.xz; do tar xJf "$f" -C "$work/ref"; done
  find "$work/raw" -name '*.dcm' ! -path '*Results*' -exec cp -n {} "$work/in/" \;
  passing_heads
  "$vitae" init "$work/site" --policy "$work/pol/expert.json" > "$work/said" 2>&1
}

# The policy of an expert who lets volumes of a head pass.
passing_heads() {
  [ -d "$work/pol" ] && return 0
  mkdir "$work/pol"; cp policy/*.json "$work/pol/"; cp -r policy/lists policy/text-en* "$work/pol/"
  sed -i 's/"faces": "refuse"/"faces": "flag"/' "$work/pol/expert.json"
}

scored_by_an_independent_reader() {
  inputs || return 0
  run "$vitae" deid --from dicom "$work/in" "$work/cleaned" --names keep --policy "$work/pol/expert.json" --vault "$work/site/vault"; status_is 0
  run $py tests/oracle/dicom_score.py "$(find "$work/ref" -name 'confidentiality_profile_attributes.json')" "$work/in" "$work/cleaned" \
    --boxes "$(find "$work/raw" -name ground_truth.json)"
  status_is 0
  out_has "100.0000 %"
}

the_same_again() {
  inputs || return 0
  run "$vitae" deid --from dicom "$work/in" "$work/again" --names keep --policy "$work/pol/expert.json" --vault "$work/site/vault"; status_is 0
  run diff -r "$work/cleaned" "$work/again"; status_is 0
}

new_names_and_references_that_resolve() {
  inputs || return 0
  run "$vitae" deid --from dicom "$work/in" "$work/uids" --policy "$work/pol/expert.json" --vault "$work/site/vault"; status_is 0
  for f in "$work"/uids/*.dcm; do case $(basename "$f") in 2.25.*) ;; *) fail "a file is called $(basename "$f")" ;; esac; done
  run $py - "$work/in" "$work/cleaned" << 'P'
import os, sys, pydicom
old, new, pairs = {}, {}, {}
def uids(ds, path=()):
    for el in ds:
        if el.VR == "UI" and not str(el.value).startswith("1.2.840.10008."): yield path + (el.tag,), str(el.value)
        if el.VR == "SQ":
            for i, item in enumerate(el.value): yield from uids(item, path + (el.tag, i))
for n in os.listdir(sys.argv[1]):
    a, b = (dict(uids(pydicom.dcmread(os.path.join(d, n)))) for d in sys.argv[1:3])
    for k, v in b.items():
        if k in a and pairs.setdefault(a[k], v) != v: sys.exit("one UID became two")
sys.exit(0 if len(pairs) > 10 and len(set(pairs.values())) == len(pairs) else "two UIDs became one")
P
  status_is 0
}

ingested_with_its_blobs() {
  inputs || return 0
  run "$vitae" ingest "$work/site" "$work/in" --from dicom --policy "$work/pol/expert.json"; status_is 0
  out_has "removed: medical-record"
  run "$vitae" verify "$work/site"; status_is 0
  for word in KAUFMAN SCOTT RODGERS 6774825273 7255997752 20130912E801911; do
    nothing_says "$word"
    if grep -rqaiF "$word" "$work/cleaned" "$work/uids" "$work/site/timelines" "$work/site/reports"; then fail "$word is in the output"; fi
  done
}

refuses_what_it_cannot_clean() {
  inputs || return 0
  mkdir -p "$work/bad"
  head -c 30000 "$(find "$work/in" -name '*.dcm' | sort | head -1)" > "$work/bad/KAUFMAN_cut.dcm"
  echo "no image" > "$work/bad/KAUFMAN.txt"
  : > "$work/bad/empty.dcm"
  run "$vitae" deid --from dicom "$work/bad" "$work/none"; no_crash cut
  [ "$status" -ne 0 ] || fail "nothing was cleaned, and that was well"
  nothing_says KAUFMAN
  [ ! -e "$work/none" ] || fail "a directory of a run that failed is left"
}

devices_and_heads() {
  $py -c 'import pydicom, numpy' 2> /dev/null || { [ -n "${CI:-}" ] && fail "no python3-pydicom"; return 0; }
  mkdir -p "$work/heads"
  $py - "$work/heads" << 'P'
import sys
from pydicom.dataset import Dataset, FileMetaDataset
import pydicom
for i, (part, series, serial) in enumerate([("KNEE", "T1", "SN-998877"), ("KNEE", "T2", "SN-998877"), ("CHEST", "AX", "SN-112233"), ("HEAD", "T1", "SN-998877"), ("", "Brain MPRAGE", "SN-998877")]):
    m = FileMetaDataset(); m.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"; m.MediaStorageSOPInstanceUID = f"1.2.3.9.{i}"; m.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    s = Dataset(); s.file_meta = m; s.is_little_endian, s.is_implicit_VR = True, False
    s.SOPClassUID, s.SOPInstanceUID, s.StudyInstanceUID, s.SeriesInstanceUID = m.MediaStorageSOPClassUID, m.MediaStorageSOPInstanceUID, "1.2.3.8", f"1.2.3.7.{i}"
    s.PatientID, s.PatientName, s.Modality, s.BodyPartExamined, s.SeriesDescription = "P-5501", "Ashdown^Ann", "MR", part, series
    s.DeviceSerialNumber, s.StationName, s.ManufacturerModelName = serial, "ROOM4 MR", "Magnetom"
    s.StudyDate, s.StudyTime = "20130911", "162658"
    s.Rows = s.Columns = 8; s.SamplesPerPixel = 1; s.PhotometricInterpretation = "MONOCHROME2"; s.BitsAllocated = s.BitsStored = 8; s.HighBit = 7; s.PixelRepresentation = 0; s.PixelData = bytes(64)
    pydicom.dcmwrite(f"{sys.argv[1]}/{i}.dcm", s, write_like_original=False)
P
  passing_heads
  "$vitae" init "$work/headsite" --policy "$work/pol/expert.json" > "$work/said" 2>&1
  run "$vitae" deid --from dicom "$work/heads" "$work/expert" --names keep --policy "$work/pol/expert.json" --vault "$work/headsite/vault" --json; status_is 0
  json_is "(j['written'], j['wall']['objects']['image_head_volumes_passed'], j['wall']['objects']['image_head_volumes_refused'], j['wall']['objects']['image_device_numbers_replaced'])" "(5, 2, 0, 10)"
  run "$vitae" deid --from dicom "$work/heads" "$work/again2" --names keep --policy "$work/pol/expert.json" --vault "$work/headsite/vault"; run diff -r "$work/expert" "$work/again2"; status_is 0
  run $py -c 'import pydicom,sys
n=[pydicom.dcmread(f"{sys.argv[1]}/{i}.dcm") for i in range(5)]
s=[x.DeviceSerialNumber for x in n]
assert s[0]==s[1]==s[3]!=s[2] and s[0].startswith("D") and "9988" not in s[0], s
assert all(x.StationName.startswith("D") and x.ManufacturerModelName=="Magnetom" for x in n)' "$work/expert"; status_is 0
  run "$vitae" deid --from dicom "$work/heads" "$work/harbor" --names keep --policy safe-harbor --json; status_is 0
  json_is "(j['written'], j['refused'], j['wall']['objects']['image_head_volumes_refused'])" "(3, 2, 2)"
  run "$vitae" deid --from dicom "$work/heads" "$work/usual" --names keep --json; status_is 0 # the policy of whoever names none
  json_is "(j['written'], j['wall']['objects']['image_head_volumes_refused'])" "(3, 2)"
}
run_cases devices_and_heads scored_by_an_independent_reader the_same_again new_names_and_references_that_resolve ingested_with_its_blobs refuses_what_it_cannot_clean
