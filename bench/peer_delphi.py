#!/usr/bin/env python3
"""Delphi-2M's published architecture in PyTorch, as a peer for `make bench-train` and `make bench-delphi`: written from the paper (Shmatko et al., Nature 2025) and
its description, not from its code. GPT-2 blocks (LayerNorm and GELU, no biases, tied head), age in days through sines and cosines, a causal
mask in which events of one age do not see each other, cross-entropy plus exponential waiting time, AdamW (0.9, 0.99), clip 1.

    peer_delphi.py EVENTS.csv --steps 6 --batch 128 --context 48 [--way NAME]
    peer_delphi.py EVENTS.csv --learn WEIGHTS.pt --steps 300 --context 96           # trains to the end of the schedule
    peer_delphi.py EVENTS.csv --ask WEIGHTS.pt --lives L.csv --codes C --queries Q --out O      # answers as bench/delphi_bench.c's `scores` does

Ways: published (float32, attention written out), sdpa (scaled_dot_product_attention), and each of sdpa+bf16 (autocast), sdpa+compile,
sdpa+bf16+compile. Prints one JSON line: positions and real (not padding)
tokens a second of processor time, so that other work on the machine counts less.
"""
import argparse
import contextlib
import csv
import json
import math
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("events")
p.add_argument("--steps", type=int, default=6)
p.add_argument("--batch", type=int, default=128)
p.add_argument("--context", type=int, default=48)
p.add_argument("--threads", type=int, default=1)
p.add_argument("--way", default="published")
p.add_argument("--generate", type=int, default=0, help="people whose futures are sampled instead of training, as published: the whole prefix again for every token")
p.add_argument("--tokens", type=int, default=40, help="most new tokens of one future")
p.add_argument("--learn", help="trains to the end of the published schedule, weights to this file")
p.add_argument("--ask", help="weights that answer --queries about --lives")
for name in ("lives", "codes", "queries", "out"):
    p.add_argument("--" + name)
p.add_argument("--seed", type=int, default=1)
p.add_argument("--layers", type=int, default=12)
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)
LAYERS, WIDTH, HEADS, T_MIN, NO_EVENT = a.layers, 120, 12, 0.1, 1

def read(path, token):
    lives = {}
    for row in csv.DictReader(open(path, encoding="utf-8")):
        if (t := token(row["code"])) is not None:
            lives.setdefault(row["person"], []).append((int(row["day"]), t))
    return lives


vocabulary = {}
lives = list(read(a.events, lambda code: vocabulary.setdefault(code, len(vocabulary) + 2)).values())
V = max(1270, len(vocabulary) + 2)
# never foretold: padding and sex
# Rates begin at the mean wait of these lives, all codes alike (published: at one a day for each code, from which a short run would only come down)
waits = [days[-1] - days[0] for days in (sorted(d for d, _ in life) for life in lives) if days[-1] > days[0]]
START = -math.log(V) - math.log(sum(waits) / sum(len(life) - 1 for life in lives)) if waits and (a.learn or a.ask) else 0.0
IGNORED = torch.tensor([0] + [t for code, t in vocabulary.items() if code in ("Female", "Male", "GENDER//F", "GENDER//M")])


def with_no_events(life, generator):
    """One made-up "no event" for each five years up to the last event, at random ages."""
    last = max(d for d, _ in life)
    return sorted(life + [(int(d), NO_EVENT) for d in (torch.rand(20, generator=generator) * 36525).tolist() if d < last])


def batch(generator):
    """(B, T) tokens and ages, and the next ones."""
    return padded([with_no_events(lives[i], generator)[:a.context + 1] for i in torch.randint(len(lives), (a.batch,), generator=generator).tolist()])


def padded(rows):
    """The same of rows of (age, token), padded with 0 on the left."""
    T = max(len(r) for r in rows) - 1
    tokens, ages = torch.zeros(len(rows), T + 1, dtype=torch.long), torch.full((len(rows), T + 1), -10000.0)
    for b, r in enumerate(rows):
        tokens[b, T + 1 - len(r):] = torch.tensor([t for _, t in r])
        ages[b, T + 1 - len(r):] = torch.tensor([float(d) for d, _ in r])
    return tokens[:, :-1], ages[:, :-1], tokens[:, 1:], ages[:, 1:]


class Block(nn.Module):
    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.n1, self.n2 = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x, seen):
        B, T, _ = x.shape
        q, k, v = (z.view(B, T, HEADS, -1).transpose(1, 2) for z in self.qkv(F.layer_norm(x, (WIDTH,), self.n1)).split(WIDTH, 2))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, seen, dropout_p=0.1 if self.training else 0.0)
        else:
            w = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).masked_fill(~seen, float("-inf"))
            y = F.dropout(torch.softmax(w, -1), 0.1, self.training) @ v
        x = x + F.dropout(self.out(y.transpose(1, 2).reshape(B, T, WIDTH)), 0.1, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(F.layer_norm(x, (WIDTH,), self.n2)), approximate="tanh")), 0.1, self.training)


class Delphi(nn.Module):
    def __init__(self, fused=False):
        super().__init__()
        self.table = nn.Embedding(V, WIDTH)
        nn.init.normal_(self.table.weight, std=0.02)
        self.age = nn.Linear(WIDTH, WIDTH, bias=False)
        self.blocks = nn.ModuleList(Block(fused) for _ in range(LAYERS))
        self.norm = nn.Parameter(torch.ones(WIDTH))
        self.register_buffer("frequency", torch.exp(-math.log(10000.0) * torch.arange(WIDTH // 2) / (WIDTH // 2)))

    def trunk(self, tokens, ages, seen):
        angle = ages[..., None] / 365.25 * self.frequency
        x = F.dropout(self.table(tokens) + self.age(torch.cat([angle.sin(), angle.cos()], -1)), 0.1, self.training)
        for block in self.blocks:
            x = block(x, seen[:, None])
        return (F.layer_norm(x, (WIDTH,), self.norm) @ self.table.weight.T).float()

    def logits(self, tokens, ages, next_ages):
        T = tokens.shape[1]
        # an event at the age of the target is not seen; a row with nothing left sees itself
        seen = torch.ones(T, T, dtype=torch.bool).tril() & (tokens > 0)[:, None, :] & (ages[:, None, :] != next_ages[:, :, None])
        seen = seen | (~seen.any(-1, keepdim=True) & torch.eye(T, dtype=torch.bool))
        return self.trunk(tokens, ages, seen) + START

    def forward(self, tokens, ages, next_tokens, next_ages):
        logits = self.logits(tokens, ages, next_ages)
        keep = ~torch.isin(next_tokens, IGNORED)
        code = F.cross_entropy(logits[keep], next_tokens[keep])
        rate = -torch.log(torch.exp(-torch.logsumexp(logits, -1)) + T_MIN)
        wait = torch.clamp(next_ages - ages, min=1.0)
        return code - (rate - torch.exp(rate + torch.log(wait + T_MIN)))[keep].mean()


def speed(fused, half, compiled, steps):
    generator = torch.Generator().manual_seed(7)
    model = Delphi(fused)
    step = torch.compile(model, dynamic=True) if compiled else model
    optimiser = torch.optim.AdamW(model.parameters(), 6e-4, (0.9, 0.99), weight_decay=0.2)
    data = [batch(generator) for _ in range(steps + 2)]
    seconds, positions, real = 0.0, 0, 0
    for i, d in enumerate(data):
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = step(*d)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if i >= 2:  # the first two warm up, or compile
            seconds += time.process_time() - began
            positions += d[0].numel()
            real += int((d[0] > 0).sum())
    return positions / seconds, real / seconds, float(loss.detach())


def learn(steps):
    """AdamW, weight decay .2, clip 1, 6e-4 falling to 6e-5 as a cosine after a warm-up. Published: 100,000 steps of which 1,000 warm up; here a tenth of fewer."""
    generator = torch.Generator().manual_seed(a.seed)
    model = Delphi(a.way != "published")
    optimiser = torch.optim.AdamW(model.parameters(), 6e-4, (0.9, 0.99), weight_decay=0.2)
    warm, real, mean, began = max(1, steps // 10), 0, [], time.process_time()
    for i in range(steps):
        rate = 6e-4 * (i + 1) / warm if i < warm else 6e-5 + (6e-4 - 6e-5) * 0.5 * (1 + math.cos(math.pi * (i - warm) / max(1, steps - warm)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        d = batch(generator)
        with torch.autocast("cpu", torch.bfloat16) if "bf16" in a.way else contextlib.nullcontext():
            loss = model(*d)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        real += int((d[0] > 1).sum())
        mean = (mean + [float(loss.detach())])[-20:]
        if i % 20 == 19:
            print(f"step {i + 1}: loss {sum(mean) / len(mean):.4f}, {(time.process_time() - began) / (i + 1):.2f} s a step", flush=True)
    torch.save(model.state_dict(), a.learn)
    return {"steps": steps, "loss": sum(mean) / len(mean), "events": real, "cpu_seconds": time.process_time() - began}


@torch.no_grad()
def ask():
    """For each query (person, day, code or -1) four float32 a code: log rate, risk within 30 days and a year at the rate that stands, log rate again.
    A life is run once: a position's answer depends on what stands before it alone (the mask of ties hides, for a position, what is as old as its
    target, and nothing before a query's position is as old as what comes after its day)."""
    import numpy as np
    model = Delphi(True).eval()
    model.load_state_dict(torch.load(a.ask))
    token = [vocabulary.get(line.strip(), 0) for line in open(a.codes, encoding="utf-8")]
    known = torch.tensor(token)
    people = read(a.lives, vocabulary.get)
    queries = np.fromfile(a.queries, dtype="<i4").reshape(-1, 3)
    generator = torch.Generator().manual_seed(a.seed + 1)
    starts = np.flatnonzero(np.r_[True, queries[1:, 0] != queries[:-1, 0]])
    groups = np.split(queries, starts[1:])
    with open(a.out, "wb") as out:
        for at in range(0, len(groups), 64):
            some = groups[at:at + 64]
            rows = [with_no_events(people[str(g[0, 0])], generator) for g in some]
            tokens, ages, _, next_ages = padded([r + [(10**6, 0)] for r in rows])
            logits = model.logits(tokens, ages, next_ages)[:, :, known].numpy()
            T = tokens.shape[1]
            for b, (g, r) in enumerate(zip(some, rows)):
                days = np.array([d if t != NO_EVENT else -1 for d, t in r])
                real = np.flatnonzero(days >= 0)
                last = T - len(r) + real[np.searchsorted(days[real], g[:, 1], "right") - 1]
                rate = np.concatenate([logits[b, i] if code < 0 else logits[b, i, code:code + 1] for i, code in zip(last, g[:, 2])])
                risk = [-np.expm1(-np.exp(rate) * horizon) for horizon in (30.0, 365.25)]
                out.write(np.stack([rate, *risk, rate], 1).astype("<f4").tobytes())


@torch.no_grad()
def generate(people, most):
    """Competing exponentials over the whole vocabulary at each step, the least taken; no code twice but "no event"; until 20 years have passed."""
    model = Delphi().eval()
    model.table.weight[:, 0] -= 0.5  # rates of the order of one event a year, so that futures are as long as in life
    tokens, ages, _, _ = batch(torch.Generator().manual_seed(7))
    tokens, ages = tokens[:people, -30:], ages[:people, -30:]
    end, real, began = ages[:, -1] + 20 * 365.25, 0, time.process_time()
    for _ in range(most):
        T = tokens.shape[1]
        seen = torch.ones(T, T, dtype=torch.bool).tril() & (tokens > 0)[:, None, :]
        logits = model.trunk(tokens, ages, seen | torch.eye(T, dtype=torch.bool))[:, -1] - 12
        said = torch.zeros(people, V, dtype=torch.bool).scatter_(1, tokens, True)
        said[:, NO_EVENT] = False
        logits[said] = float("-inf")
        logits[:, 0] = float("-inf")
        wait, new = torch.clamp(-torch.exp(-logits) * torch.rand(logits.shape).log(), 0, 365.25 * 80).min(1)
        tokens, ages = torch.cat([tokens, new[:, None]], 1), torch.cat([ages, (ages[:, -1] + wait)[:, None]], 1)
        live = ages[:, -1] <= end
        real += int(live.sum())
        if not live.any():
            break
    return real, time.process_time() - began


if a.generate:
    a.batch = a.generate
    real, seconds = generate(a.generate, a.tokens)
    print(json.dumps({"torch": torch.__version__, "people": a.generate, "tokens": real, "cpu_seconds": seconds, "tokens_per_cpu_second": real / seconds}))
    raise SystemExit
if a.ask:
    ask()
    raise SystemExit
if a.learn:
    result = learn(a.steps)
    print(json.dumps(result | {"torch": torch.__version__, "way": a.way, "parameters": sum(x.numel() for x in Delphi().parameters())}))
    raise SystemExit
WAYS = {"published": (False, False, False), "sdpa": (True, False, False), "sdpa+bf16": (True, True, False), "sdpa+compile": (True, False, True),
        "sdpa+bf16+compile": (True, True, True)}
positions, real, loss = speed(*WAYS[a.way], a.steps)
print(json.dumps({"way": a.way, "torch": torch.__version__, "positions_per_second": positions, "tokens_per_second": real, "loss": loss,
                  "parameters": sum(x.numel() for x in Delphi().parameters())}))
