#!/usr/bin/python3
"""A second opinion on de-identified DICOM, after the MIDI-B challenge: makes an answer key from the identified files with pydicom and scores the others.

    dicom_score.py TABLE.json IDENTIFIED OUT [--boxes ground_truth.json] [--json]

TABLE.json is Table E.1-1 as JSON (the reference set's, not the program's own policy file). OUT holds files of the same relative names. Each row
of the key is one action on one element: tag_retained, text_notnull, text_retained, text_removed, date_shifted, uid_changed, uid_consistent,
patid_consistent, pixels_hidden, pixels_retained; rows count once per (action, tag, patient, study, series). Every row of a file that is
missing fails, removals too. Options expected: modified dates, descriptors, patient characteristics, device, structured content, graphics, pixels.
"""
import collections, datetime, hashlib, json, os, re, sys, warnings
import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag

warnings.simplefilter("ignore")
pydicom.config.convert_wrong_length_to_UN = True
KEEP = ["rtnPatCharsOpt", "rtnDevIdOpt"]
CLEAN = ["rtnLongModifDatesOpt", "cleanDescOpt", "cleanStructContOpt", "cleanGraphOpt", "rtnPatCharsOpt"]
CLASSES = {0x00080016, 0x0008001A, 0x0008001B, 0x00080062, 0x00081150, 0x0008115A, 0x00020002, 0x00020010, 0x0008010C, 0x00080117, 0x00080118, 0x00083002, 0x00404072}
OURS = {0x00120062, 0x00120063, 0x00120064, 0x00280301, 0x00280303, 0x00100010, 0x00100020}
PLACE = {"name", "none", "anonymous", "anonymized", "unknown", "patient", "test", "noid", "removed", "anon"}
DATE_IN_TEXT = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]* +\d|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}", re.I)


def table(path):
    out = {}
    for r in json.load(open(path)):
        code = r["basicProfile"]
        action = code.split("/")[-1]
        if any(r.get(o) == "K" for o in KEEP):
            action = "K"
        elif any(r.get(o) == "C" for o in CLEAN):
            action = "C"
        out[r["id"].lower()] = action
    return out


def action_of(t, tag):
    key = "%08x" % tag
    if tag >> 24 == 0x60:
        key = "60xx" + key[4:]
    if tag >> 24 == 0x50:
        return "X"
    return t.get(key)


def text(el):
    v = el.value
    if v is None:
        return ""
    if isinstance(v, (list, pydicom.multival.MultiValue)):
        return "\\".join(str(x) for x in v)
    return str(v)


def walk(ds, path=()):
    for el in ds:
        if el.tag.element == 0 or el.tag.group < 8:
            continue
        here = path + (int(el.tag),)
        yield here, el
        if el.VR == "SQ":
            for i, item in enumerate(el.value):
                yield from walk(item, here + (i,))


def read(path):
    try:
        ds = pydicom.dcmread(path, force=True)
        return ds if len(ds) else None
    except Exception:
        return None


def identifiers(ds, t):
    """Names (words) and numbers of the patient, names of everybody else."""
    own, others = set(), set()
    for path, el in walk(ds):
        if el.VR == "PN":
            words = {w for w in re.split(r"[^\w]+", text(el).lower()) if len(w) >= 3 and w not in PLACE and not w.isdigit()}
            (own if el.tag.group == 0x10 else others).update(words)
    for tag in (0x00100020, 0x00080050, 0x00101000, 0x00102154, 0x00101040, 0x00080094, 0x00080081):
        if tag in ds:
            for v in text(ds[tag]).split("\\"):
                if len(v) >= 5 and v.lower() not in PLACE:
                    own.add(v.lower())
    if 0x00100030 in ds and text(ds[0x00100030]):
        own.add(text(ds[0x00100030]))
    return own, others


class Score:
    def __init__(self):
        self.rows = {}
        self.failed = []

    def add(self, action, place, ok, scope, note=""):
        key = (action, place[-1] if place else 0) + scope
        if key not in self.rows or not ok:
            if key in self.rows and not self.rows[key]:
                return
            self.rows[key] = ok
            if not ok:
                self.failed.append((action, "/".join("%08x" % p if p > 9999 else str(p) for p in place), note))


NUMBERS = {0x00081010, 0x00181000, 0x00181004, 0x00181005, 0x00181007, 0x00181008, 0x00181009, 0x0018700A, 0x00203401, 0x00400010, 0x00400242, 0x300A00B2, 0x30080105}


def day(s):
    try:
        return datetime.date(int(s[:4]), int(s[4:6]), int(s[6:8]))
    except ValueError:
        return None


def shift_of(a, b):
    x, y = day(text(a)), day(text(b))
    return (y - x).days if x and y else None


def pixels(ds):
    try:
        return ds.pixel_array
    except Exception:
        return None


def has_text(name, boxes):
    return boxes.get(name) if boxes else None


def element(score, t, maps, shift, own, others, where, el, out, scope):
    tag, value = int(el.tag), text(el)
    if tag in OURS or el.VR == "SQ" or tag >> 16 == 0x7FE0 or tag >> 24 == 0x60:
        return
    new = text(out) if out is not None else ""
    if tag >> 16 & 1:
        score.add("text_removed", where, out is None or (value not in new), scope)
        return
    if not value or not dictionary_has_tag(el.tag):
        return
    act = action_of(t, tag)
    if el.VR == "UI":
        if value.startswith("1.2.840.10008.") or tag in CLASSES or act == "K":
            score.add("text_retained", where, new == value, scope)
        elif act in ("U", None, "D"):
            for a, b in zip(value.split("\\"), new.split("\\")):
                score.add("uid_changed", where, bool(b) and (a == "" or a != b) and len(b) <= 64, scope)
                score.add("uid_consistent", where, maps["uid"].setdefault(a, b) == b and maps["back"].setdefault(b, a) == a, scope)
        else:
            score.add("text_removed", where, value not in new, scope)
        return
    if el.VR in ("DA", "DT", "TM"):
        if act not in ("C", "K", None):
            score.add("text_removed", where, value not in new, scope)
        elif el.VR == "TM":
            score.add("text_retained", where, value.strip() == new.strip(), scope)
        else:
            for a, b in zip(value.split("\\"), new.split("\\")):
                if day(a):
                    score.add("date_shifted", where, day(b) == day(a) + datetime.timedelta(days=shift or 0) and a[8:] == b[8:] and bool(shift), scope)
        return
    if act in ("X", "Z", "D", "U*"):
        score.add("text_removed", where, value not in new, scope, "")
        return
    if tag in NUMBERS:  # of one device: another number, the same one everywhere
        for a, b in zip(value.split("\\"), new.split("\\")):
            score.add("text_removed", where, a.strip() != b.strip() and re.fullmatch(r"D\d{10}", b.strip()) is not None, scope)
            score.add("uid_consistent", where, maps["uid"].setdefault("number " + a.strip(), b) == b and maps["back"].setdefault(b, "number " + a.strip()) == "number " + a.strip(), scope)
        return
    low = value.lower()
    hit = {w for w in own | (others if act == "C" or el.VR in ("ST", "LT", "UT") else set()) if w in low}
    if el.VR in ("ST", "LT", "UT", "LO", "SH", "UC") and (act == "C" or hit or DATE_IN_TEXT.search(value)):
        for w in hit:
            score.add("text_removed", where, w not in new.lower(), scope)
        for w in re.findall(r"[A-Za-z]{3,}", value):
            if not any(w.lower() in h or h in w.lower() for h in hit) and not DATE_IN_TEXT.search(value):
                score.add("text_retained", where + (int(hashlib.sha1(w.encode()).hexdigest()[:6], 16),), w in new, scope, w if os.environ.get("WORDS") else "")
        return
    if el.VR == "AE" or el.VR == "UR":
        return
    if el.VR == "AS" and "089" < value[:3] != "090":
        score.add("text_removed", where, value not in new, scope)
        return
    score.add("text_retained", where, new == value, scope)
    score.add("tag_retained", where, out is not None, scope)


def one(score, t, maps, name, a, b, boxes):
    who = str(a.get("PatientID", ""))
    scope = (who, str(a.get("StudyInstanceUID", "")), str(a.get("SeriesInstanceUID", "")), name if name in (boxes or {}) else "")
    own, others = identifiers(a, t)
    found = {p: el for p, el in walk(b)} if b is not None else {}
    shift = shift_of(a[0x00080020], found[(0x00080020,)]) if b is not None and (0x00080020,) in found and 0x00080020 in a else None
    for tag in (0x00080021, 0x00080022, 0x00080023, 0x00080012):
        if shift is None and tag in a and (tag,) in found:
            shift = shift_of(a[tag], found[(tag,)])
    if shift is not None and who:
        score.add("date_shifted", (1,), maps["shift"].setdefault(who, shift) == shift, (who,))
    for path, el in walk(a):
        if any(p in OURS for p in path[:-1]):
            continue
        removed = any(action_of(t, p) in ("X", "Z", "U*") and p not in (0x00081140, 0x00082112) or (p >> 16 & 1) for p in path[:-1] if p > 9999)
        inside = any(action_of(t, p) == "D" for p in path[:-1] if p > 9999)
        if removed or inside:
            continue
        if b is None:
            score.add("tag_retained", path, False, scope, "no file")
            continue
        element(score, t, maps, shift, own, others, path, el, found.get(path), scope)
    if b is None:
        return
    if who:
        new = str(b.get("PatientID", ""))
        score.add("patid_consistent", (0x00100020,), bool(new) and new != who and maps["pat"].setdefault(who, new) == new, (who,))
    score.add("text_notnull", (0x00120062,), str(b.get("PatientIdentityRemoved", "")) == "YES", scope)
    score.add("text_notnull", (0x00120064,), len(b.get("DeidentificationMethodCodeSequence", [])) > 0, scope)
    score.add("text_removed", (2,), not any(w in text(el).lower() for el in (e for _, e in walk(b)) if el.VR in ("LO", "SH", "PN", "ST", "LT", "UT", "UC", "AE")
                                           for w in own if len(w) >= 4), scope, "own identifier in output")
    if "PixelData" not in a:
        return
    boxed = has_text(name, boxes)
    if boxed is not None:
        x, y = pixels(a), pixels(b)
        outside = np.ones(x.shape[:2], bool)
        for g in boxed:
            left, top = max(g["left"] - 25, 0), max(g["top"] - 25, 0)
            part = y[top:g["top"] - 25 + g["height"], left:g["left"] - 25 + g["width"]]
            score.add("pixels_hidden", (left * 65536 + top,), len(np.unique(part)) == 1, scope, "box")
        from_, to = maps["blanked"], 0
        if x.shape == y.shape:
            to = int((x != y).sum())
        maps["blanked"] = from_ + to
        return
    same = a.PixelData == b.PixelData
    if not same:
        x, y = pixels(a), pixels(b)
        same = x is not None and y is not None and x.shape == y.shape and bool((x == y).all())
    score.add("pixels_retained", (0x7FE00010,), same, scope, "" if same else "pixels changed: " + (name if os.environ.get("WORDS") else ""))


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    boxes = {}
    if "--boxes" in sys.argv:
        boxes = json.load(open(args.pop(args.index(sys.argv[sys.argv.index("--boxes") + 1]))))
    tbl, source, result = args
    t = table(tbl)
    score, maps = Score(), {"uid": {}, "back": {}, "pat": {}, "shift": {}, "blanked": 0}
    files = 0
    for root, _, names in sorted(os.walk(source)):
        for n in sorted(names):
            path = os.path.join(root, n)
            a = read(path)
            if a is None or "SOPClassUID" not in a and "PixelData" not in a:
                continue
            files += 1
            rel = os.path.relpath(path, source)
            there = os.path.join(result, rel)
            one(score, t, maps, n, a, read(there) if os.path.exists(there) else None, boxes)
    passed, total = sum(score.rows.values()), len(score.rows)
    by = collections.Counter(k[0] for k in score.rows)
    bad = collections.Counter(f[0] for f in score.failed)
    if "--json" in sys.argv:
        print(json.dumps({"files": files, "passed": passed, "rows": total, "score": passed / max(total, 1), "by_action": dict(by), "failed": dict(bad)}))
    else:
        for k in sorted(by):
            print("%-18s %6d rows %5d failed" % (k, by[k], bad[k]))
        for f in score.failed[:60]:
            print("  failed:", *f)
        print("%d files, %d of %d rows: %.4f %%" % (files, passed, total, 100 * passed / max(total, 1)))
    sys.exit(0 if passed == total else 1)


main()
