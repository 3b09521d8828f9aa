#!/usr/bin/env python3
"""Our engine beside llama.cpp on the same GGUF: lm_oracle.py VITAE MODEL.gguf [POSITIONS [PROMPTS [TOKENS]]]
Prints the divergence KL(llama.cpp || ours) over positions, llama.cpp's own between two of its ways to the same numbers (one token at a time against a
batch), and how many greedy texts are the same. Wants llama-cpp-python, built on this machine (scripts/fetch-lm). Exit 1 when a bar is missed."""
import ctypes, json, random, subprocess, sys, tempfile
import numpy as np
import llama_cpp as L

vitae, path = sys.argv[1], sys.argv[2]
positions, prompts, tokens = (int(v) for v in (sys.argv[3:] + ["1000", "50", "200"][len(sys.argv) - 3:]))
L.llama_log_set(ctypes.cast(L.llama_log_callback(lambda *a: None), L.llama_log_callback), ctypes.c_void_p(0))
llm = L.Llama(path, n_ctx=2048, n_threads=1, n_threads_batch=1, n_batch=512, logits_all=True, verbose=False)
V = llm.n_vocab()
SUBJECTS = ("diabetes", "a cough", "heart failure", "asthma", "a broken arm", "anaemia", "migraine", "sepsis", "pneumonia", "high blood pressure")
ASKED = ("What is {}?", "Write a short story about {}.", "List five facts about {}.", "Explain {} to a child.", "How is {} treated?")
TEXT = " ".join(a.format(s) + " The patient was seen on the ward; temperature 37.2, pulse 88, blood pressure 130/80." for s in SUBJECTS for a in ASKED)


def ours_logits(ids):
    with tempfile.NamedTemporaryFile() as f:
        subprocess.run([vitae, "generate", path, " ".join(map(str, ids)), "--ids", "--logits", f.name], check=True)
        return np.fromfile(f.name, np.float32).reshape(len(ids), -1)


def logsoftmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(p, q):
    p, q = logsoftmax(p), logsoftmax(q)
    return (np.exp(p) * (p - q)).sum(-1)


def theirs(ids, step):
    llm.reset()
    llm._ctx.kv_cache_clear()
    out = np.empty((len(ids), V), np.float32)
    for i in range(0, len(ids), step):
        llm.n_tokens = i
        llm.eval(ids[i:i + step])
        out[i:i + step] = llm.scores[i:min(i + step, len(ids))]
    return out


ids = llm.tokenize(TEXT.encode(), add_bos=True)[:positions]
# chunks of 250, so that the logits of large vocabularies fit in memory
kls, own, top = [], [], []
for at in range(0, len(ids), 250):
    part = ids[at:at + 250]
    a, c = theirs(part, 250), ours_logits(part)
    b = theirs(part[:60], 1)
    kls.append(kl(a, c)); own.append(kl(a[:len(b)], b)); top.append(a.argmax(-1) == c.argmax(-1))
kls, own, top = map(np.concatenate, (kls, own, top))
print(f"{len(kls)} positions: KL to llama.cpp max {kls.max():.3g}, mean {kls.mean():.3g}; llama.cpp batch against single max {own.max():.3g}, "
      f"mean {own.mean():.3g}; same first token {top.mean():.4f}", flush=True)

asked = [a.format(s) for s in SUBJECTS for a in ASKED][:prompts]
same, same_words, first = 0, 0, []
with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
    lists = [llm.tokenize(("<|im_start|>user\n" + q + "<|im_end|>\n<|im_start|>assistant\n" if "smol" in path.lower() else q).encode(), add_bos=True, special=True) for q in asked]
    f.writelines(json.dumps(" ".join(map(str, l))) + "\n" for l in lists)
    f.flush()
    out = subprocess.run([vitae, "generate", path, "--prompts", f.name, "--ids", "--tokens", str(tokens), "--whole", "--quiet"], check=True, capture_output=True, text=True).stdout
ours = [json.loads(line)["ids"] for line in out.splitlines()]
for l, mine in zip(lists, ours):
    llm.reset()
    llm._ctx.kv_cache_clear()
    want, feed = [], l
    for _ in range(tokens):
        llm.eval(feed)
        want.append(int(np.argmax(llm.scores[llm.n_tokens - 1])))
        feed = [want[-1]]
    n = next((i for i in range(tokens) if want[i] != mine[i]), tokens)
    same += n == tokens
    first.append(n)
print(f"{len(asked)} prompts: {same} greedy texts of {tokens} tokens the same; where not, the first difference at {sorted(n for n in first if n < tokens)}")
sys.exit(not (same >= .95 * len(asked) and kls.mean() <= max(1e-4, own.mean())))
