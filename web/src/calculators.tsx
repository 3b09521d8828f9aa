// Published formulas by hand: units are checked, nothing is stored.
import {useEffect, useState} from 'preact/hooks';
import {type Calculated, type Calculator, type CalculatorInput, getJson, postJson} from './api';
import {Problem, Waiting, useLoad, useSend} from './parts';

function Input({of, value, set}: {of: CalculatorInput; value: string; set: (v: string) => void}) {
  if (of.kind === 'fact') return <label class="tick"><input type="checkbox" name={of.name} checked={value === 'yes'} onChange={(e) => set(e.currentTarget.checked ? 'yes' : '')} /> {of.title}</label>;
  return (
    <label>{of.title}{of.optional && <small> (may be left out)</small>}
      {of.kind === 'choice' ? <select name={of.name} value={value} onChange={(e) => set(e.currentTarget.value)}><option value="" />{of.choices!.map((c) => <option key={c} value={c}>{c}</option>)}</select>
        : <input name={of.name} type={of.kind === 'day' ? 'date' : 'text'} inputMode={of.kind === 'number' ? 'decimal' : undefined} value={value} placeholder={of.kind === 'number' ? `${of.least} to ${of.most} ${of.unit === '1' ? '' : of.unit}` : ''} autocomplete="off" onInput={(e) => set(e.currentTarget.value)} />}
    </label>
  );
}

function Form({of}: {of: Calculator}) {
  const [values, setValues] = useState<Record<string, string>>({}), [sent, send] = useSend<Calculated>();
  const r = sent.value;
  return (
    <form class="calculator" onSubmit={(e) => { e.preventDefault(); void send((s) => postJson(`/v1/calculators/${of.name}`, {inputs: Object.fromEntries(Object.entries(values).filter(([, v]) => v.trim()))}, s)); }}>
      <h2>{of.title}</h2>
      <div class="inputs">{of.inputs.map((i) => <Input key={i.name} of={i} value={values[i.name] ?? ''} set={(v) => setValues((x) => ({...x, [i.name]: v}))} />)}</div>
      <p class="bar"><button class="primary" disabled={sent.busy}>Compute</button><span class="muted small">A number may carry its unit, as in 88 umol/L; without one it is in the unit shown.</span></p>
      {sent.failure && <Problem of={sent.failure} />}
      {r && !sent.failure && <p class="big" id="result" role="status"><b>{r.value}</b>{r.unit && r.unit !== '1' && <span>{r.unit}</span>} {r.band && <span>({r.band})</span>}</p>}
      {r && !sent.failure && r.taken_as_absent.length > 0 && <p class="muted small">Taken as absent, not looked for: {r.taken_as_absent.join('; ')}.</p>}
      <p class="muted small">{of.note && <>{of.note} </>}{of.source}</p>
    </form>
  );
}

export function Calculators({name}: {name: string}) {
  const load = useLoad<{calculators: Calculator[]}>('calculators', (s) => getJson('/v1/calculators', s)), [find, setFind] = useState('');
  useEffect(() => { document.title = 'Vitae: calculators'; }, []);
  if (load.failure) return <Problem of={load.failure} />;
  if (!load.value) return <Waiting what="Reading the calculators" />;
  const words = find.toLowerCase().split(/\s+/), list = load.value.calculators.filter((c) => words.every((w) => `${c.name} ${c.title}`.toLowerCase().includes(w))), chosen = load.value.calculators.find((c) => c.name === name);
  return (
    <section class="card"><h1>Calculators</h1>
      <div class="calculators">
        <div><label>Find <input type="search" id="find-calculator" value={find} onInput={(e) => setFind(e.currentTarget.value)} /></label>
          <ul class="names">{list.map((c) => <li key={c.name}><a href={`#/calculators/${c.name}`} aria-current={c.name === name ? 'page' : undefined}>{c.title}</a></li>)}</ul>{!list.length && <p class="muted">None is called that.</p>}</div>
        <div>{chosen ? <Form key={chosen.name} of={chosen} /> : <p class="muted">Choose one. The formulas are the published ones; each names its source.</p>}</div>
      </div>
    </section>
  );
}
