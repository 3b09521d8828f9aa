"""Sentence vectors, pair by pair: peer_embed.py VITAE MODEL_DIRECTORY THREADS ROUNDS [cpu]. One line a pair: ours, sentence-transformers' (texts/s)."""
import json, os, random, subprocess, sys, tempfile, time
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from sentence_transformers import SentenceTransformer

vitae, model, threads, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
cpu = sys.argv[5:] == ["cpu"]
clock = time.process_time if cpu else time.monotonic
torch.set_num_threads(threads)
random.seed(3)
words = ("patient chest pain fever creatinine mg/dL hypertension and of the was admitted with dyspnea metformin stroke atrial fibrillation "
         "history left right lower upper no acute distress follow up in two weeks").split()
texts = [" ".join(random.choice(words) for _ in range(random.choice((6, 12, 20, 40, 80)))) for _ in range(64)]
st = SentenceTransformer(model, device="cpu")
st.encode(texts[:8])
for _ in range(rounds):
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/texts", "w") as f:
            f.writelines(json.dumps(t) + "\n" for t in texts)
        r = subprocess.run([vitae, "generate", model, "--prompts", d + "/texts", "--embed", d + "/out", "--threads", str(threads)] + ["--cpu-time"] * cpu, check=True, capture_output=True, text=True)
    mine = len(texts) / float(r.stderr.split(" in ")[1].split()[0])
    best = 0
    for size in (8, 32):  # its better one
        began = clock()
        st.encode(texts, batch_size=size, normalize_embeddings=True)
        best = max(best, len(texts) / (clock() - began))
    print(f"{mine:.4g} {best:.4g}", flush=True)
