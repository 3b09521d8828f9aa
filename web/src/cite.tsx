// Citations: small buttons that light up their events in the timeline; what the lit one says stands in words below.
import {useState} from 'preact/hooks';
import type {Cited} from './api';
import {name, value} from './format';
import type {Lit} from './timeline';

const SHOWN = 6;
export const place = (c: Cited) => +c.id.slice(1);
const day = (c: Cited) => c.time?.slice(0, 10) ?? 'no date';
const words = (c: Cited) => `${name(c)}${c.value != null ? ` = ${value(c.value)}${c.unit ? ` ${c.unit}` : ''}` : ''}, ${day(c)}`;
// The answer's text names its events itself ("… [e12, e15]."): here the buttons do.
export const uncited = (text: string) => text.replace(/\s*\[e\d+(?:,\s*(?:e\d+|…))*\]/g, '');

export function Citations({of, light}: {of: Cited[]; light: (l: Lit) => void}) {
  const [all, setAll] = useState(false), [said, setSaid] = useState<Cited | null>(null);
  if (!of.length) return null;
  const off = () => { light({places: [], go: false}); setSaid(null); };
  return (
    <span class="cites">
      {(all ? of : of.slice(0, SHOWN)).map((c) => (
        <button key={c.id} type="button" class="cite" title={`${words(c)} · ${c.code}`} aria-label={`Event ${c.id}: ${words(c)}`}
          onMouseEnter={() => { light({places: [place(c)], go: false}); setSaid(c); }} onMouseLeave={off}
          onFocus={() => { light({places: [place(c)], go: false}); setSaid(c); }} onBlur={off}
          onClick={() => { light({places: [place(c)], go: true}); setSaid(c); }}>{day(c)}</button>))}
      {!all && of.length > SHOWN && <button type="button" class="cite" onClick={() => setAll(true)} aria-label={`Show all ${of.length} events`}>+{of.length - SHOWN}</button>}
      {said && <span class="said small">{words(said)} <code>{said.code}</code></span>}
    </span>
  );
}
