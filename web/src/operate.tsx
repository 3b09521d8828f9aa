// What an administrator watches: keys and usage, requests under way, the audit, versions in use; and, for whoever may predict, a console to try the API.
import {useEffect, useState} from 'preact/hooks';
import {Failure, getJson, storedKey} from './api';
import {n} from './format';
import {Problem, Waiting, useLoad} from './parts';

interface Key { id: string; role: string; label: string; tenant: string; models: string; created: string; revoked: string | null; expires: string | null; requests_per_minute: number; tokens_per_minute: number }
interface Usage { key: string; tenant: string; requests: number; failed: number; repeated: number; tokens_in: number; tokens_out: number }
interface Live { requests: {request: string; method: string; route: string; plane: string; stage: string; seconds: number}[]; in_flight: number; waiting: number }
interface AuditRow { seq: number; time: string; key: string; tenant: string; method: string; route: string; version: string; request: string; status: number; milliseconds: number; tokens_in: number; tokens_out: number; billed: boolean }
interface Audit { rows: AuditRow[]; head: string; last: number }
interface Deployments { live: string; deployments: {name: string; versions: {version: string; weight: number}[]; shadow: string | null}[] }

const short = (version: string) => version.slice(0, 12) || '–';
const limit = (v: number) => (v > 0 ? n(v) : '–');

export function KeysPage() {
  const [days, setDays] = useState('30');
  const keys = useLoad<{keys: Key[]}>('keys', (s) => getJson('/v1/keys', s)), usage = useLoad<{usage: Usage[]}>(`usage${days}`, (s) => getJson(`/v1/usage?days=${days}`, s));
  const failure = keys.failure ?? usage.failure;
  if (failure) return <Problem of={failure} />;
  if (!keys.value || !usage.value) return <Waiting what="Reading the keys" />;
  const used = new Map(usage.value.usage.map((u) => [u.key, u]));
  return (
    <section class="card"><h1>Keys and usage</h1>
      <form class="bar" onSubmit={(e) => e.preventDefault()}><label>Usage of the last <select value={days} onChange={(e) => setDays(e.currentTarget.value)}>{['1', '7', '30', '365'].map((d) => <option key={d} value={d}>{d} days</option>)}</select></label></form>
      <div class="scroll"><table id="keys"><thead><tr><th scope="col">Key</th><th scope="col">Role</th><th scope="col">Tenant</th><th scope="col">For</th><th scope="col">Models</th><th scope="col" class="n">Per minute</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Failed</th><th scope="col" class="n">Repeated</th><th scope="col" class="n">Tokens in</th><th scope="col" class="n">Tokens out</th><th scope="col">State</th></tr></thead>
        <tbody>{keys.value.keys.map((k) => { const u = used.get(k.id); return (
          <tr key={k.id}><th scope="row" class="mono">{k.id}</th><td>{k.role}</td><td>{k.tenant || '–'}</td><td>{k.label || '–'}</td><td>{k.models || 'all'}</td><td class="n">{limit(k.requests_per_minute)}</td><td class="n">{n(u?.requests ?? 0)}</td><td class="n">{n(u?.failed ?? 0)}</td><td class="n">{n(u?.repeated ?? 0)}</td><td class="n">{n(u?.tokens_in ?? 0)}</td><td class="n">{n(u?.tokens_out ?? 0)}</td>
            <td>{k.revoked ? <span class="bad">revoked {k.revoked.slice(0, 10)}</span> : k.expires ? `until ${k.expires.slice(0, 10)}` : 'valid'}</td></tr>); })}</tbody></table></div>
      <p class="muted small">Keys are made and revoked at the command line: <code>vitae key SITE --role developer --tenant NAME</code></p>
    </section>
  );
}

export function LivePage() {
  const [tick, setTick] = useState(0);
  useEffect(() => { const t = setInterval(() => setTick((x) => x + 1), 1000); return () => clearInterval(t); }, []);
  const load = useLoad<Live>(`live${tick}`, (s) => getJson('/v1/live', s));
  if (load.failure) return <Problem of={load.failure} />;
  const l = load.value;
  if (!l) return <Waiting what="Looking" />;
  return (
    <section class="card"><h1>Live requests</h1>
      <p class="facts"><span>Under way <b>{n(l.in_flight)}</b></span><span>Waiting for the model <b>{n(l.waiting)}</b></span></p>
      <div class="scroll"><table id="live"><thead><tr><th scope="col">Request</th><th scope="col">Plane</th><th scope="col">Route</th><th scope="col">Stage</th><th scope="col" class="n">Seconds</th></tr></thead>
        <tbody>{l.requests.map((r) => <tr key={r.request}><th scope="row" class="mono">{r.request.slice(0, 8)}</th><td>{r.plane}</td><td class="mono">{r.method} {r.route}</td><td>{r.stage}</td><td class="n">{r.seconds.toFixed(2)}</td></tr>)}</tbody></table></div>
    </section>
  );
}

export function AuditPage() {
  const [asked, setAsked] = useState({key: '', tenant: '', request: '', status: ''}), [fields, setFields] = useState(asked), [before, setBefore] = useState(0);
  const query = new URLSearchParams({limit: '50', ...Object.fromEntries(Object.entries(asked).filter(([, v]) => v)), ...(before ? {before: String(before)} : {})}).toString();
  const load = useLoad<Audit>(query, (s) => getJson(`/v1/audit?${query}`, s));
  const a = load.value, last = a?.rows[a.rows.length - 1]?.seq ?? 0;
  const field = (name: 'key' | 'tenant' | 'request', words: string) => <label>{words} <input value={fields[name]} spellcheck={false} autocomplete="off" onInput={(e) => setFields({...fields, [name]: e.currentTarget.value.trim()})} /></label>;
  return (
    <section class="card"><h1>Audit</h1>
      {a && <p class="facts"><span>Rows <b>{n(a.last)}</b></span><span>Head <b class="mono">{a.head.slice(0, 16)}…</b></span></p>}
      <form class="bar" role="search" onSubmit={(e) => { e.preventDefault(); setBefore(0); setAsked(fields); }}>
        {field('key', 'Key')}{field('tenant', 'Tenant')}{field('request', 'Request')}
        <label>Status <select value={fields.status} onChange={(e) => setFields({...fields, status: e.currentTarget.value})}><option value="">any</option><option value="2">2xx</option><option value="4">4xx</option><option value="5">5xx</option></select></label>
        <button class="primary">Search</button>
      </form>
      {load.failure ? <Problem of={load.failure} /> : !a ? <Waiting what="Reading the audit" /> : (
        <div class={load.busy ? 'stale' : ''}>
          <div class="scroll"><table id="audit"><thead><tr><th scope="col" class="n">Row</th><th scope="col">Time (UTC)</th><th scope="col">Key</th><th scope="col">Tenant</th><th scope="col">Route</th><th scope="col" class="n">Status</th><th scope="col" class="n">ms</th><th scope="col" class="n">Tokens</th><th scope="col">Version</th></tr></thead>
            <tbody>{a.rows.map((r) => <tr key={r.seq}><th scope="row" class="n">{n(r.seq)}</th><td class="date">{r.time.slice(0, 19).replace('T', ' ')}</td><td class="mono">{r.key}</td><td>{r.tenant || '–'}</td><td class="mono">{r.method} {r.route}</td><td class={`n ${r.status >= 400 ? 'bad' : ''}`}>{r.status}</td><td class="n">{r.milliseconds.toFixed(1)}</td><td class="n">{n(r.tokens_in + r.tokens_out)}</td><td class="mono">{short(r.version)}</td></tr>)}</tbody></table></div>
          {!a.rows.length && <p class="muted">No row fits.</p>}
          <p class="bar"><button disabled={!before} onClick={() => setBefore(0)}>Newest</button><button disabled={last <= 1 || a.rows.length < 50} onClick={() => setBefore(last)}>Older</button></p>
        </div>)}
    </section>
  );
}

export function VersionsPage() {
  const load = useLoad<Deployments>('deployments', (s) => getJson('/v1/deployments', s));
  if (load.failure) return <Problem of={load.failure} />;
  const d = load.value;
  if (!d) return <Waiting what="Reading the versions" />;
  return (
    <section class="card"><h1>Versions and routing</h1>
      <p class="facts"><span>Live <b class="mono">{short(d.live)}</b></span></p>
      <div class="scroll"><table id="deployments"><thead><tr><th scope="col">Name that clients call</th><th scope="col">Versions that answer</th><th scope="col">In shadow</th></tr></thead>
        <tbody>{d.deployments.map((x) => { const sum = x.versions.reduce((s, v) => s + v.weight, 0) || 1; return (
          <tr key={x.name}><th scope="row">{x.name}</th><td>{x.versions.map((v) => <div key={v.version}><span class="mono">{short(v.version)}</span> {x.versions.length > 1 && <>{Math.round((100 * v.weight) / sum)} %</>}</div>)}</td><td class="mono">{x.shadow ? short(x.shadow) : '–'}</td></tr>); })}</tbody></table></div>
      <p class="muted small">Changed at the command line: <code>vitae deploy SITE NAME --to live:95,VERSION:5</code>, <code>--shadow VERSION</code>; <code>vitae promote</code></p>
    </section>
  );
}

const example = JSON.stringify({birth: '1950-02-01', explain: 3, events: [{time: '2020-01-01T08:00:00', code: 'LOINC//2160-0', value: 1.4, unit: 'mg/dL'}]}, null, 2);

export function TryPage() {
  const [body, setBody] = useState(example), [answer, setAnswer] = useState(''), [status, setStatus] = useState(''), [busy, setBusy] = useState(false);
  const send = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    const began = performance.now();
    try {
      const r = await fetch('/v1/predict', {method: 'POST', body, headers: {Authorization: `Bearer ${storedKey() ?? ''}`, 'Content-Type': 'application/json'}, cache: 'no-store'});
      const text = await r.text();
      setStatus(`${r.status}, ${(performance.now() - began).toFixed(0)} ms, audit row ${r.headers.get('Vitae-Audit') ?? '–'}, request ${(r.headers.get('x-request-id') ?? '').slice(0, 8)}`);
      try { setAnswer(JSON.stringify(JSON.parse(text), null, 2)); } catch { setAnswer(text); }
      if (r.status === 401) dispatchEvent(new CustomEvent('vitae-signed-out', {detail: new Failure(401, 'The key is not valid.').message}));
    } catch { setStatus('The server cannot be reached.'); setAnswer(''); }
    setBusy(false);
  };
  return (
    <section class="card"><h1>Try it</h1>
      <p>A patient as a FHIR R4 Bundle, or as events. The record goes through the wall in memory; nothing of it is stored.</p>
      <form onSubmit={send}><label>Body of <code>POST /v1/predict</code><textarea id="body" rows={12} spellcheck={false} value={body} onInput={(e) => setBody(e.currentTarget.value)} /></label>
        <p class="bar"><button class="primary" disabled={busy}>{busy ? 'Asking …' : 'Send'}</button><span id="status" aria-live="polite">{status}</span></p></form>
      {answer && <pre id="answer" tabIndex={0} aria-label="The answer">{answer}</pre>}
    </section>
  );
}
