#!/usr/bin/env python3
"""Sentence vectors of an encoder beside sentence-transformers': embed_oracle.py VITAE MODEL_DIRECTORY [TEXTS]
Prints the least cosine; exit 1 below .9999. Wants a Python with sentence_transformers (scripts/fetch-lm makes one)."""
import json, os, random, subprocess, sys, tempfile
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
from sentence_transformers import SentenceTransformer

vitae, model, n = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 200
random.seed(5)
words = ("patient chest pain fever Köln creatinine 1.4 mg/dL ↑ hypertension and of the was admitted with dyspnea 37.2°C "
         "metformin (500 mg) don't β-blocker COVID-19 日本 stroke, atrial fibrillation; résumé naïve").split()
texts = [" ".join(random.choice(words) for _ in range(random.choice((1, 3, 8, 20, 60, 200)))) for _ in range(n)]
with tempfile.TemporaryDirectory() as d:
    with open(d + "/texts", "w") as f:
        f.writelines(json.dumps(t) + "\n" for t in texts)
    subprocess.run([vitae, "generate", model, "--prompts", d + "/texts", "--embed", d + "/out"], check=True)
    ours = np.fromfile(d + "/out", np.float32).reshape(n, -1)
st = SentenceTransformer(model, device="cpu")
st.max_seq_length = 512
theirs = st.encode(texts, batch_size=16, normalize_embeddings=True)
cosine = (ours * theirs).sum(1) / np.linalg.norm(theirs, axis=1)
print(f"{n} texts: least cosine {cosine.min():.7f}, mean {cosine.mean():.7f}")
sys.exit(cosine.min() < .9999)
