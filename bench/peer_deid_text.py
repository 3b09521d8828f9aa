"""A peer on the same texts, one core: seconds and bytes. Usage: peer_deid_text.py presidio|philter TEXTS.jsonl LIMIT_BYTES"""
import json, os, sys, time

os.environ.setdefault("OMP_NUM_THREADS", "1")
kind, path, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
texts, size = [], 0
for line in open(path, encoding="utf-8"):
    t = json.loads(line)["text"]
    if size + len(t) > limit:
        break
    texts.append(t)
    size += len(t.encode())
if kind == "presidio":
    from presidio_analyzer import AnalyzerEngine

    try:
        engine, note = AnalyzerEngine(), "with its default model"
    except (Exception, SystemExit):  # the model cannot be downloaded: its pattern recognisers alone, on a blank pipeline
        import spacy
        from presidio_analyzer.nlp_engine import NlpEngineProvider, SpacyNlpEngine

        class Blank(SpacyNlpEngine):
            def load(self):
                self.nlp = {"en": spacy.blank("en")}

        nlp = Blank()
        nlp.load()
        engine, note = AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"]), "pattern recognisers only (no model to be had)"
    run = lambda t: engine.analyze(text=t, language="en")
else:
    import philter_lite

    filters = philter_lite.load_filters(os.path.join(os.path.dirname(philter_lite.__file__), "configs", "philter_delta.toml"))
    note, run = "philter-lite, configs/philter_delta.toml", lambda t: philter_lite.detect_phi(t, patterns=filters)
run(texts[0])
began = time.process_time()
for t in texts:
    run(t)
spent = time.process_time() - began
print(f"{size / 1e6 / spent:.4f} {note}")
