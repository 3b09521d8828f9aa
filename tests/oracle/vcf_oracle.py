#!/usr/bin/env python3
"""An independent, slow look at what became of one sample of a VCF (Python standard library).

Usage: vcf_oracle.py IN OUT SAMPLE [KEPT]

Every record of OUT must be a record of IN, in order, with CHROM, POS, REF, ALT and QUAL as they were, ID, FILTER, INFO and FORMAT a
selection of what was there in the same order and bytes, and the genotypes likewise (or "."). Prints counts as
`records dropped_records changed_records`; exit status 1 when something came out that did not go in. With KEPT = all, every
record must have come out byte-equal, all ten columns of it.
"""
import gzip
import sys


def lines(path):
    b = open(path, 'rb').read()
    if b[:2] == b'\x1f\x8b':
        b = gzip.decompress(b)
    return [line.rstrip('\r').encode('utf-8') for line in b.decode('utf-8').split('\n') if line]


def need(holds, what):
    if not holds:
        raise SystemExit('broken: ' + what)


def selection(part, whole, by):
    if part == b'.':
        return True
    rest = iter(whole.split(by))
    return all(any(p == w for w in rest) for p in part.split(by))


def count(path):
    return next((len(line.split(b'\t')) - 9 for line in lines(path) if line.startswith(b'#CHROM')), 0)


def columns(path, sample):
    head, rows, at = [], [], None
    for line in lines(path):
        if line.startswith(b'#CHROM'):
            names = line.split(b'\t')
            at = names.index(sample) if sample else 9
            need(sample or len(names) == 10, 'one sample in a file')
        elif line.startswith(b'#'):
            head.append(line)
        else:
            c = line.split(b'\t')
            rows.append(c[:9] + [c[at]])
    return head, rows


def genotypes(new_keys, new, old_keys, old):
    a, b = new.split(b':'), dict(zip(old_keys.split(b':'), old.split(b':')))
    return all(v == b.get(k, b'.') or v == b'.' for k, v in zip(new_keys.split(b':'), a))


# counted over all samples of the file
COHORT = {b'AC', b'AN', b'AF', b'NS', b'DP', b'MLEAC', b'MLEAF', b'HW', b'HWP', b'HOB', b'ICB', b'InbreedingCoeff', b'ExcessHet', b'NCC', b'GC', b'GQ_MEAN', b'GQ_STDDEV', b'NDA', b'LDAF', b'AVGPOST', b'RSQ', b'AD', b'ADF', b'ADR', b'DP4', b'VarDP', b'QUALapprox', b'ABHet', b'ABHom'}


def own_info(info, samples):
    if not 1 < samples < 1000:
        return info
    return b';'.join(x for x in info.split(b';') if x.split(b'=')[0] not in COHORT) or b'.'


def main():
    into, out, sample = sys.argv[1], sys.argv[2], sys.argv[3].encode()
    head, rows = columns(into, sample)
    clean_head, clean = columns(out, None)
    for line in clean_head:
        need(line.split(b'=')[0] in (b'##fileformat', b'##INFO', b'##FORMAT', b'##FILTER', b'##ALT', b'##contig', b'##reference'), 'header line')
        need(b'Description' not in line or b'Description="."' in line, 'description')
    samples = count(into)
    for r in rows:
        r[7] = own_info(r[7], samples)
    at = dropped = changed = 0
    for c in clean:
        while at < len(rows) and [rows[at][i] for i in (0, 1, 3, 4, 5)] != [c[i] for i in (0, 1, 3, 4, 5)]:
            at, dropped = at + 1, dropped + 1
        need(at < len(rows), 'a record that did not go in')
        r = rows[at]
        need(selection(c[2], r[2], b';') and selection(c[6], r[6], b';') and selection(c[7], r[7], b';') and selection(c[8], r[8], b':'), 'a field that did not go in')
        need(genotypes(c[8], c[9], r[8], r[9]), 'a genotype that did not go in')
        changed += c != r
        if c != r and len(sys.argv) > 5:
            print(r, c)
        at += 1
    dropped += len(rows) - at
    print(len(clean), dropped, changed)
    need(len(sys.argv) < 5 or sys.argv[4] != 'all' or (dropped == 0 and changed == 0), 'not everything came out as it was')


if __name__ == '__main__':
    main()
