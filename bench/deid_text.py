"""Splits, scores and prepares texts for bench/run-deid-text. Spans come from `vitae deid --from text --mode spans` (code points).

  deid_text.py asq DATA OUT [all | part K N]   -> OUT.jsonl (id, text, phi), from every *.jsonl.xz of DATA; part: by SHA-256 of the id
  deid_text.py presidio DATA DIR               -> DIR/train.json, and DIR/test.json of templates that nothing was designed or trained with
  deid_text.py score-asq TEXTS SPANS           -> one line of figures
  deid_text.py score-presidio TEST SPANS       -> one line of figures
  deid_text.py score-spans TEXTS SPANS         -> one line of figures; TEXTS: {id, text, spans: [{start, end}]}
  deid_text.py notes DATA OUT BYTES            -> note-like texts of about 3 kB as JSON lines
"""
import csv, glob, hashlib, io, json, lzma, re, sys, tarfile


def part_of(key, n):
    return int(hashlib.sha256(str(key).encode()).hexdigest(), 16) % n


def asq(data, out, *how):
    rows = [json.loads(l) for f in sorted(glob.glob(f"{data}/*.jsonl.xz")) for l in lzma.open(f, "rt", encoding="utf-8") if l.strip()]
    if how and how[0] == "part":
        rows = [r for r in rows if part_of(r["id"], int(how[2])) == int(how[1])]
    if how and how[0] == "not":
        rows = [r for r in rows if part_of(r["id"], int(how[2])) != int(how[1])]
    with open(out, "w", encoding="utf-8") as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
    print(len(rows))


def scored(template):
    """Of the templates whose sentences no one had looked at for errors before the split was drawn, two fifths."""
    return part_of(template, 3) != 0 and part_of(f"fresh {template}", 5) < 2


def masked(row):
    text, out, at = row["full_text"], "", 0
    for s in sorted(row["spans"], key=lambda s: s["start_position"]):
        out, at = out + text[at:s["start_position"]] + "{}", s["end_position"]
    return re.sub(r"\W+", " ", out + text[at:]).lower().strip()


def presidio(data, where):
    rows = []
    for name in sorted(glob.glob(f"{data}/*.tar.xz")):
        with tarfile.open(name) as t:
            for m in t.getmembers():
                if re.search(r"synth_dataset_v2.*\.json$", m.name):
                    rows += json.load(t.extractfile(m))
    for name in sorted(glob.glob(f"{data}/*.json.xz")):
        rows += json.load(lzma.open(name, "rt", encoding="utf-8"))
    train = [r for r in rows if not scored(r["template_id"])]
    known = {masked(r) for r in train}  # some templates are the same sentence twice
    test = [r for r in rows if scored(r["template_id"]) and masked(r) not in known]
    json.dump(train, open(f"{where}/train.json", "w"))
    json.dump(test, open(f"{where}/test.json", "w"))
    with open(f"{where}/test.jsonl", "w", encoding="utf-8") as f:
        for i, r in enumerate(test):
            f.write(json.dumps({"id": i, "text": r["full_text"]}, ensure_ascii=False) + "\n")
    print(len(train), len(test))


def spans_of(path):
    return {d["id"]: [(s["start"], s["end"], s["label"]) for s in d.get("spans", [])] for d in map(json.loads, open(path, encoding="utf-8"))}


def places(text, values):
    """Each value's place in the text, longer values first; typographic apostrophes count as plain ones."""
    text, used = text.replace("\u2019", "'"), []
    for v in sorted((v.replace("\u2019", "'") for v in values), key=len, reverse=True):
        at = text.find(v)
        while at >= 0 and any(a < at + len(v) and at < b for a, b in used):
            at = text.find(v, at + 1)
        at = at if at >= 0 else text.find(v)
        if at >= 0:
            used.append((at, at + len(v)))
    return used


class Count:
    def __init__(self):
        self.elements = self.covered = self.strict = self.found = self.chars = self.hit = self.over = self.clean = self.touched = 0

    def text(self, text, gold, spans):
        mask, mine = bytearray(len(text)), bytearray(len(text))
        for a, b in gold:
            mask[a:b] = b"\1" * (b - a)
        for a, b, _ in spans:
            mine[a:b] = b"\1" * (b - a)
        self.elements += len(gold)
        self.covered += sum(all(mine[a:b]) for a, b in gold)
        self.found += len(spans)
        self.strict += len(set(gold) & {(a, b) for a, b, _ in spans})
        self.chars += sum(mask)
        self.hit += sum(m and g for m, g in zip(mine, mask))
        self.over += sum(m and not g and not c.isspace() for m, g, c in zip(mine, mask, text))
        if not gold:
            self.clean += 1
            self.touched += bool(spans)

    def line(self):
        p, r = self.strict / max(self.found, 1), self.strict / max(self.elements, 1)
        return (f"covered {self.covered}/{self.elements} = {self.covered / max(self.elements, 1):.4f}  clean texts touched {self.touched}/{self.clean} = "
                f"{self.touched / max(self.clean, 1):.4f}  strict F1 {2 * p * r / max(p + r, 1e-9):.4f}  character recall {self.hit / max(self.chars, 1):.4f}  "
                f"over-redacted characters {self.over / max(self.chars, 1):.4f} of the identifiers'")


def score_asq(texts, spans):
    found, c, kinds = spans_of(spans), Count(), {}
    for r in map(json.loads, open(texts, encoding="utf-8")):
        gold = places(r["text"], [p["value"] for p in r["phi"]])
        c.text(r["text"], gold, found[r["id"]])
    print(c.line())


def score_spans(texts, spans):
    found, c = spans_of(spans), Count()
    for r in map(json.loads, open(texts, encoding="utf-8")):
        c.text(r["text"], [(s["start"], s["end"]) for s in r["spans"]], found[r["id"]])
    print(c.line())


FAMILY = {"PERSON": "NAME", "GPE": "LOCATION", "STREET_ADDRESS": "LOCATION", "ZIP_CODE": "LOCATION"}


def joined(spans, text):
    """Pieces of one address with only space, comma or a quoting mark between them are one entity, in the gold as in the found."""
    out = []
    for a, b, k in sorted(spans):
        if out and out[-1][2] == k == "LOCATION" and re.fullmatch(r"[\s,>?]{0,5}", text[out[-1][1]:max(a, out[-1][1])]):
            out[-1] = (out[-1][0], max(b, out[-1][1]), k)
        else:
            out.append((a, b, k))
    return out


def score_presidio(test, spans):
    found, c = spans_of(spans), Count()
    hit = gold_n = right = found_n = 0
    for i, r in enumerate(json.load(open(test))):
        text = r["full_text"]
        gold = joined([(s["start_position"], s["end_position"], FAMILY.get(s["entity_type"], s["entity_type"])) for s in r["spans"]], text)
        mine = joined(found[i], text)

        def near(x, y):
            return (min(x[1], y[1]) - max(x[0], y[0])) / (max(x[1], y[1]) - min(x[0], y[0])) >= 0.7

        hit += sum(any(near(g, m) for m in mine) for g in gold)
        right += sum(any(near(g, m) for g in gold) for m in mine)
        gold_n, found_n = gold_n + len(gold), found_n + len(mine)
        c.text(text, [(a, b) for a, b, _ in gold], mine)
    print(f"entity recall {hit / gold_n:.4f}  precision {right / max(found_n, 1):.4f}  n {gold_n}  {c.line()}")


def notes(data, out, size):
    texts = []
    for f in sorted(glob.glob(f"{data}/mts_dialog*.csv.xz")):
        for row in csv.DictReader(io.TextIOWrapper(lzma.open(f), encoding="utf-8", newline="")):
            texts.append(row.get("section_text", ""))
    for f in sorted(glob.glob(f"{data}/aci_bench*.tar.xz")):
        with tarfile.open(f) as t:
            for m in sorted(t.getmembers(), key=lambda m: m.name):
                if m.name.endswith(".csv"):
                    for row in csv.DictReader(io.TextIOWrapper(t.extractfile(m), encoding="utf-8", newline="")):
                        texts.append(row.get("note", ""))
    whole, done, n = "\n".join(x for x in texts if len(x) > 20), 0, 0
    with open(out, "w", encoding="utf-8") as f:
        while done < int(size):
            for i in range(0, len(whole), 3000):
                f.write(json.dumps({"id": n, "text": whole[i:i + 3000]}, ensure_ascii=False) + "\n")
                n, done = n + 1, done + min(3000, len(whole) - i)
    print(done)


if __name__ == "__main__":
    {"asq": asq, "presidio": presidio, "score-asq": score_asq, "score-presidio": score_presidio, "score-spans": score_spans, "notes": notes}[sys.argv[1]](*sys.argv[2:])
