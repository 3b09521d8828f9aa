#!/usr/bin/env python3
"""Our engine beside llama.cpp on the same GGUF: lm_oracle.py VITAE MODEL.gguf [POSITIONS [PROMPTS [TOKENS]]]
Prints the divergence KL(llama.cpp || ours) over positions, llama.cpp's own from itself between its ways to the same numbers (one token at a time
against a batch, flash attention against none, keys and values in f32 against f16), and how many greedy texts are the same, ours and those of
llama.cpp's last way; of itself the pair of ways that lies furthest apart counts. Activations are rounded to 8 bits, so a last bit of a sum that falls otherwise becomes a whole step: no two ways agree
closer than that. Wants llama-cpp-python, built on this machine (scripts/fetch-lm). Exit 1 where we lie further from llama.cpp than it from itself."""
import ctypes, itertools, json, subprocess, sys, tempfile
import numpy as np
import llama_cpp as L

vitae, path = sys.argv[1], sys.argv[2]
positions, prompts, tokens = (int(v) for v in (sys.argv[3:] + ["1000", "50", "200"][len(sys.argv) - 3:]))
L.llama_log_set(ctypes.cast(L.llama_log_callback(lambda *a: None), L.llama_log_callback), ctypes.c_void_p(0))
PART = 250  # so that the logits of a large vocabulary fit in memory


def llama(**way):
    return L.Llama(path, n_ctx=512, n_threads=1, n_threads_batch=1, n_batch=512, logits_all=True, verbose=False, **way)


base, wide = llama(), llama(type_k=0, type_v=0)
WAYS = {"a batch": (base, PART), "one at a time": (base, 1), "flash attention": (llama(flash_attn=True), PART), "keys and values in f32": (wide, PART)}
V = base.n_vocab()
SUBJECTS = ("diabetes", "a cough", "heart failure", "asthma", "a broken arm", "anaemia", "migraine", "sepsis", "pneumonia", "high blood pressure")
ASKED = ("What is {}?", "Write a short story about {}.", "List five facts about {}.", "Explain {} to a child.", "How is {} treated?")
TEXT = " ".join(a.format(s) + " The patient was seen on the ward; temperature 37.2, pulse 88, blood pressure 130/80." for s in SUBJECTS for a in ASKED)


def ours(ids):
    with tempfile.NamedTemporaryFile() as f:
        subprocess.run([vitae, "generate", path, " ".join(map(str, ids)), "--ids", "--logits", f.name], check=True)
        return np.fromfile(f.name, np.float32).reshape(len(ids), -1)


def kl(p, q):
    p, q = (x.astype(np.float64) - x.max(-1, keepdims=True) for x in (p, q))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    return (np.exp(p) * (p - q)).sum(-1)


def clear(llm):
    llm.reset()
    llm._ctx.kv_cache_clear()


def theirs(llm, ids, step):
    clear(llm)
    out = np.empty((len(ids), V), np.float32)
    for i in range(0, len(ids), step):
        llm.eval(ids[i:i + step])
        out[i:i + step] = llm.scores[i:min(i + step, len(ids))]
    return out


ids = base.tokenize(TEXT.encode(), add_bos=True)[:positions]
pairs = [("a batch", "ours"), *itertools.combinations(WAYS, 2)]
seen = {pair: [] for pair in pairs}
for at in range(0, len(ids), PART):
    part = ids[at:at + PART]
    logits = {"ours": ours(part), **{name: theirs(llm, part, step) for name, (llm, step) in WAYS.items()}}
    for a, b in pairs:
        seen[a, b].append((kl(logits[a], logits[b]), logits[a].argmax(-1) == logits[b].argmax(-1)))
seen = {pair: tuple(map(np.concatenate, zip(*parts))) for pair, parts in seen.items()}
print(f"{len(ids)} positions:")
for (a, b), (k, same) in seen.items():
    print(f"  KL({a} || {b}): max {k.max():.3g}, mean {k.mean():.3g}, same first token {same.mean():.4f}", flush=True)
mine, own = seen[pairs[0]][0], [seen[pair][0] for pair in pairs[1:]]
no_further = [(mine - k).mean() <= 2 * (mine - k).std() / len(mine) ** 0.5 for k in own]  # in the mean, to two standard errors
near = mine.max() <= 1e-4 or mine.max() <= max(k.max() for k in own) and any(no_further)


def written(llm, prompt):
    clear(llm)
    out, feed = [], prompt
    for _ in range(tokens):
        llm.eval(feed)
        out.append(int(np.argmax(llm.scores[llm.n_tokens - 1])))
        feed = [out[-1]]
    return out


asked = [a.format(s) for s in SUBJECTS for a in ASKED][:prompts]
lists = [base.tokenize(("<|im_start|>user\n" + q + "<|im_end|>\n<|im_start|>assistant\n" if "smol" in path.lower() else q).encode(), add_bos=True, special=True) for q in asked]
with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
    f.writelines(json.dumps(" ".join(map(str, l))) + "\n" for l in lists)
    f.flush()
    out = subprocess.run([vitae, "generate", path, "--prompts", f.name, "--ids", "--tokens", str(tokens), "--whole", "--quiet"], check=True, capture_output=True, text=True).stdout
same = {"ours": [], "keys and values in f32": []}
for l, line in zip(lists, out.splitlines()):
    want = written(base, l)
    for name, have in (("ours", json.loads(line)["ids"]), ("keys and values in f32", written(wide, l))):
        same[name].append(next((i for i in range(tokens) if want[i] != have[i]), tokens))
print(f"{len(asked)} prompts, greedy texts of {tokens} tokens the same as llama.cpp's:")
for name, first in same.items():
    print(f"  {name:24} {sum(n == tokens for n in first)}; where not, the first difference at {sorted(n for n in first if n < tokens)}")
texts = [sum(n == tokens for n in first) for first in same.values()]
sys.exit(not (near and (texts[0] >= texts[1] or texts[0] >= .95 * len(asked))))
