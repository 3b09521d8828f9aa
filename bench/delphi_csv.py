#!/usr/bin/env python3
"""Delphi's events (rows of three uint32: person, age in days, token; token N is line N+2 of labels.csv) -> events.csv for mapping/delphi.json.
Usage: delphi_csv.py FILE.bin labels.csv OUTDIR [OFFSET]; OFFSET is added to the person numbers, so that two files hold different people."""
import csv
import os
import struct
import sys

data, labels, out = sys.argv[1:4]
offset = int(sys.argv[4]) if len(sys.argv) > 4 else 0
words = [line.rstrip("\n") for line in open(labels, encoding="utf-8")]
raw = open(data, "rb").read()
os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "events.csv"), "w", newline="", encoding="utf-8") as f:
    w = csv.writer(f)
    w.writerow(["person", "day", "code"])
    for person, day, token in struct.iter_unpack("<3I", raw[:len(raw) // 12 * 12]):
        label = words[token + 1]
        w.writerow([person + offset, day, label.split()[0]])
