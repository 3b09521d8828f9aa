#!/usr/bin/env python3
"""An independent model in PyTorch (autograd), written from src/model/model.h and FORMAT.md alone: the slow reader of the C model.

    python3 tests/oracle/model_oracle.py tests/model/fixtures      # needs python3-torch and python3-numpy

Writes one .safetensors file per configuration: weights, a packed batch, and the expected hidden states, log rates, losses and gradients;
the configuration is in __metadata__. tests/model/model_oracle_test.c compares the C model with them.
"""
import json
import math
import struct
import sys

import numpy as np
import torch

torch.set_default_dtype(torch.float64)
TIME_FEATURES, BINS = 24, 8
EDGES = [0, 1, 7, 30, 90, 365, 730, 1826, 3652.5]
LINEAR_FROM = 3.0
CODES, KNOTS, OUTCOMES = 11, {2: (11, 4), 3: (15, 3)}, 3
ROWS = CODES + 7

BASE = dict(layers=2, d=16, heads=4, kv_heads=4, ff=24, context=16, window=0, position='none', mlp='swiglu', norm='rms', mask='causal',
            bias=0, qk_norm=0, tied=0, embed_root=0, norm_eps=1e-5, rope_base=100.0, min_gap_days=0.01, hazard_rank=3, hazard_rates=0)
CONFIGS = {
    'rope-swiglu': dict(BASE, position='rope_index', kv_heads=2, qk_norm=1, hazard_rates=1),
    'layer-gelu': dict(BASE, position='learned', norm='layer', mlp='gelu', bias=1, tied=1, embed_root=1, mask='causal_no_ties', hazard_rates=1),
    'time-window': dict(BASE, position='rope_time', window=2, bias=1),
}
WEIGHTS = dict(rates=1.0, time=0.7, value=0.8, hazard=1.3, task=0.9, scale=0.1, task_scale=0.4)


def soft_exp(u):
    top = math.exp(LINEAR_FROM)
    return torch.where(u <= LINEAR_FROM, torch.exp(torch.clamp(u, max=LINEAR_FROM)), top * (1 + u - LINEAR_FROM))


def shapes(c):
    d, hd = c['d'], c['d'] // c['heads']
    qkv, up = (c['heads'] + 2 * c['kv_heads']) * hd, c['ff'] * (2 if c['mlp'] == 'swiglu' else 1)
    s = {'embed.table': (ROWS, d), 'embed.time.weight': (d, TIME_FEATURES), 'embed.moment': (d,)}
    if c['position'] == 'learned':
        s['embed.position'] = (c['context'], d)
    shift = c['norm'] == 'layer' and c['bias']
    for l in range(c['layers']):
        p = 'block.%d.' % l
        for n in ('norm1', 'norm2'):
            s[p + n + '.gain'] = (d,)
            if shift:
                s[p + n + '.shift'] = (d,)
        for n, shape in (('qkv', (qkv, d)), ('out', (d, d)), ('up', (up, d)), ('down', (d, c['ff']))):
            s[p + n + '.weight'] = shape
            if c['bias']:
                s[p + n + '.bias'] = (shape[0],)
        if c['qk_norm']:
            s[p + 'q_norm.gain'] = s[p + 'k_norm.gain'] = (hd,)
    s['norm.gain'] = (d,)
    if shift:
        s['norm.shift'] = (d,)
    if not c['tied']:
        s['rates.weight'] = (CODES, d)
    s.update({'rates.bias': (CODES,), 'rates.shift': (d,), 'value.weight': (d, d), 'hazard.weight': (BINS * c['hazard_rank'], d),
              'hazard.outcome': (OUTCOMES, c['hazard_rank']), 'hazard.bias': (BINS, OUTCOMES)})
    for t in ('death', 'stay'):
        s['task.%s.weight' % t] = (2 * d,)
        s['task.%s.bias' % t] = (1,)
    return s


def norm(c, x, gain, shift=None, kind=None):
    if (kind or c['norm']) == 'layer':
        x = x - x.mean(-1, keepdim=True)
    y = x / torch.sqrt((x * x).mean(-1, keepdim=True) + c['norm_eps']) * gain
    return y if shift is None else y + shift


def rotate(c, x, position):  # (T, H, D): pairs (i, i + D/2)
    half = x.shape[-1] // 2
    angle = position[:, None, None] * c['rope_base'] ** (-2 * torch.arange(half) / x.shape[-1])
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * torch.cos(angle) - b * torch.sin(angle), a * torch.sin(angle) + b * torch.cos(angle)], -1)


def visible(c, time):
    n = len(time)
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    m = j <= i
    if c['window']:
        m = m & (j > i - c['window'])
    if c['mask'] == 'causal_no_ties':
        m = m & ((i == j) | (time[None, :] < time[:, None]))
    return m


def attention(c, W, p, x, b, rows):
    d, h, kv = c['d'], c['heads'], c['kv_heads']
    hd = d // h
    y = x @ W[p + 'qkv.weight'].T + W.get(p + 'qkv.bias', 0)
    q, k, v = y[:, :d].reshape(-1, h, hd), y[:, d:d + kv * hd].reshape(-1, kv, hd), y[:, d + kv * hd:].reshape(-1, kv, hd)
    if c['qk_norm']:
        q, k = norm(c, q, W[p + 'q_norm.gain'], kind='rms'), norm(c, k, W[p + 'k_norm.gain'], kind='rms')
    if c['position'].startswith('rope'):
        q, k = (rotate(c, z, b[c['position']][rows]) for z in (q, k))
    k, v = k.repeat_interleave(h // kv, 1), v.repeat_interleave(h // kv, 1)
    score = torch.einsum('ihd,jhd->hij', q, k) / math.sqrt(hd)
    score = score.masked_fill(~visible(c, b['time'][rows]), -math.inf)
    return torch.einsum('hij,jhd->ihd', torch.softmax(score, -1), v).reshape(-1, d) @ W[p + 'out.weight'].T + W.get(p + 'out.bias', 0)


def mlp(c, W, p, x):
    y = x @ W[p + 'up.weight'].T + W.get(p + 'up.bias', 0)
    if c['mlp'] == 'swiglu':
        g, u = y[:, :c['ff']], y[:, c['ff']:]
        a = g * torch.sigmoid(g) * u
    else:
        a = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y ** 3)))
    return a @ W[p + 'down.weight'].T + W.get(p + 'down.bias', 0)


def trunk(c, W, b):
    out = []
    for s in range(len(b['seq_start']) - 1):
        rows = slice(b['seq_start'][s], b['seq_start'][s + 1])
        x = b['time_feature'][rows] @ W['embed.time.weight'].T
        add = []
        for r in range(rows.start, rows.stop):
            entries = b['entries'][r]
            e = sum((w * W['embed.table'][i] for i, w in entries), torch.zeros(c['d'])) * (math.sqrt(c['d']) if c['embed_root'] else 1) if entries else W['embed.moment']
            add.append(e + (W['embed.position'][int(b['rope_index'][r])] if c['position'] == 'learned' else 0))
        x = x + torch.stack(add)
        for l in range(c['layers']):
            p = 'block.%d.' % l
            x = x + attention(c, W, p, norm(c, x, W[p + 'norm1.gain'], W.get(p + 'norm1.shift')), b, rows)
            x = x + mlp(c, W, p, norm(c, x, W[p + 'norm2.gain'], W.get(p + 'norm2.shift')))
        out.append(norm(c, x, W['norm.gain'], W.get('norm.shift')))
    return torch.cat(out)


def losses(c, W, b, h):
    head = W['embed.table'][:CODES] if c['tied'] else W['rates.weight']
    logits = h @ head.T + W['rates.bias']
    shift = h @ W['rates.shift']
    total = torch.logsumexp(logits, 1) + shift
    zero = torch.zeros(())
    rates, time, value, hazard, task = zero, zero, zero, zero, zero
    for s in range(len(b['seq_start']) - 1):
        for p in range(b['seq_start'][s], b['seq_start'][s + 1]):
            targets, gap, tail = b['targets'][p], b['gap'][p], b['tail'][p]
            if targets:
                rates = rates + torch.logsumexp(logits[p], 0) - logits[p][[i for i, _ in targets]].mean()
            if gap > 0 and targets:
                time = time + soft_exp(total[p] + math.log(max(gap, c['min_gap_days']))) - total[p]
            elif math.isnan(gap) and p == b['seq_start'][s + 1] - 1 and tail > c['min_gap_days']:
                time = time + soft_exp(total[p] + math.log(tail))
            valued = [(i, x) for i, x in targets if not math.isnan(x)]
            for i, x in valued:
                row, n = KNOTS[i]
                lp = torch.log_softmax(W['embed.table'][row:row + n] @ (W['value.weight'] @ h[p]), 0)
                low = min(int(x), n - 2)
                f = x - low
                value = value - ((1 - f) * lp[low] + f * lp[low + 1]) / len(valued)
            z = (W['hazard.weight'] @ h[p]).reshape(BINS, c['hazard_rank'])
            lam = z @ W['hazard.outcome'].T + W['hazard.bias'] + (logits[p] + shift[p])[:OUTCOMES] * c['hazard_rates']
            now, end = float(b['time'][p]), float(b['end'][s])
            risk = [o for o in range(OUTCOMES) if b['first'][s][o] > now and end > now]
            for o in risk:
                first = b['first'][s][o]
                happened = first <= end
                until = ((first if happened else end) - now) / 24
                for k in range(BINS):
                    exposure = min(until, EDGES[k + 1]) - EDGES[k]
                    if exposure <= 0:
                        break
                    hazard = hazard + (soft_exp(lam[k, o] + math.log(exposure)) - (lam[k, o] if happened and until <= EDGES[k + 1] else 0)) / len(risk)
    for s, t, y in b['labels']:
        rows = slice(b['seq_start'][s], b['seq_start'][s + 1])
        name = ('death', 'stay')[t]
        x = torch.cat([h[rows][-1], h[rows].mean(0)]) @ W['task.%s.weight' % name] + W['task.%s.bias' % name][0]
        task = task + torch.nn.functional.softplus(x) - y * x
    w = WEIGHTS
    objective = w['scale'] * (w['rates'] * rates + w['time'] * time + w['value'] * value + w['hazard'] * hazard) + w['task'] * w['task_scale'] * task
    return logits + shift[:, None], dict(rates=rates, time=time, value=value, hazard=hazard, task=task, objective=objective)


def make_batch(rng):
    lengths = [4, 3, 4, 1, 4]  # at most four: then every position is a hazard sample
    b = dict(seq_start=[0], time=[], time_feature=[], rope_index=[], rope_time=[], entries=[], targets=[], gap=[], tail=[], end=[], first=[],
             labels=[(0, 0, 1.0), (1, 1, 0.0), (2, 0, 0.0), (3, 0, 1.0)])
    for n in lengths:
        t = start = 1000
        for i in range(n):
            if i and rng.rand() < 0.7:
                t += int(np.exp(rng.uniform(0, 7)))
            b['time'].append(t)
            b['time_feature'].append(rng.randn(TIME_FEATURES) * 0.5)
            b['rope_index'].append(float(i))
            b['rope_time'].append(float(np.float32(math.log1p(t - start))))
            b['entries'].append([(int(rng.randint(ROWS)), float(np.float32(rng.rand()))) for _ in range(rng.randint(4))])
            last = i == n - 1
            b['gap'].append(float('nan') if last else float(np.float32(np.exp(rng.uniform(-6, 4)))))
            b['tail'].append(float(np.float32(np.exp(rng.uniform(0, 3)))))
            targets = []
            for _ in range(0 if last else rng.randint(1, 4)):
                i2 = int(rng.randint(1, CODES))
                targets.append((i2, float(np.float32(rng.uniform(0, KNOTS[i2][1] - 1))) if i2 in KNOTS else float('nan')))
            b['targets'].append(targets)
        b['seq_start'].append(len(b['time']))
        b['end'].append(t + int(rng.randint(0, 9000)))
        b['first'].append([int(rng.randint(start, b['end'][-1] + 1)) if rng.rand() < 0.7 else 1 << 23 for _ in range(OUTCOMES)])
    b['time'] = torch.tensor(b['time'])
    b['time_feature'] = torch.tensor(np.float32(b['time_feature'])).double()
    b['rope_index'], b['rope_time'] = torch.tensor(b['rope_index']), torch.tensor(b['rope_time'])
    return b


def flat(lists):
    return np.array([x for one in lists for x in one], dtype='<f4'), np.cumsum([0] + [len(one) for one in lists]).astype('<f4')


def batch_arrays(b):
    a = {'batch.seq_start': b['seq_start'], 'batch.time_hours': b['time'].numpy(), 'batch.time_feature': b['time_feature'].numpy(),
         'batch.rope_index': b['rope_index'].numpy(), 'batch.rope_time': b['rope_time'].numpy(), 'batch.gap_days': b['gap'], 'batch.tail_days': b['tail'],
         'batch.end_hours': b['end'], 'batch.first_hours': b['first'], 'batch.labels': b['labels']}
    a['batch.entry_id'], a['batch.entry_start'] = flat([[i for i, _ in e] for e in b['entries']])
    a['batch.entry_weight'], _ = flat([[w for _, w in e] for e in b['entries']])
    a['batch.target_id'], a['batch.target_start'] = flat([[i for i, _ in e] for e in b['targets']])
    a['batch.target_knot'], _ = flat([[w for _, w in e] for e in b['targets']])
    return a


def write_safetensors(path, arrays, metadata):
    header, data = {'__metadata__': metadata}, b''
    for name, x in arrays.items():
        x = np.ascontiguousarray(x, dtype='<f4')
        header[name] = {'dtype': 'F32', 'shape': list(x.shape), 'data_offsets': [len(data), len(data) + x.nbytes]}
        data += x.tobytes()
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + data)


def main(out):
    for number, (name, c) in enumerate(CONFIGS.items()):
        rng = np.random.RandomState(40 + number)
        W = {}
        for n, shape in shapes(c).items():
            w = rng.randn(*shape)
            w = 1 + 0.2 * w if n.endswith('gain') else -2 + 0.3 * w if n in ('rates.bias', 'hazard.bias') else 0.35 * w
            W[n] = torch.tensor(np.float32(w)).double().requires_grad_()
        b = make_batch(rng)
        h = trunk(c, W, b)
        logits, loss = losses(c, W, b, h)
        loss['objective'].backward()
        arrays = {'weight.' + n: w.detach().numpy() for n, w in W.items()}
        arrays.update({'gradient.' + n: w.grad.numpy() for n, w in W.items()})
        arrays.update(batch_arrays(b))
        arrays['expect.hidden'], arrays['expect.log_rate'] = h.detach().numpy(), logits.detach().numpy()
        arrays['expect.losses'] = [float(loss[k]) for k in ('rates', 'time', 'value', 'hazard', 'task', 'objective')]
        write_safetensors('%s/%s.safetensors' % (out, name), arrays, {k: str(v) for k, v in {**c, **{'w_' + k: v for k, v in WEIGHTS.items()}}.items()})
        print(name, {k: round(float(v), 4) for k, v in loss.items()})


if __name__ == '__main__':
    main(sys.argv[1])
