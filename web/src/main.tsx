// The workbench: sign in, cohort, patient, validation, wall, model. Pages are told apart by the part after # in the address.
import {render} from 'preact';
import {useEffect, useRef, useState} from 'preact/hooks';
import {type Cohort, type Model, type Session, getJson, storeKey, storedKey} from './api';
import {age, date, n} from './format';
import {AskPanel} from './ask';
import {Calculators} from './calculators';
import {DifferentialPage} from './differential';
import {Launched, Patient} from './patient';
import {AuditPage, KeysPage, LivePage, TryPage, VersionsPage} from './operate';
import {Problem, Waiting, useLoad} from './parts';
import {ReportPage, Reports, WallPage} from './reports';

const PAGE = 50;

function CohortPage({session}: {session: Session}) {
  const [find, setFind] = useState(''), [split, setSplit] = useState(''), [offset, setOffset] = useState(0);
  const query = new URLSearchParams({offset: String(offset), limit: String(PAGE), ...(find ? {find} : {}), ...(split ? {split} : {})}).toString();
  const load = useLoad<Cohort>(query, (s) => getJson(`/v1/cohort?${query}`, s));
  const c = load.value;
  return (
    <section class="card">
      <h1>Cohort</h1>
      {c && <p class="facts"><span>Subjects <b>{n(c.subjects)}</b></span><span>Events <b>{n(c.events)}</b></span>{Object.entries(c.splits).map(([k, v]) => <span key={k}>{k.replace('_', ' ')} <b>{n(v)}</b></span>)}<span>Store <b>{c.generation}</b></span></p>}
      <details><summary>Ask about all patients</summary><AskPanel session={session} /></details>
      <form class="bar" onSubmit={(e) => { e.preventDefault(); if (c?.rows.length) location.hash = `#/subject/${c.rows[0].subject}`; }}>
        <label>Pseudonym <input type="search" inputMode="numeric" value={find} placeholder="first digits" onInput={(e) => { setFind(e.currentTarget.value.replace(/\D/g, '').slice(0, 20)); setOffset(0); }} /></label>
        <label>Split <select value={split} onChange={(e) => { setSplit(e.currentTarget.value); setOffset(0); }}><option value="">any</option><option value="train">train</option><option value="tuning">tuning</option><option value="held_out">held out</option></select></label>
      </form>
      {load.failure ? <Problem of={load.failure} /> : !c ? <Waiting what="Reading the cohort" /> : (
        <div class={load.busy ? 'stale' : ''}>
          <div class="scroll"><table id="cohort"><thead><tr><th scope="col">Subject</th><th scope="col" class="n">Age</th><th scope="col">Sex</th><th scope="col" class="n">Events</th><th scope="col">First</th><th scope="col">Last</th><th scope="col">Split</th></tr></thead>
            <tbody>{c.rows.map((r) => <tr key={r.subject}><th scope="row"><a class="mono" href={`#/subject/${r.subject}`}>{r.subject}</a>{r.died && <small class="bad"> died</small>}</th><td class="n">{age(r.birth, r.last)}</td><td>{r.sex ?? '–'}</td><td class="n">{n(r.events)}</td><td class="date">{date(r.first)}</td><td class="date">{date(r.last)}</td><td>{r.split.replace('_', ' ')}</td></tr>)}</tbody></table></div>
          {c.total === 0 && <p class="muted">Nobody fits.</p>}
          <p class="bar"><button disabled={offset === 0} onClick={() => setOffset(Math.max(0, offset - PAGE))}>Previous</button><span aria-live="polite">{n(Math.min(offset + 1, c.total))}–{n(Math.min(offset + PAGE, c.total))} of {n(c.total)}</span><button disabled={offset + PAGE >= c.total} onClick={() => setOffset(offset + PAGE)}>Next</button></p>
        </div>)}
    </section>
  );
}

function ModelPage() {
  const load = useLoad<Model>('model', (s) => getJson('/v1/model', s));
  if (load.failure) return <Problem of={load.failure} />;
  const m = load.value;
  if (!m) return <Waiting what="Asking for the model" />;
  const rows: [string, string][] = [['Version', m.version], ['Size', `${m.preset}: ${n(m.parameters)} parameters, ${m.layers} layers, width ${m.width}`], ['Codes known', n(m.codes)], ['Outcomes of the hazard head', n(m.outcomes)], ['De-identification policy', m.policy], ['Program', m.program]];
  return <section class="card"><h1>Model</h1><table><tbody>{rows.map(([k, v]) => <tr key={k}><th scope="row">{k}</th><td class={k === 'Version' ? 'mono break' : ''}>{v}</td></tr>)}</tbody></table></section>;
}

function SignIn({why, done}: {why: string; done: (s: Session) => void}) {
  const [problem, setProblem] = useState(why), [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const submit = async (e: Event) => {
    e.preventDefault();
    const key = field.current!.value.trim();
    if (!key) return;
    setBusy(true);
    storeKey(key);
    try { done(await getJson<Session>('/v1/session')); } catch (f) { storeKey(null); setProblem((f as Error).message); setBusy(false); field.current?.focus(); }
  };
  return (
    <main class="signin"><form class="card" onSubmit={submit}>
      <h1>Vitae</h1><p>Paste a key. It stays in this tab until you sign out or close it.</p>
      <label>Key <input ref={field} type="password" autocomplete="off" spellcheck={false} placeholder="vitae_…" aria-describedby="problem" /></label>
      <p id="problem" class="bad" role="alert">{problem}</p><button class="primary" disabled={busy}>{busy ? 'Checking …' : 'Sign in'}</button>
      <p class="muted small">An administrator makes keys: <code>vitae key SITE --role clinician</code></p>
    </form></main>
  );
}

const menu: [string, string, string][] = [['cohort', 'Cohort', '/v1/cohort'], ['differential', 'Differential', '/v1/differential'], ['calculators', 'Calculators', '/v1/calculators/{calculator}'], ['reports', 'Validation', '/v1/reports'], ['wall', 'Wall', '/v1/wall'], ['model', 'Model', '/v1/model'],
  ['try', 'Try it', '/v1/predict'], ['keys', 'Keys', '/v1/keys'], ['live', 'Live', '/v1/live'], ['audit', 'Audit', '/v1/audit'], ['versions', 'Versions', '/v1/deployments']];

function Page({hash, session}: {hash: string; session: Session}) {
  const [, page, arg] = hash.split('/');
  const allowed = menu.filter(([, , path]) => session.routes.some((r) => r.path === path));
  const at = page || allowed[0]?.[0];
  if (at === 'subject' && arg) return <Patient subject={arg} session={session} />;
  if (at === 'reports') return arg ? <ReportPage name={decodeURIComponent(arg)} /> : <Reports />;
  if (at === 'differential') return <DifferentialPage />;
  if (at === 'calculators') return <Calculators name={decodeURIComponent(arg ?? '')} />;
  if (at === 'wall') return <WallPage />;
  if (at === 'model') return <ModelPage />;
  if (at === 'try') return <TryPage />;
  if (at === 'keys') return <KeysPage />;
  if (at === 'live') return <LivePage />;
  if (at === 'audit') return <AuditPage />;
  if (at === 'versions') return <VersionsPage />;
  return <CohortPage session={session} />;
}

function App() {
  const [session, setSession] = useState<Session | null>(null), [why, setWhy] = useState(''), [checked, setChecked] = useState(!storedKey()), [hash, setHash] = useState(location.hash);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const moved = () => { setHash(location.hash); document.title = 'Vitae'; scrollTo(0, 0); main.current?.focus({preventScroll: true}); };
    const out = (e: Event) => { storeKey(null); setSession(null); setWhy((e as CustomEvent).detail ?? ''); };
    addEventListener('hashchange', moved); addEventListener('vitae-signed-out', out);
    if (storedKey()) getJson<Session>('/v1/session').then(setSession, (e) => { storeKey(null); setWhy(e.message); }).finally(() => setChecked(true));
    return () => { removeEventListener('hashchange', moved); removeEventListener('vitae-signed-out', out); };
  }, []);
  if (hash === '#/launch') return <Launched />;
  if (!checked) return <Waiting what="Signing in" />;
  if (!session) return <SignIn why={why} done={(s) => { setWhy(''); setSession(s); }} />;
  const page = hash.split('/')[1] || 'cohort', here = page === 'subject' ? 'cohort' : page;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header><b class="brand">Vitae</b><span class="muted site">{session.site}</span>
        <nav aria-label="Pages">{menu.filter(([, , path]) => session.routes.some((r) => r.path === path)).map(([id, title]) => <a key={id} href={`#/${id}`} aria-current={here === id ? 'page' : undefined}>{title}</a>)}</nav>
        <span class="who"><span class="muted">{session.role}</span> <button onClick={() => { storeKey(null); setSession(null); }}>Sign out</button></span>
      </header>
      <main ref={main} tabIndex={-1} id="main"><Page hash={hash} session={session} /></main>
    </>
  );
}
render(<App />, document.getElementById('app')!);
