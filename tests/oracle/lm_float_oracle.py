#!/usr/bin/env python3
"""Our engine beside transformers on the same weights in float32: lm_float_oracle.py VITAE MODEL.gguf [POSITIONS [PROMPTS [TOKENS]]]
transformers reads the GGUF's blocks as floats and writes them as safetensors; both sides run that directory. Prints the divergence KL(transformers ||
ours) over positions of a text and how many greedy texts are the same: ours are written first, then transformers is asked, with our words before it, for
each next one, which is the same as letting it write as long as it agrees. Wants torch, transformers, gguf. Exit 1 when a bar is missed."""
import json, os, subprocess, sys, tempfile
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

vitae, path = sys.argv[1], os.path.abspath(sys.argv[2])
positions, prompts, tokens = (int(v) for v in (sys.argv[3:] + ["1000", "50", "200"][len(sys.argv) - 3:]))
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
tokenizer = AutoTokenizer.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path))
model = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path), dtype=torch.float32).eval()
model.hf_quantizer = None  # they are floats now, and may be written as such
if hasattr(model.config, "quantization_config"):
    del model.config.quantization_config
work = tempfile.TemporaryDirectory()
model.save_pretrained(work.name)
tokenizer.save_pretrained(work.name)
SUBJECTS = ("diabetes", "a cough", "heart failure", "asthma", "a broken arm", "anaemia", "migraine", "sepsis", "pneumonia", "high blood pressure")
ASKED = ("What is {}?", "Write a short story about {}.", "List five facts about {}.", "Explain {} to a child.", "How is {} treated?")
TEXT = " ".join(a.format(s) + " The patient was seen on the ward; temperature 37.2, pulse 88, blood pressure 130/80." for s in SUBJECTS for a in ASKED)


def theirs(ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def ours(ids):
    with tempfile.NamedTemporaryFile() as f:
        subprocess.run([vitae, "generate", work.name, " ".join(map(str, ids)), "--ids", "--logits", f.name], check=True)
        return np.fromfile(f.name, np.float32).reshape(len(ids), -1)


def kl(p, q):
    p, q = (x.astype(np.float64) - x.max(-1, keepdims=True) for x in (p, q))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    return (np.exp(p) * (p - q)).sum(-1)


ids = tokenizer(TEXT)["input_ids"][:positions]
kls, top = [], []
for at in range(0, len(ids), 250):  # so that the logits of a large vocabulary fit in memory
    a, b = theirs(ids[at:at + 250]), ours(ids[at:at + 250])
    kls.append(kl(a, b)); top.append(a.argmax(-1) == b.argmax(-1))
kls, top = np.concatenate(kls), np.concatenate(top)
print(f"{len(kls)} positions: KL to transformers max {kls.max():.3g}, mean {kls.mean():.3g} (bar 1e-4); same first token {top.mean():.4f}", flush=True)

asked = [a.format(s) for s in SUBJECTS for a in ASKED][:prompts]
lists = [tokenizer(q)["input_ids"] for q in asked]
with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
    f.writelines(json.dumps(" ".join(map(str, l))) + "\n" for l in lists)
    f.flush()
    out = subprocess.run([vitae, "generate", work.name, "--prompts", f.name, "--ids", "--tokens", str(tokens), "--whole", "--streams", "8", "--quiet"], check=True, capture_output=True, text=True).stdout
same, first = 0, []
for l, mine in zip(lists, (json.loads(line)["ids"] for line in out.splitlines())):
    assert len(mine) == tokens
    want = theirs(l + mine)[len(l) - 1:-1].argmax(-1)
    n = next((i for i in range(tokens) if want[i] != mine[i]), tokens)
    same += n == tokens
    first.append(n)
print(f"{len(asked)} prompts: {same} greedy texts of {tokens} tokens the same (bar 95 %); where not, the first difference at {sorted(n for n in first if n < tokens)}")
sys.exit(not (same >= 0.95 * len(asked) and kls.max() <= 1e-4))
