"""Prefill, decode and eight streams, pair by pair: peer_llm.py VITAE MODEL.gguf THREADS ROUNDS [cpu]. One line a pair: name, ours, llama.cpp's (tokens/s)."""
import ctypes, json, subprocess, sys, tempfile, time
import numpy as np
import llama_cpp as L

vitae, path, threads, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
cpu = sys.argv[5:] == ["cpu"]  # processor time: with one thread it says something on a busy machine too
clock = time.process_time if cpu else time.monotonic
PREFILL, DECODE, STREAMS, EACH = 480, 64, 8, 32
quiet = L.llama_log_callback(lambda *a: None)
L.llama_log_set(quiet, ctypes.c_void_p(0))
model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
p = L.llama_context_default_params()
p.n_ctx, p.n_batch, p.n_ubatch, p.n_threads, p.n_threads_batch, p.n_seq_max = 8192, 512, 512, threads, threads, STREAMS
ctx = L.llama_init_from_model(model, p)
V = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
batch = L.llama_batch_init(512, 0, STREAMS)
rng = np.random.default_rng(1)
ids = [int(v) for v in rng.integers(100, min(V, 30000), PREFILL)]


def put(rows):  # (token, position, sequence, wanted)
    batch.n_tokens = len(rows)
    for i, (t, pos, s, w) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = t, pos, 1, s, w
    if L.llama_decode(ctx, batch):
        sys.exit("llama_decode failed")


def best(i):
    return int(np.argmax(np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), (V,))))


def clear():
    L.llama_memory_clear(L.llama_get_memory(ctx), True)


def their_prefill():
    clear()
    began = clock()
    put([(t, i, 0, i == PREFILL - 1) for i, t in enumerate(ids)])
    best(PREFILL - 1)
    return PREFILL / (clock() - began)


def their_streams(n, each, prompt=16):
    clear()
    began = clock()
    put([(ids[s * 8 + i], i, s, i == prompt - 1) for s in range(n) for i in range(prompt)])
    last = [best((s + 1) * prompt - 1) for s in range(n)]
    first = clock()
    for k in range(each - 1):
        put([(last[s], prompt + k, s, True) for s in range(n)])
        last = [best(s) for s in range(n)]
    now = clock()
    return (each - 1) / (now - first) if n == 1 else n * each / (now - began)


def ours(lists, tokens, streams):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.writelines(json.dumps(" ".join(map(str, l))) + "\n" for l in lists)
        f.flush()
        r = subprocess.run([vitae, "generate", path, "--prompts", f.name, "--ids", "--whole", "--tokens", str(tokens), "--streams", str(streams), "--threads", str(threads)] + ["--cpu-time"] * cpu,
                           check=True, capture_output=True, text=True)
    return [json.loads(l) for l in r.stdout.splitlines()], float(r.stderr.split(" in ")[1].split()[0])


their_streams(1, 4)
for _ in range(rounds):
    for name in ("prefill", "decode", "streams"):
        if name == "prefill":
            mine, theirs = PREFILL / ours([ids], 1, 1)[0][0]["prefill_seconds"], their_prefill()
        elif name == "decode":
            mine, theirs = (DECODE - 1) / ours([ids[:16]], DECODE, 1)[0][0]["decode_seconds"], their_streams(1, DECODE)
        else:
            mine, theirs = STREAMS * EACH / ours([ids[s * 8:s * 8 + 16] for s in range(STREAMS)], EACH, STREAMS)[1], their_streams(STREAMS, EACH)
        print(name, f"{mine:.4g} {theirs:.4g}", flush=True)
