import {useMemo} from 'preact/hooks';
import {type Interval, type Report, type ReportRow, type Wall, get, getJson} from './api';
import {Chart, onto} from './chart';
import {fixed, n, percent, words} from './format';
import {Problem, Waiting, useLoad} from './parts';

const range = (i?: Interval) => (!i || i.at == null ? 'n/a' : i.lo == null || i.hi == null ? fixed(i.at) : <>{fixed(i.at)} <small>[{fixed(i.lo)}, {fixed(i.hi)}]</small></>);
const titles: Record<string, string> = {model: 'Model', xgboost: 'XGBoost', hazard: 'Hazard'};
const colours: Record<string, string> = {model: '--c1', xgboost: '--c3', hazard: '--c5'};
const grid = (lo: number, hi: number, k: number) => Array.from({length: k + 1}, (_, i) => lo + ((hi - lo) * i) / k);

async function openHtml(name: string) {
  const blob = await (await get(`/v1/reports/${encodeURIComponent(name)}?format=html`)).blob(), url = URL.createObjectURL(blob), a = document.createElement('a');
  a.href = url; a.download = `${name}.html`; a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function Reports() {
  const load = useLoad<{reports: ReportRow[]}>('reports', (s) => getJson('/v1/reports', s));
  if (load.failure) return <Problem of={load.failure} />;
  if (!load.value) return <Waiting what="Reading the reports" />;
  if (!load.value.reports.length) return <p class="card muted">No report yet: <code>vitae validate SITE --task TASK</code> writes one.</p>;
  return (
    <section class="card"><h1>Validation</h1>
      <div class="scroll"><table><thead><tr><th scope="col">Question</th><th scope="col">Gate</th><th scope="col" class="n">AUROC</th><th scope="col" class="n">n</th><th scope="col" class="n">cases</th><th scope="col">Version</th></tr></thead>
        <tbody>{load.value.reports.map((r) => <tr key={r.name}><th scope="row"><a href={`#/reports/${r.name}`}>{r.title ?? r.task ?? r.name}</a></th><td class={r.passes ? 'good' : 'bad'}>{r.passes ? 'passes' : 'does not pass'}</td><td class="n">{range(r.auroc as Interval)}</td><td class="n">{n(r.n)}</td><td class="n">{n(r.events)}</td><td><code>{r.version?.slice(0, 12)}</code></td></tr>)}</tbody></table></div>
    </section>
  );
}

function Pictures({r}: {r: Report}) {
  const names = Object.keys(r.predictors), p = r.predictors;
  const plots = useMemo(() => {
    const unit = grid(0, 1, 200), half = grid(0, 0.5, 100);
    const lines = (x: number[], pick: (k: string) => {x: number[]; y: number[]}, only = names, points = false) => only.map((k) => ({label: titles[k] ?? k, colour: colours[k] ?? '--c6', y: onto(x, pick(k)), points}));
    const xs = [...new Set(names.flatMap((k) => p[k].calibration.x))].sort((a, b) => a - b), calibration = names.map((k) => ({label: titles[k] ?? k, colour: colours[k] ?? '--c6', y: xs.map((v) => { const i = p[k].calibration.x.indexOf(v); return i < 0 ? null : p[k].calibration.y[i]; }), points: true}));
    const prevalence = p.model?.metrics.prevalence ?? r.events / Math.max(1, r.n), most = Math.min(1, 1.1 * Math.max(0.05, ...names.flatMap((k) => [...p[k].calibration.x, ...p[k].calibration.y])));
    const all = half.map((t) => prevalence - ((1 - prevalence) * t) / (1 - t)), cal = [...new Set([0, ...xs, most])].sort((a, b) => a - b);
    return {
      unit, half, roc: [...lines(unit, (k) => p[k].roc), {label: 'chance', colour: '--muted', y: unit, dash: [4, 4], width: 1}], pr: lines(unit, (k) => p[k].precision_recall),
      cal, calibration: [...calibration.map((l) => ({...l, y: cal.map((v) => { const i = xs.indexOf(v); return i < 0 ? null : l.y[i]; })})), {label: 'ideal', colour: '--muted', y: cal, dash: [4, 4], width: 1}], most,
      decision: [...lines(half, (k) => p[k].decision, names.filter((k) => p[k].decision.x.length > 0)), {label: 'treat all', colour: '--muted', y: all, dash: [4, 4], width: 1}], prevalence,
    };
  }, [r]);
  return (
    <div class="charts">
      <Chart title="ROC" x={plots.unit} lines={plots.roc} xRange={[0, 1]} yRange={[0, 1]} xLabel="1 − specificity" yLabel="sensitivity" />
      <Chart title="Precision and recall" x={plots.unit} lines={plots.pr} xRange={[0, 1]} yRange={[0, 1]} xLabel="recall" yLabel="precision" />
      <Chart title="Calibration" x={plots.cal} lines={plots.calibration} xRange={[0, plots.most]} yRange={[0, plots.most]} xLabel="predicted" yLabel="observed" />
      <Chart title="Decision curve" x={plots.half} lines={plots.decision} xRange={[0, 0.5]} yRange={[-0.2 * plots.prevalence, 1.1 * plots.prevalence]} xLabel="threshold probability" yLabel="net benefit" />
    </div>
  );
}

export function ReportPage({name}: {name: string}) {
  const load = useLoad<Report>(name, (s) => getJson(`/v1/reports/${encodeURIComponent(name)}`, s));
  if (load.failure) return <Problem of={load.failure} />;
  const r = load.value;
  if (!r) return <Waiting what="Reading the report" />;
  const names = Object.keys(r.predictors ?? {}), d = r.difference_auroc;
  return (
    <div>
      <p class="crumbs"><a href="#/reports">Validation</a> / {r.title ?? name}</p>
      <section class="card">
        <div class="bar spread"><h1>{r.title ?? name}</h1><button onClick={() => void openHtml(name)}>Save as HTML</button></div>
        <p>{n(r.n)} held-out examples, {n(r.events)} with the outcome{r.n > 0 && ` (${percent(r.events / r.n)})`}{r.censored ? `, ${n(r.censored)} left out because their record ends too early` : ''}. {r.train_n ? `Learned from ${n(r.train_n)}.` : ''}</p>
        <p class={r.gate.passes ? 'verdict good' : 'verdict bad'}><b>Gate: {r.gate.passes ? 'passes.' : 'does not pass.'}</b> {r.gate.reasons}</p>
        {d?.lo != null && d.hi != null && <p>AUROC, model minus tabular baseline: <b>{d.at! >= 0 ? '+' : '−'}{fixed(Math.abs(d.at!))}</b> [{fixed(d.lo)}, {fixed(d.hi)}]: {d.lo > 0 ? 'the model is better on these patients' : d.hi < 0 ? 'the baseline is better on these patients' : 'no difference can be told on these patients'}.</p>}
        <div class="scroll"><table><thead><tr><th scope="col">Predictor</th><th scope="col" class="n">AUROC</th><th scope="col" class="n">AUPRC</th><th scope="col" class="n">Brier</th><th scope="col" class="n">slope</th><th scope="col" class="n">intercept</th><th scope="col" class="n">ECE</th></tr></thead>
          <tbody>{names.map((k) => { const m = r.predictors[k].metrics; return <tr key={k}><th scope="row">{titles[k] ?? k}</th>{[m.auroc, m.auprc, m.brier, m.slope, m.intercept, m.ece].map((i, j) => <td class="n" key={j}>{range(i)}</td>)}</tr>; })}</tbody></table></div>
        <p class="muted small">{r.protocol}</p>
      </section>
      {names.length > 0 && <section class="card" aria-label="Curves"><Pictures r={r} /></section>}
      {r.subgroups?.length > 0 && <section class="card"><h2>Subgroups</h2><div class="scroll"><table><thead><tr><th scope="col">Subgroup</th><th scope="col" class="n">n</th><th scope="col" class="n">cases</th><th scope="col" class="n">AUROC model</th><th scope="col" class="n">AUROC XGBoost</th><th scope="col" class="n">slope model</th></tr></thead>
        <tbody>{r.subgroups.map((s) => <tr key={s.name}><th scope="row">{s.name}</th><td class="n">{n(s.model.n)}</td><td class="n">{n(s.model.events)}</td><td class="n">{range(s.model.auroc)}</td><td class="n">{range(s.xgboost.auroc)}</td><td class="n">{range(s.model.slope)}</td></tr>)}</tbody></table></div></section>}
      {r.gaps?.length > 1 && <section class="card"><h2>How early</h2><div class="scroll"><table><thead><tr><th scope="col">Outcome at least so far away</th><th scope="col" class="n">n</th><th scope="col" class="n">cases</th><th scope="col" class="n">AUROC model</th><th scope="col" class="n">AUROC XGBoost</th></tr></thead>
        <tbody>{r.gaps.map((g) => <tr key={g.days}><th scope="row">{g.days} days</th><td class="n">{n(g.n)}</td><td class="n">{n(g.events)}</td><td class="n">{range(g.model_auroc)}</td><td class="n">{range(g.xgboost_auroc)}</td></tr>)}</tbody></table></div></section>}
      <section class="card"><h2>Leak checks</h2>{r.leaks?.length ? r.leaks.map((l) => <p class="bad" key={l}>{l}</p>) : <p class="good">Nothing found.</p>}</section>
    </div>
  );
}

function Counts({title, of}: {title: string; of: Record<string, number>}) {
  const rows = Object.entries(of), some = rows.filter(([, v]) => v > 0), most = Math.max(1, ...rows.map(([, v]) => v)), none = rows.length - some.length;
  return (
    <div><h3>{title}</h3>
      {some.length > 0 && <table class="counts"><tbody>{some.map(([k, v]) => <tr key={k}><th scope="row">{words(k)}</th><td class="n">{n(v)}</td><td class="meter"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="2" /><rect class="fill" width={Math.max(1, (100 * v) / most)} height="10" rx="2" /></svg></td></tr>)}</tbody></table>}
      {none > 0 && <p class="muted small">{some.length ? 'None of' : 'Nothing:'} {rows.filter(([, v]) => !v).map(([k]) => words(k)).join(', ')}.</p>}
    </div>
  );
}

export function WallPage() {
  const load = useLoad<{ingests: Wall[]}>('wall', (s) => getJson('/v1/wall', s));
  if (load.failure) return <Problem of={load.failure} />;
  if (!load.value) return <Waiting what="Reading the wall's counts" />;
  if (!load.value.ingests.length) return <p class="card muted">Nothing has been ingested yet.</p>;
  return (
    <div><h1>The wall</h1>
      {load.value.ingests.map((w) => (
        <section class="card" key={w.generation}>
          <h2>{w.generation} <small class="muted">from {w.source}, policy {w.wall.policy}</small></h2>
          <p class="facts"><span>Records <b>{n(w.wall.records)}</b></span><span>Events passed <b>{n(w.wall.events)}</b></span><span>Persons <b>{n(w.wall.persons)}</b></span><span>Files <b>{n(w.files)}</b></span><span>Rejected <b>{n(w.rejected)}</b></span></p>
          <p class="muted">{w.wall.statement}</p>
          <div class="three"><Counts title="Identifiers removed" of={w.wall.removed} /><Counts title="Changed on the way" of={w.wall.transformed} /><Counts title="Dropped" of={w.wall.dropped} /></div>
        </section>))}
    </div>
  );
}
