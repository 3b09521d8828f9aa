#!/usr/bin/env python3
"""Delphi's events (rows of three uint32: person, age in days, token; token N is line N+2 of labels.csv) -> events.csv for mapping/delphi.json.
Lives in which nobody dies run to 80 years of age, which the files leave unsaid: that day gets an event "End", or nobody could know that nothing
happened between the last event and it. (Not the last person of a file, whose life may be cut where it ends.)
Usage: delphi_csv.py FILE.bin labels.csv OUTDIR [OFFSET]; OFFSET is added to the person numbers, so that two files hold different people.
Who has no sex is left out: one person at the beginning of train.bin and one at that of val.bin, whose lives were cut where the files begin."""
import csv
import os
import struct
import sys

END = 29220  # days
data, labels, out = sys.argv[1:4]
offset = int(sys.argv[4]) if len(sys.argv) > 4 else 0
words = [line.rstrip("\n") for line in open(labels, encoding="utf-8")]
raw = open(data, "rb").read()
rows = list(struct.iter_unpack("<3I", raw[:len(raw) // 12 * 12]))
sexed = {person for person, _, token in rows if words[token + 1].split()[0] in ("Female", "Male")}
dead = {person for person, _, token in rows if words[token + 1].split()[0] == "Death"}
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "events.csv"), "w", newline="", encoding="utf-8") as f:
    w = csv.writer(f)
    w.writerow(["person", "day", "code"])
    w.writerows([person + offset, day, words[token + 1].split()[0]] for person, day, token in rows if person in sexed)
    w.writerows([person + offset, END, "End"] for person in sorted(sexed - dead - {rows[-1][0]}))
