// Findings to ranked diseases: what speaks for and against each, and what to look for next.
import {useEffect, useRef, useState} from 'preact/hooks';
import {type Differential, type Disease, type Knowledge, type Term, getJson, postJson} from './api';
import {n, percent} from './format';
import {Problem, Waiting, useLoad, useSend} from './parts';

interface Finding extends Term { absent: boolean }

// A field that looks terms up as they are typed. Enter takes the marked one as present, Shift + Enter as absent.
function Finder({add}: {add: (t: Term, absent: boolean) => void}) {
  const [text, setText] = useState(''), [found, setFound] = useState<Term[]>([]), [at, setAt] = useState(0), [none, setNone] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    setNone(false);
    if (text.trim().length < 2) { setFound([]); return; }
    const stop = new AbortController();
    const wait = setTimeout(() => {
      getJson<{terms: Term[]}>(`/v1/terms?limit=8&find=${encodeURIComponent(text.trim())}`, stop.signal).then((r) => { setFound(r.terms); setAt(0); setNone(!r.terms.length); }, () => {});
    }, 120);
    return () => { clearTimeout(wait); stop.abort(); };
  }, [text]);
  const take = (t: Term | undefined, absent: boolean) => { if (t) { add(t, absent); setText(''); setFound([]); field.current?.focus(); } };
  const key = (e: KeyboardEvent) => {
    if (e.key === 'Enter') { e.preventDefault(); take(found[at], e.shiftKey); }
    else if (e.key === 'Escape') { setText(''); }
    else if (e.key === 'ArrowDown' || e.key === 'ArrowUp') { e.preventDefault(); setAt((k) => Math.min(Math.max(k + (e.key === 'ArrowDown' ? 1 : -1), 0), Math.max(found.length - 1, 0))); }
  };
  return (
    <div class="finder">
      <label>Finding <input ref={field} id="finding" type="text" role="combobox" aria-expanded={found.length > 0} aria-controls="found" aria-activedescendant={found.length ? `found-${at}` : undefined} aria-autocomplete="list" autocomplete="off" spellcheck={false}
        placeholder="words of a term, or HP:…" value={text} onInput={(e) => setText(e.currentTarget.value)} onKeyDown={key} /></label>
      {found.length > 0 && <ul id="found" role="listbox" aria-label="Terms">{found.map((t, i) => (
        <li key={t.term} id={`found-${i}`} role="option" aria-selected={i === at} onMouseEnter={() => setAt(i)}>
          <span class="grow" onClick={() => take(t, false)}>{t.name} <code>{t.term}</code></span><button type="button" tabIndex={-1} onClick={() => take(t, false)}>present</button><button type="button" tabIndex={-1} onClick={() => take(t, true)}>absent</button>
        </li>))}</ul>}
      {none && <p class="muted small" role="status">No term is called that.</p>}
    </div>
  );
}

// Against to the left, for to the right; a finding a segment.
function Balance({d, most}: {d: Disease; most: number}) {
  let left = 0, right = 0;
  return (
    <svg class="balance" viewBox="-50 0 100 12" preserveAspectRatio="none" role="img" aria-label={`for ${sum(d, 1).toFixed(1)}, against ${sum(d, -1).toFixed(1)}`}>
      <rect class="track" x="-50" width="100" height="12" rx="2" />
      {d.evidence.map((e, i) => {
        const w = (49 * Math.abs(e.log_ratio)) / most, x = e.log_ratio > 0 ? right : left - w;
        if (e.log_ratio > 0) right += w; else left -= w;
        return <rect key={i} class={e.log_ratio > 0 ? 'pro' : 'con'} x={x} width={Math.max(0, w - 0.4)} y="1" height="10"><title>{`${e.absent ? 'no ' : ''}${e.name}: ${e.log_ratio.toFixed(2)}`}</title></rect>;
      })}
      <rect class="middle" x="-0.15" width="0.3" height="12" />
    </svg>
  );
}
const sum = (d: Disease, sign: number) => d.evidence.reduce((s, e) => s + Math.max(0, sign * e.log_ratio), 0);

function Row({d, rank, most, open, toggle}: {d: Disease; rank: number; most: number; open: boolean; toggle: () => void}) {
  const each = Math.max(1e-9, ...d.evidence.map((e) => Math.abs(e.log_ratio)));
  return (
    <>
      <tr class={open ? 'open' : ''}>
        <td class="n rank">{rank}</td>
        <th scope="row"><button type="button" class="plain disease" aria-expanded={open} onClick={toggle}>{d.name}</button><small><code>{d.id}</code> · {n(Math.round(d.known_cases))} known case{Math.round(d.known_cases) === 1 ? '' : 's'}{d.annotated && ' · annotated'}{d.orphanet > 0 && ' · Orphanet'}{d.gene && <b> · gene fits</b>}</small></th>
        <td class="n">{percent(d.probability)}</td>
        <td class="meter"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="2" /><rect class="fill" width={100 * d.probability} height="10" rx="2" /></svg></td>
        <td class="meter wide"><Balance d={d} most={most} /></td>
      </tr>
      {open && <tr class="detail-row"><td /><td colSpan={4}><ul class="why">{d.evidence.map((e) => (
        <li key={`${e.term}${e.absent}`}><span>{e.absent && <b>no </b>}{e.name} <code>{e.term}</code></span>
          <svg viewBox="-50 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" x="-50" width="100" height="10" rx="2" /><rect class={e.log_ratio > 0 ? 'pro' : 'con'} x={e.log_ratio > 0 ? 0 : (50 * e.log_ratio) / each} width={(50 * Math.abs(e.log_ratio)) / each} height="10" /></svg>
          <span class="n">{Math.abs(e.log_ratio) < 0.005 ? '0.00' : `${e.log_ratio > 0 ? '+' : '−'}${Math.abs(e.log_ratio).toFixed(2)}`} <small>{Math.abs(e.log_ratio) < 0.005 ? 'neither' : e.log_ratio > 0 ? 'for' : 'against'}</small></span></li>))}</ul></td></tr>}
    </>
  );
}

function Ranked({r, add}: {r: Differential; add: (t: Term, absent: boolean) => void}) {
  const [open, setOpen] = useState<string | null>(r.diseases[0]?.id ?? null);
  useEffect(() => setOpen(r.diseases[0]?.id ?? null), [r]);
  const most = Math.max(1e-9, ...r.diseases.map((d) => Math.max(sum(d, 1), sum(d, -1))));
  return (
    <>
      <div class="scroll"><table id="differential"><caption class="hidden">Diseases, likeliest first</caption><thead><tr><th scope="col" class="n">#</th><th scope="col">Disease</th><th scope="col" class="n">Probability</th><th scope="col" aria-label="Probability, drawn" /><th scope="col" class="centre">against · for</th></tr></thead>
        <tbody>{r.diseases.map((d, i) => <Row key={d.id} d={d} rank={i + 1} most={most} open={open === d.id} toggle={() => setOpen((o) => (o === d.id ? null : d.id))} />)}
          <tr class="muted"><td class="n">–</td><th scope="row">None of the {n(r.candidates)} diseases known here</th><td class="n">{percent(r.none_of_these)}</td><td class="meter"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="2" /><rect class="fill" width={100 * r.none_of_these} height="10" rx="2" /></svg></td><td /></tr></tbody></table></div>
      {r.findings_unknown > 0 && <p class="bad small">{n(r.findings_unknown)} findings are not in this ontology and were not used.</p>}
      {r.ask_next.length > 0 && <section id="next"><h2>Look for next</h2><p class="muted small">Unspoken findings that would tell most between the first twenty: expected drop of the uncertainty.</p>
        <ul class="next">{r.ask_next.map((t) => <li key={t.term}><span class="grow">{t.name} <code>{t.term}</code></span><span class="n muted">{t.bits.toFixed(2)} bits</span><button type="button" onClick={() => add(t, false)} aria-label={`${t.name} is present`}>present</button><button type="button" onClick={() => add(t, true)} aria-label={`${t.name} is absent`}>absent</button></li>)}</ul></section>}
      <p class="muted small">Bars: log likelihood ratios of the findings, by the published cases and annotations known here. The probability is one among published diseases, not among all that a clinic sees, and it is too sure at the ends. Ideas for a specialist: no diagnosis.</p>
    </>
  );
}

export function DifferentialPage() {
  const known = useLoad<Knowledge>('knowledge', (s) => getJson('/v1/differential/knowledge', s));
  const [findings, setFindings] = useState<Finding[]>([]), [genes, setGenes] = useState(''), [sent, send] = useSend<Differential>();
  const present = findings.filter((f) => !f.absent), list = genes.split(/[\s,;]+/).filter(Boolean);
  useEffect(() => {
    if (!present.length) return;
    const wait = setTimeout(() => void send((signal) => postJson('/v1/differential', {hpo: present.map((f) => f.term), hpo_excluded: findings.filter((f) => f.absent).map((f) => f.term), genes: list, top: 10}, signal)), 150);
    return () => clearTimeout(wait);
  }, [JSON.stringify(findings), list.join(' ')]);
  if (known.failure) return <Problem of={known.failure} />;
  const k = known.value;
  if (!k) return <Waiting what="Asking what is known here" />;
  if (!k.available)
    return <section class="card"><h1>Differential</h1><p id="unknown"><b>This site has no knowledge of diseases.</b> The hospital brings it: <code>phenotype.hpoa</code> and <code>hp.obo</code> of the Human Phenotype Ontology, or known cases as <code>cases.jsonl</code>, in the site's folder <code>knowledge/</code>; then start the server again.</p></section>;
  const add = (t: Term, absent: boolean) => setFindings((f) => [...f.filter((x) => x.term !== t.term), {term: t.term, name: t.name, absent}]);
  return (
    <section class="card"><h1>Differential</h1>
      <p class="facts"><span>Diseases <b>{n(k.diseases)}</b></span><span>Known cases <b>{n(k.known_cases)}</b></span><span>Terms <b>{n(k.terms)}</b></span></p>
      {!k.ontology && <p class="bad small" id="no-ontology">There is no ontology here (hp.obo): every term stands alone, related findings count twice, and terms have no names to find them by.</p>}
      <div class="bar entry"><Finder add={add} /><label>Genes <input type="text" value={genes} placeholder="symbols with a candidate variant" autocomplete="off" spellcheck={false} onInput={(e) => setGenes(e.currentTarget.value)} /></label></div>
      {findings.length > 0 && <ul class="chips" id="findings" aria-label="Findings">{findings.map((f) => (
        <li key={f.term} class={f.absent ? 'absent' : ''}><button type="button" title="Present or absent" aria-label={`${f.name}: ${f.absent ? 'absent' : 'present'}; change`} onClick={() => add(f, !f.absent)}>{f.absent ? 'no ' : ''}{f.name}</button><button type="button" aria-label={`Remove ${f.name}`} onClick={() => setFindings((l) => l.filter((x) => x.term !== f.term))}>×</button></li>))}</ul>}
      {sent.failure && <Problem of={sent.failure} />}
      {!present.length ? <p class="muted">{findings.length ? 'At least one finding that is present is needed.' : 'Type a few letters of a finding. Enter takes the marked term as present, Shift + Enter as absent.'}</p>
        : sent.value && <div class={sent.busy ? 'stale' : ''}><Ranked r={sent.value} add={add} /></div>}
    </section>
  );
}
