import {useEffect, useMemo, useState} from 'preact/hooks';
import {type Launch, type LaunchedLife, type Life, type Outcome, type Prediction, type Task, getJson} from './api';
import {Chart} from './chart';
import {age, date, n, name, percent, spanDays, spanWords, spans, value} from './format';
import {AskPanel} from './ask';
import {DraftPanel} from './draft';
import {type Lit, Timeline} from './timeline';
import {Problem, Waiting, useLoad} from './parts';

const colours = ['--c1', '--c2', '--c3', '--c4', '--c5', '--c6'];
const xTicks = spanDays.map((d, i): [number, string] => [d, spans[i]]);

const reasons: Record<string, string> = {
  dead: 'the record holds the death',
  'trigger not met': 'what the question starts from has not happened',
  'excluded: prior occurrence': 'it has happened before, and the question is about a first time',
  'excluded: a competing event has come': 'something has come after which it can no longer happen',
  'excluded: a window of the task does not hold': 'the question is not about patients with such a record',
};

const sets = {
  no: 'the outcome can be ruled out', yes: 'the outcome is to be expected',
  'cannot tell': 'neither can be ruled out: no statement', neither: 'unlike patients with and without the outcome: no statement',
};

function Ways({p, task}: {p: NonNullable<Prediction['task']>; task?: Task}) {
  if (!p.applies) return <p class="big"><b>Does not apply</b> <span>{task?.title ?? p.name}: {reasons[p.reason ?? ''] ?? p.reason}.</span></p>;
  const ways: [string, string, number | undefined, number | null | undefined][] = [
    ['Task head', `learned for this question, ${p.calibrated === false ? 'not ' : ''}calibrated`, p.probability, undefined],
    ['Hazard', 'closed form, one pass', p.hazard, undefined],
    ['Sampled futures', 'share with the outcome', p.sampled, p.sampled_standard_error],
  ];
  const least = Math.max(...ways.map(([, , v, se]) => (v ?? 0) + 1.96 * (se ?? 0))), most = [0.02, 0.05, 0.1, 0.25, 0.5].find((m) => m >= least) ?? 1;
  const word = p.agreement === 'DISAGREE' ? 'disagree' : p.agreement;
  return (
    <div>
      <p class="big"><b>{percent(p.probability)}</b> <span>{task?.title ?? p.name}</span></p>
      {p.interval && <p class="sure">Calibrated range <b>{percent(p.interval.lo)}</b> to <b>{percent(p.interval.hi)}</b>{p.set && <>. At {percent(p.set.coverage)} coverage {sets[p.set.answer]}</>}.</p>}
      <table class="ways"><caption class="hidden">Three ways to one number</caption><tbody>
        {ways.map(([what, how, v, se]) => (
          <tr key={what}>
            <th scope="row">{what}<small>{how}</small></th>
            <td class="n">{v == null ? <span class="muted">{what === 'Sampled futures' ? 'not sampled' : 'not available'}</span> : <>{percent(v)}{se != null && <small> ± {(196 * se).toFixed(1)}</small>}</>}</td>
            <td class="meter"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="2" />{v != null && <rect class="fill" width={Math.min(100, (100 * v) / most)} height="10" rx="2" />}
              {v != null && se != null && <rect class="whisker" x={Math.max(0, (100 * (v - 1.96 * se)) / most)} y="4" width={Math.max(0.5, (100 * 2 * 1.96 * se) / most)} height="2" />}</svg></td>
          </tr>))}
      </tbody></table>
      <p class="muted small">Bars end at {percent(most)}.</p>
      <p class={`verdict ${word === 'agree' ? 'good' : word === 'disagree' ? 'bad' : ''}`}>
        {word === 'not comparable' ? 'The hazard head has no such outcome, so the ways cannot be compared.' : <>Head and hazard <b>{word}</b>: {p.agreement_log_odds?.toFixed(2)} log odds apart.{word === 'disagree' && ' Do not lean on this number.'}</>}
      </p>
    </div>
  );
}

function Curves({p}: {p: Prediction}) {
  const news = p.outcomes.filter((o) => !o.before);
  const [off, setOff] = useState<Set<string>>(new Set());
  // two codes may have one name
  const several = (o: Outcome) => p.outcomes.some((other) => other.code !== o.code && name(other) === name(o)), named = (o: Outcome) => name(o) + (several(o) ? `, ${o.code}` : '');
  const shown = news.filter((o) => !off.has(o.code)).slice(0, 6), list = news.slice(0, 6), count = p.futures?.count ?? 0;
  const chart = useMemo(() => ({
    lines: shown.map((o) => ({label: named(o), colour: colours[list.indexOf(o)], y: spans.map((s) => o.within[s] ?? null), points: true})),
    errors: shown.flatMap((o) => spans.flatMap((s, i) => {
      const q = o.sampled_within?.[s];
      if (q == null || !count) return [];
      const se = Math.sqrt((q * (1 - q)) / count);
      return [{x: spanDays[i], lo: Math.max(0, q - 1.96 * se), hi: Math.min(1, q + 1.96 * se), colour: colours[list.indexOf(o)]}];
    })),
  }), [p, off]);
  if (p.dead) return <p class="muted">The record ends in death: there is nothing to foretell.</p>;
  const followed = p.history.followed_days ?? Infinity, cut = followed < spanDays[spanDays.length - 1];
  if (followed < spanDays[0]) return <p class="muted">No risks over time: too few of those whom the model learned from were followed after events like the latest here.</p>;
  if (!news.length) return <p class="muted">No outcome that has not happened before.</p>;
  const top = Math.max(0.01, ...chart.lines.flatMap((l) => l.y.map((v) => v ?? 0)), ...chart.errors.map((e) => e.hi)) * 1.05;
  return (
    <div>
      <Chart title="Likely new outcomes, by horizon" x={spanDays} lines={chart.lines} errors={chart.errors} xLog xTicks={xTicks} yRange={[0, Math.min(1, top)]} xRange={[0.8, 2300]} xLabel="within" yLabel="probability" percent height={280} />
      <p class="muted small">Lines: closed-form hazard. {count ? `Bars: 95 % interval of ${n(count)} sampled futures, up to ${n(Math.round(p.futures!.horizon_days))} days.` : 'Ask for sampled futures to see their intervals.'}{p.futures?.cut_short ? ` ${p.futures.cut_short} futures were cut short: their shares are lower bounds.` : ''}{cut && ` No number beyond ${n(Math.floor(followed))} days: too few were followed for longer after events like the latest here.`}</p>
      <div class="scroll"><table><caption class="hidden">Likely outcomes by horizon</caption><thead><tr><th scope="col">Outcome</th>{spans.map((s) => <th scope="col" class="n" key={s}>{spanWords[s]}</th>)}<th scope="col" class="n">sampled</th></tr></thead>
        <tbody>{p.outcomes.map((o: Outcome) => (
          <tr key={o.code} class={o.before ? 'muted' : ''}>
            <th scope="row">{list.includes(o) && <label class="swatch"><input type="checkbox" checked={!off.has(o.code)} onChange={() => setOff((s) => { const t = new Set(s); t.has(o.code) ? t.delete(o.code) : t.add(o.code); return t; })} aria-label={`Draw ${named(o)}`} /><svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" rx="2" style={{fill: `var(${colours[list.indexOf(o)]})`}} /></svg></label>} {named(o)}{o.before && <small> had it before</small>}</th>
            {spans.map((s) => <td class="n" key={s}>{percent(o.within[s])}</td>)}
            <td class="n">{o.sampled == null ? '–' : <>{percent(o.sampled)}{o.sampled_standard_error != null && <small> ± {(196 * o.sampled_standard_error).toFixed(1)}</small>}</>}</td>
          </tr>))}</tbody></table></div>
    </div>
  );
}

function Why({p}: {p: Prediction}) {
  if (!p.contributions?.length) return null;
  const most = Math.max(...p.contributions.map((c) => Math.abs(c.delta_log_odds)), 1e-9);
  return (
    <div>
      <h3>What moved the number</h3>
      <p class="muted small">By {p.method}: the answer with the event minus the answer without it, in log odds.</p>
      <ul class="why">{p.contributions.map((c, i) => (
        <li key={i}>
          <span class="what"><b>{name(c)}</b>{c.value != null && <> = {value(c.value)} {c.unit}</>} <span class="muted">{c.time ? c.time.slice(0, 16).replace('T', ' ') : 'no time'}</span></span>
          <svg viewBox="-50 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" x="-50" width="100" height="10" rx="2" /><rect class={c.delta_log_odds > 0 ? 'up' : 'down'} x={c.delta_log_odds > 0 ? 0 : (50 * c.delta_log_odds) / most} width={(50 * Math.abs(c.delta_log_odds)) / most} height="10" /></svg>
          <span class="n">{c.delta_log_odds > 0 ? '+' : '−'}{Math.abs(c.delta_log_odds).toFixed(2)} <small>{c.delta_log_odds > 0 ? 'raises' : 'lowers'}</small></span>
        </li>))}</ul>
    </div>
  );
}

type Answer = {version: string; prediction: Prediction};
function Risk<T extends Answer>({base, tasks, first, seen}: {base: string; tasks: Task[]; first?: string; seen?: (v: T) => void}) {
  const [task, setTask] = useState((tasks.find((t) => t.name === first) ?? tasks[0])?.name ?? '');
  const [futures, setFutures] = useState(100);
  const path = `${base}?explain=8&outcomes=12&futures=${futures}${task ? `&task=${encodeURIComponent(task)}` : ''}`;
  const load = useLoad<T>(path, (signal) => getJson(path, signal));
  useEffect(() => { if (load.value) seen?.(load.value); }, [load.value]);
  return (
    <section class="card" aria-label="Risk">
      <div class="bar spread"><h2>Risk</h2>
        <span class="bar">
          {tasks.length > 0 && <label>Question <select value={task} onChange={(e) => setTask(e.currentTarget.value)}>{tasks.map((t) => <option key={t.name} value={t.name}>{t.title}</option>)}</select></label>}
          <label>Futures <select value={String(futures)} onChange={(e) => setFutures(+e.currentTarget.value)}>{[0, 100, 300, 1000].map((k) => <option key={k} value={k}>{k || 'none'}</option>)}</select></label>
        </span>
      </div>
      {load.failure ? <Problem of={load.failure} /> : !load.value ? <Waiting what="Asking the model" /> : (
        <div class={load.busy ? 'stale' : ''}>
          <div class="two"><div>{load.value.prediction.task ? <Ways p={load.value.prediction.task} task={tasks.find((t) => t.name === task)} /> : <p class="muted">This version offers no question of its own; the outcomes below come from the hazard head.</p>}</div><Why p={load.value.prediction} /></div>
          {load.value.prediction.history.warnings.length > 0 && <div class="notice" role="note"><b>Less sure than usual:</b> {load.value.prediction.history.warnings.join('; ')}.</div>}
          <Curves p={load.value.prediction} />
          <p class="muted small">Asked at {load.value.prediction.time.slice(0, 16).replace('T', ' ')} from {n(load.value.prediction.events)} events{load.value.prediction.unknown_codes > 0 && `, ${n(load.value.prediction.unknown_codes)} with a code that the model has not seen`}. Version <code>{load.value.version.slice(0, 12)}</code>. Research use: not for the care of a patient.</p>
        </div>)}
    </section>
  );
}

// Beside the timeline: questions, and documents. Both stay as they are while the other is shown.
function Side({life, session, light}: {life: Life; session: Session; light: (l: Lit) => void}) {
  const [page, setPage] = useState<'ask' | 'draft'>('ask');
  const tabs: ['ask' | 'draft', string][] = [['ask', 'Ask'], ['draft', 'Draft']];
  const key = (e: KeyboardEvent) => {
    if (e.key !== 'ArrowLeft' && e.key !== 'ArrowRight') return;
    const next = page === 'ask' ? 'draft' : 'ask';
    setPage(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <aside class={`card side on-${page}`} aria-label="Ask and draft">
      <div class="tabs" role="tablist" onKeyDown={key}>{tabs.map(([id, title]) => <button key={id} id={`tab-${id}`} role="tab" aria-selected={page === id} aria-controls={`panel-${id}`} tabIndex={page === id ? 0 : -1} onClick={() => setPage(id)}>{title}</button>)}</div>
      <div id="panel-ask" role="tabpanel" aria-labelledby="tab-ask" hidden={page !== 'ask'}><AskPanel life={life} session={session} light={light} /></div>
      <div id="panel-draft" role="tabpanel" aria-labelledby="tab-draft" hidden={page !== 'draft'}><DraftPanel subject={life.subject} light={light} /></div>
    </aside>
  );
}

function LifeCard({l, title, lit}: {l: Life; title: string; lit: Lit}) {
  const timed = l.events.filter((e) => e.t != null && e.code !== 'MEDS_BIRTH'), statics = l.events.filter((e) => e.t == null), last = timed[timed.length - 1]?.t ?? null;
  return (
    <section class="card life" aria-label="Timeline">
      <h1 class="mono">{title}</h1>
      <p class="facts"><span>Age <b>{age(l.birth, last)}</b></span>{l.sex && <span>Sex <b>{l.sex}</b></span>}<span>Events <b>{n(l.n)}</b></span><span>Until <b>{date(last)}</b></span>{l.split && <span>Split <b>{l.split.replace('_', ' ')}</b></span>}
        {statics.filter((e) => !/^(GENDER|SEX|Gender|MEDS_GENDER)\/\//.test(e.code)).slice(0, 8).map((e) => <span key={e.code} title={e.code}>{name(e)}{e.value != null && <> <b>{value(e.value)}</b> {e.unit}</>}</span>)}</p>
      <Timeline life={l} lit={lit} />
    </section>
  );
}

export function Patient({subject, session}: {subject: string; session: Session}) {
  const [lit, setLit] = useState<Lit>({places: [], go: false});
  const life = useLoad<Life>(subject, (signal) => getJson(`/v1/subjects/${encodeURIComponent(subject)}?limit=20000`, signal));
  const tasks = useLoad<{tasks: Task[]}>('tasks', (signal) => getJson('/v1/tasks', signal));
  useEffect(() => { document.title = `Vitae: ${subject}`; }, [subject]);
  if (life.failure) return <Problem of={life.failure} />;
  if (!life.value) return <Waiting what="Reading the timeline" />;
  const l = life.value;
  return (
    <div class="patient">
      <p class="crumbs"><a href="#/cohort">Cohort</a> / <span class="mono">{subject}</span></p>
      <LifeCard l={l} title={subject} lit={lit} />
      <Side key={subject} life={l} session={session} light={setLit} />
      <div class="risk">{tasks.value ? <Risk key={subject} base={`/v1/subjects/${subject}/risk`} tasks={tasks.value.tasks} /> : tasks.failure ? <Problem of={tasks.failure} /> : <Waiting what="Asking for the questions" />}</div>
    </div>
  );
}

// The patient that an EHR opened the app on: read from the EHR at every question, gone with the answer.
const dark: Lit = {places: [], go: false};
export function Launched() {
  const launch = useLoad<Launch>('launch', (signal) => getJson('/v1/launch', signal));
  const [seen, setSeen] = useState<LaunchedLife | null>(null);
  useEffect(() => { document.title = 'Vitae: the patient in the EHR'; }, []);
  if (launch.failure) return <main><Problem of={launch.failure} /></main>;
  if (!launch.value) return <Waiting what="Reading what the EHR said" />;
  return (
    <>
      <header><b class="brand">Vitae</b><span class="muted site">{launch.value.site}</span><span class="who muted">opened from the EHR</span></header>
      <main id="main" tabIndex={-1}>
        <p class="muted small">Read from the EHR just now and kept nowhere. Dates are shifted by one amount; distances are right.{seen?.absent && ` Not to be had from the EHR: ${seen.absent}.`}{seen?.cut && ' The record has more entries than were read.'}</p>
        {seen && <LifeCard l={{...seen.life, split: ''}} title="The patient in the EHR" lit={dark} />}
        <Risk<LaunchedLife> base="/v1/launch/patient" tasks={launch.value.tasks} first={launch.value.task} seen={setSeen} />
      </main>
    </>
  );
}
