#!/usr/bin/env python3
"""An independent, slow reader of a timeline store, written from src/timeline/FORMAT.md alone (Python standard library, zstd
command for texts). Checks what the page promises and prints every event as one line:

    subject TAB split TAB time TAB code TAB value bits TAB unit TAB source TAB row TAB blob TAB text

Usage: timeline_oracle.py DIR        exit status 0: fine; 1: a promise is broken (which one goes to stderr)
"""
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

M = (1 << 64) - 1
K = [0xD1342543DE82EF95, 0x9FB21C651E98DF25, 0xA0761D65B4F8A3C7, 0xE7037ED1A0B428DB,
     0x8EBC6AF09C88C6E3, 0x589965CC75374CC3, 0x1D8E4E27C47D124F, 0xC2B2AE3D27D4EB4F]


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & M
    x = (x ^ x >> 27) * 0x94D049BB133111EB & M
    return x ^ x >> 31


def fold(a, b):
    p = a * b
    return (p & M) ^ (p >> 64)


def rol(x, r):
    return (x << r | x >> (64 - r)) & M


def hash64(b, seed=0):
    n = len(b)
    h = mix(seed ^ (n * K[0] & M))
    at = 0

    def w(p):
        return struct.unpack_from('<Q', b, p)[0]

    def chain(s, p, k):
        return (fold(w(p) ^ K[k], w(p + 8) ^ s) + rol(s, 29)) & M

    if n > 64:
        s = [h ^ K[1], h ^ K[2], h ^ K[3], h ^ K[4]]
        while n - at > 64:
            s = [chain(s[i], at + 16 * i, 4 + i) for i in range(4)]
            at += 64
        h = (fold(s[0] ^ K[5], s[1] ^ K[6]) + fold(s[2] ^ K[7], s[3] ^ K[0]) + s[0] + s[3]) & M
    while n - at > 16:
        h = chain(h, at, 0)
        at += 16
    if n - at >= 8:
        x, y = w(at), w(n - 8)
    else:
        x, y = int.from_bytes(b[at:], 'little'), 0
    return mix((fold(x ^ K[2] ^ h, y ^ K[3]) + h) & M)


def need(holds, what):
    if not holds:
        raise SystemExit('broken: ' + what)


def up(n):
    return (n + 63) // 64 * 64


def sections(b, magic, widths, name, first=None):
    need(b[:8] == magic, name + ' magic')
    version, count, length = struct.unpack_from('<IIQ', b, 8)
    counts = struct.unpack_from('<3Q', b, 24)
    table_hash, header_hash = struct.unpack_from('<2Q', b, 48)
    need(version in (1, 2, 3), name + ' version')
    if version == 1 and first:
        widths = widths[:first]
    need(count == len(widths) and length == len(b), name + ' header')
    need(hash64(b[:56]) == header_hash, name + ' header hash')
    table = b[64:64 + 32 * count]
    need(hash64(table) == table_hash, name + ' table hash')
    out, at, end = [], up(64 + 32 * count), 64 + 32 * count
    for i, width in enumerate(widths):
        kind, size, offset, bytes_, check = struct.unpack_from('<IIQQQ', table, 32 * i)
        need((kind, size, offset) == (i + 1, width, at) and bytes_ % width == 0, '%s section %d' % (name, i + 1))
        need(not any(b[end:offset]), '%s padding before section %d' % (name, i + 1))
        body = b[offset:offset + bytes_]
        h = 0
        for p in range(0, len(body), 1 << 20):
            h = hash64(body[p:p + (1 << 20)], h)
        need(len(body) == bytes_ and h == check, '%s checksum of section %d' % (name, i + 1))
        out.append(body)
        end, at = offset + bytes_, up(offset + bytes_)
    need(len(b) == at and not any(b[end:]), name + ' end')
    return counts, out


def array(body, letter):
    return struct.unpack('<%d%s' % (len(body) // struct.calcsize('<' + letter), letter), body)


def names(starts, body):
    return [body[a:b] for a, b in zip(starts, starts[1:])]


def ascending(v):
    return all(a < b for a, b in zip(v, v[1:]))


def texts_of(s):
    blocks = []
    for offset, packed, raw in struct.iter_unpack('<QII', s[12]):
        out = subprocess.run(['zstd', '-d', '-c', '-q'], input=s[13][offset:offset + packed], stdout=subprocess.PIPE, check=True).stdout
        need(len(out) == raw, 'text block length')
        blocks.append(out)
    events = array(s[10], 'Q')
    need(ascending(events), 'texts ascending')
    text = {}
    for event, (block, offset, length, zero) in zip(events, struct.iter_unpack('<4I', s[11])):
        need(zero == 0 and length > 0 and offset + length <= len(blocks[block]), 'text place')
        text[event] = blocks[block][offset:offset + length]
    return text


def blobs_of(s, events):
    if len(s) < 16:
        return {}
    at, digest = array(s[14], 'Q'), [s[15][i:i + 32] for i in range(0, len(s[15]), 32)]
    need(ascending(at) and len(at) == len(digest) and all(a < events for a in at), 'blob columns')
    return dict(zip(at, digest))


def check_blobs(where, named):
    for digest in named:
        name = digest.hex()
        b = open(os.path.join(where, 'blobs', name[:2], name), 'rb').read()
        need(hashlib.sha256(b).digest() == digest, 'bytes of a blob')


def value_order(bits):
    if bits == 0x7FC00000:
        return -1
    return (~bits & 0xFFFFFFFF) if bits >> 31 else bits | 0x80000000


def read_shard(b, name, code, unit, sources, state, out):
    (subjects, events, texts), s = sections(b, b'VITAETLS', [8, 8, 4, 1, 8, 4, 4, 2, 4, 4, 8, 16, 16, 1, 8, 32], name, 14)
    subject, start, statics, split = array(s[0], 'q'), array(s[1], 'Q'), array(s[2], 'I'), s[3]
    time, codes, bits, units, files, rows = (array(s[4 + i], letter) for i, letter in enumerate('qIIHII'))
    text, blob = texts_of(s), blobs_of(s, events)
    need(len(subject) == len(statics) == len(split) == subjects and len(start) == subjects + 1 and len(text) == texts, name + ' subject counts')
    need(len(time) == len(codes) == len(bits) == len(units) == len(files) == len(rows) == events, name + ' event counts')
    need(start[0] == 0 and start[-1] == events and ascending(start), name + ' starts')
    for i, who in enumerate(subject):
        place = mix(who & M)
        need(who > 0 and place > state['place'], name + ' subject order')
        state['place'] = place
        state['split'][split[i]] += 1
        last = None
        static = births = 0
        for k in range(start[i], start[i + 1]):
            t, o = text.get(k, b''), blob.get(k, b'')
            need(files[k] < sources, name + ' source')
            need(bits[k] == 0x7FC00000 or (bits[k] & 0x7FFFFFFF) <= 0x7F800000, name + ' NaN')
            label = code[codes[k]].startswith(b'LABEL//')
            what = (label, time[k], codes[k], value_order(bits[k]), units[k], t, o)
            key = what + (files[k], rows[k])
            need(last is None or (key > last and what != last[:7]), '%s event %d: order or duplicate' % (name, k))
            last = key
            static += time[k] == -1 << 63 and not label
            births += code[codes[k]] == b'MEDS_BIRTH'
            state['count'][codes[k]] += 1
            out.write(b'%d\t%d\t%d\t%s\t%08x\t%s\t%d\t%d\t%s\t%s\n' % (who, split[i], time[k], code[codes[k]], bits[k], unit[units[k]], files[k], rows[k], o.hex().encode(), t))
        need(static == statics[i] and births <= 1, name + ' statics or births')
    state['events'] += events
    state['texts'] += texts
    state['blobs'] |= set(blob.values())
    state['with_blob'] += len(blob)


def main():
    where = sys.argv[1]
    if os.path.exists(os.path.join(where, 'CURRENT')):
        current = open(os.path.join(where, 'CURRENT')).read()
        need(re.fullmatch(r'gen-[0-9]{6,}\n', current), 'CURRENT')
        where = os.path.join(where, current.strip())
    m = json.load(open(os.path.join(where, 'manifest.json'), encoding='utf-8'))
    need(m['format'] == 'vitae-timelines' and m['version'] in (1, 2, 3), 'manifest version')
    data = {}
    for i, f in enumerate(m['files']):
        need(f['name'] == ('codes' if i == 0 else 'shard-%03d' % (i - 1)), 'file names')
        data[f['name']] = b = open(os.path.join(where, f['name']), 'rb').read()
        need(len(b) == f['bytes'] and hashlib.sha256(b).hexdigest() == f['sha256'], 'SHA-256 of ' + f['name'])
    counts, d = sections(data['codes'], b'VITAETLC', [8, 1, 8, 1, 8, 8, 1], 'codes')
    code, display, unit = names(array(d[0], 'Q'), d[1]), names(array(d[2], 'Q'), d[3]), names(array(d[5], 'Q'), d[6])
    need(ascending(code) and ascending(unit) and unit[0] == b'' and b'' not in code and len(display) == len(code), 'dictionary order')
    need(counts == (len(code), len(unit), 0) and (m['codes'], m['units']) == counts[:2], 'dictionary counts')
    state = {'place': -1, 'split': [0, 0, 0], 'count': [0] * len(code), 'events': 0, 'texts': 0, 'blobs': set(), 'with_blob': 0}
    for f in m['files'][1:]:
        read_shard(data[f['name']], f['name'], code, unit, len(m['sources']), state, sys.stdout.buffer)
    need(list(array(d[4], 'Q')) == state['count'], 'counts by code')
    need([m['split'][k] for k in ('train', 'tuning', 'held_out')] == state['split'] and sum(state['split']) == m['subjects'], 'split counts')
    need((m['events'], m['texts']) == (state['events'], state['texts']), 'manifest counts')
    need(m.get('blobs', 0) == state['with_blob'], 'manifest count of blobs')
    check_blobs(os.path.join(where, '..'), state['blobs'])
    need(m['runs'][-1]['generation'] == m['generation'], 'runs')


if __name__ == '__main__':
    main()
