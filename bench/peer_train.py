#!/usr/bin/env python3
"""The same model, first weights, batches, losses and schedule in PyTorch (autograd, torch.optim.AdamW): do both learn alike?

    peer_train.py DIR [--threads N] [--half] [--steps N]     # DIR as bench/train_bench.c's `record` left it; writes DIR/peer.safetensors

Written from src/model/model.h and FORMAT.md. Dropout masks are PyTorch's own, so runs differ as two seeds do. No padding outside attention.
--half: bfloat16 autocast. --steps: only so many, and no weights are written. Prints one JSON line; the first step does not count in the speed.
"""
import argparse
import json
import math
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("dir")
p.add_argument("--threads", type=int, default=1)
p.add_argument("--half", action="store_true")
p.add_argument("--steps", type=int, default=0)
a = p.parse_args()
torch.set_num_threads(a.threads)
c = json.load(open(a.dir + "/settings.json"))
torch.manual_seed(c["seed"] + 1000)


def read_safetensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__":
            b, e = t["data_offsets"]
            out[name] = torch.from_numpy(np.frombuffer(raw[8 + n + b:8 + n + e], "<f4").reshape(t["shape"]).copy())
    return out


def write_safetensors(path, tensors):
    header, at, parts = {}, 0, []
    for name, t in tensors.items():
        raw = t.detach().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


W = read_safetensors(a.dir + "/init/model.safetensors")
for w in W.values():
    w.requires_grad_(True)
d, H, KV, ff = c["d"], c["heads"], c["kv_heads"], c["ff"]
hd = d // H


def batches():
    with open(a.dir + "/batches.bin", "rb") as f:
        while head := f.read(16):
            s, n, e, t = struct.unpack("<4i", head)
            get = lambda kind, k: np.frombuffer(f.read(k * np.dtype(kind).itemsize), kind).copy()
            yield dict(start=get("<i4", s + 1), entry_start=get("<i4", n + 1), entry_id=get("<i4", e), target_start=get("<i4", n + 1),
                       target_id=get("<i4", t), entry_weight=get("<f4", e), time_feature=get("<f4", n * c["time_features"]).reshape(n, -1),
                       rope=get("<f4", n), gap=get("<f4", n), tail=get("<f4", n), time=get("<i8", n))


def norm(x, gain):
    return F.layer_norm(x, (d,), gain, None, c["norm_eps"]) if c["norm"] == "layer" else F.rms_norm(x, (d,), gain, c["norm_eps"])


def rotate(x, position):  # (S, H, L, hd): pairs (i, i + hd/2)
    half = hd // 2
    angle = position[:, None, :, None] * c["rope_base"] ** (-2 * torch.arange(half) / hd)
    u, v = x[..., :half], x[..., half:]
    return torch.cat([u * torch.cos(angle) - v * torch.sin(angle), u * torch.sin(angle) + v * torch.cos(angle)], -1)


def trunk(b):
    lengths = np.diff(b["start"])
    S, L = len(lengths), int(lengths.max())
    place = np.concatenate([np.arange(k) + i * L for i, k in enumerate(lengths)])
    place = torch.from_numpy(place)
    bag = torch.from_numpy(np.repeat(np.arange(len(b["gap"])), np.diff(b["entry_start"])))
    x = torch.from_numpy(b["time_feature"]) @ W["embed.time.weight"].T
    weight = torch.from_numpy(b["entry_weight"])[:, None] * (math.sqrt(d) if c["embed_root"] else 1)
    x = x.float().index_add(0, bag, W["embed.table"][torch.from_numpy(b["entry_id"]).long()] * weight)
    empty = torch.from_numpy((np.diff(b["entry_start"]) == 0).astype("f4"))[:, None]
    x = F.dropout(x + empty * W["embed.moment"], c["dropout"])
    when = torch.full((S * L,), -1, dtype=torch.int64).index_copy(0, place, torch.from_numpy(b["time"])).view(S, L)
    position = torch.zeros(S * L).index_copy(0, place, torch.from_numpy(b["rope"])).view(S, L)
    there = torch.zeros(S * L, dtype=torch.bool)
    there[place] = True
    there = there.view(S, L)
    seen = torch.ones(L, L, dtype=torch.bool).tril() & there[:, None, :]
    if c["mask"] == "no_ties":
        seen = seen & (when[:, None, :] < when[:, :, None])
    seen = (seen | torch.eye(L, dtype=torch.bool))[:, None]
    for l in range(c["layers"]):
        q_ = "block.%d." % l
        qkv = torch.zeros(S * L, d + 2 * KV * hd).index_copy(0, place, (norm(x, W[q_ + "norm1.gain"]) @ W[q_ + "qkv.weight"].T).float())
        q, k, v = (z.view(S, L, -1, hd).transpose(1, 2) for z in qkv.split([d, KV * hd, KV * hd], 1))
        if c["position"] == "rope":
            q, k = rotate(q, position), rotate(k, position)
        y = F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=KV != H).transpose(1, 2).reshape(S * L, d)[place]
        x = x + F.dropout(y @ W[q_ + "out.weight"].T, c["dropout"])
        u = norm(x, W[q_ + "norm2.gain"]) @ W[q_ + "up.weight"].T
        u = F.silu(u[:, :ff]) * u[:, ff:] if c["mlp"] == "swiglu" else F.gelu(u, approximate="tanh")
        x = x + F.dropout(u @ W[q_ + "down.weight"].T, c["dropout"])
    return norm(x, W["norm.gain"])


def soft_exp(u):  # exp, continued by its tangent above 3
    return torch.where(u <= 3.0, torch.exp(torch.clamp(u, max=3.0)), math.exp(3.0) * (u - 2.0))


def objective(b):
    h = trunk(b)
    head = W["embed.table"][:c["codes"]] if c["tied"] else W["rates.weight"]
    logits = (h @ head.T).float() + W["rates.bias"]
    lse = torch.logsumexp(logits, 1)
    total = lse + h @ W["rates.shift"]
    counts = np.diff(b["target_start"])
    of = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    some = torch.from_numpy(np.maximum(counts, 1).astype("f4"))
    mean = torch.zeros(len(counts)).index_add(0, of, logits[of, torch.from_numpy(b["target_id"]).long()]) / some
    has = torch.from_numpy(counts > 0)
    rates = (lse - mean)[has].sum()
    gap, tail = torch.from_numpy(b["gap"]), torch.from_numpy(b["tail"])
    waits = (gap > 0) & has
    last = torch.zeros(len(counts), dtype=torch.bool)
    last[torch.from_numpy(b["start"][1:]).long() - 1] = True
    ends = torch.isnan(gap) & last & (tail > c["min_gap_days"]) & ~waits
    when = (soft_exp(total + torch.log(torch.clamp(gap, min=c["min_gap_days"]))) - total)[waits].sum()
    return (rates + when + soft_exp(total + torch.log(tail))[ends].sum()) / c["batch"]


def rate(step):
    narrow = min(1.0, 96.0 / d)
    peak, low, total = c["lr"] * narrow, c["lr_min"] * narrow, c["steps"]
    warm = max(1.0, c["warmup"] * total)
    if step < warm:
        return peak * (step + 1) / warm
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1.0, total - warm))))


decays = [w for n, w in W.items() if n.endswith(".weight") or n == "rates.shift"]
plain = [w for n, w in W.items() if not (n.endswith(".weight") or n == "rates.shift")]
optimiser = torch.optim.AdamW([{"params": decays, "weight_decay": c["decay"]}, {"params": plain, "weight_decay": 0.0}], c["lr"],
                              (c["beta1"], c["beta2"]), 1e-8)
cpu, positions, losses = time.process_time(), 0, []
for step, b in enumerate(batches()):
    if a.steps and step == a.steps:
        break
    if step == 1:
        cpu, positions = time.process_time(), 0
    for group in optimiser.param_groups:
        group["lr"] = rate(step)
    with torch.autocast("cpu", torch.bfloat16, enabled=a.half):
        loss = objective(b)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([w for w in W.values() if w.grad is not None], c["clip"])
    optimiser.step()
    positions += len(b["gap"])
    losses.append(loss.item())
cpu = time.process_time() - cpu
if not a.steps:
    write_safetensors(a.dir + "/peer.safetensors", W)
print(json.dumps({"steps": len(losses), "first": losses[0], "last": losses[-1], "positions_per_cpu_second": positions / cpu, "torch": torch.__version__}))
