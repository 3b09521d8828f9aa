// Documents drafted from the record. Sentences are edited in place; what became of each goes back with its distance.
import {useEffect, useRef, useState} from 'preact/hooks';
import {type Draft, type DraftSentence, type Review, postJson} from './api';
import {Citations, place} from './cite';
import {n} from './format';
import {Problem, useSend} from './parts';
import type {Lit} from './timeline';

const kinds: [string, string][] = [['visit', 'Visit summary'], ['referral', 'Referral letter'], ['discharge', 'Discharge summary']];
interface Line { id: string; of?: DraftSentence; after: string; text: string; deleted: boolean }
interface Doc { draft: Draft; sections: {title: string; lines: Line[]}[] }

const docOf = (draft: Draft): Doc => ({draft, sections: draft.sections.map((s) => ({title: s.title, lines: s.sentences.map((of) => ({id: of.id, of, after: '', text: of.text, deleted: false}))}))});
const plain = (d: Doc) => [d.draft.title, ...d.sections.map((s) => { const lines = s.lines.filter((l) => !l.deleted && l.text.trim()); return lines.length ? `${s.title}\n${lines.map((l) => `- ${l.text.trim()}`).join('\n')}` : ''; }).filter(Boolean)].join('\n\n');
const basis: Record<string, string> = {model: 'by the model', absence: 'looked for, not found', blank: 'yours to write'};

// As high as its text: no scroll bars inside a letter.
function Area({value, label, placeholder, onInput}: {value: string; label: string; placeholder: string; onInput: (v: string) => void}) {
  const at = useRef<HTMLTextAreaElement>(null);
  const fit = () => { const a = at.current; if (a) { a.style.height = '0'; a.style.height = `${a.scrollHeight + 2}px`; } };
  useEffect(() => { const see = new ResizeObserver(fit); see.observe(at.current!.parentElement!); return () => see.disconnect(); }, []);
  useEffect(fit, [value]);
  return <textarea ref={at} rows={1} value={value} aria-label={label} placeholder={placeholder} maxLength={2000} onInput={(e) => onInput(e.currentTarget.value)} />;
}

function LineRow({l, outcome, light, change}: {l: Line; outcome?: string; light: (x: Lit) => void; change: (x: Partial<Line>) => void}) {
  const s = l.of, changed = s && s.basis !== 'blank' && !l.deleted && l.text.trim() !== s.text;
  return (
    <li class={`line ${l.deleted ? 'deleted' : changed || !s ? 'changed' : ''}`} onMouseEnter={() => light({places: s ? s.events.map(place) : [], go: false})} onMouseLeave={() => light({places: [], go: false})}>
      <div class="edit">
        {l.deleted ? <s>{l.text}</s> : <Area value={l.text} label={s ? `Sentence ${s.id}` : 'Added sentence'} placeholder="To be written" onInput={(text) => change({text})} />}
        <button type="button" class="plain" aria-label={l.deleted ? `Restore sentence ${l.id}` : `Delete sentence ${l.id}`} title={l.deleted ? 'Restore' : 'Delete'} onClick={() => change({deleted: !l.deleted})}>{l.deleted ? '↺' : '×'}</button>
      </div>
      {s && <Citations of={s.events} light={light} />}
      {s && basis[s.basis] && <small class="tag">{basis[s.basis]}</small>}
      {!s && <small class="tag">added</small>}
      {outcome && <small class="tag outcome">{outcome}</small>}
    </li>
  );
}

export function DraftPanel({subject, light}: {subject: string; light: (l: Lit) => void}) {
  const [kind, setKind] = useState('visit'), [doc, setDoc] = useState<Doc | null>(null), [copied, setCopied] = useState('');
  const [asked, ask] = useSend<Draft>(), [saved, save] = useSend<Review>(), next = useRef(0);
  const write = async () => {
    const d = await ask((signal) => postJson(`/v1/subjects/${subject}/draft`, {kind}, signal));
    if (d) { setDoc(docOf(d)); setCopied(''); setOutcome(new Map()); setReview(null); }
  };
  const [review, setReview] = useState<Review | null>(null), [outcome, setOutcome] = useState<Map<string, string>>(new Map());
  useEffect(() => { if (review) document.getElementById('review')?.scrollIntoView({block: 'nearest'}); }, [review]);
  const edit = (i: number, k: number, x: Partial<Line>) => setDoc((d) => d && {...d, sections: d.sections.map((s, a) => (a !== i ? s : {...s, lines: s.lines.map((l, b) => (b !== k ? l : {...l, ...x})).filter((l) => l.of || !l.deleted)}))});
  const add = (i: number) => setDoc((d) => d && {...d, sections: d.sections.map((s, a) => (a !== i ? s : {...s, lines: [...s.lines, {id: `new ${++next.current}`, after: s.lines.filter((l) => l.of).at(-1)?.id ?? '', text: '', deleted: false}]}))});
  const send = async () => {
    if (!doc?.draft.draft) return;
    const lines = doc.sections.flatMap((s) => s.lines), d = doc.draft;
    const r = await save((signal) => postJson(`/v1/subjects/${subject}/draft/feedback`, {
      draft: d.draft, kind: d.kind, generation: d.generation, version: d.version,
      sentences: lines.filter((l) => l.of).map((l) => ({id: l.id, rule: l.of!.rule, text: l.of!.text, events: l.of!.events.map((e) => e.id), final: l.deleted ? null : l.text})),
      added: lines.filter((l) => !l.of && l.text.trim()).map((l) => ({after: l.after, text: l.text})),
    }, signal));
    if (!r) return;
    setReview(r);
    setOutcome(new Map(r.sentences.filter((s) => s.id && s.outcome !== 'kept').map((s) => [s.id!, `${s.outcome}, ${n(s.distance)} characters`])));
  };
  const copy = async () => {
    try { await navigator.clipboard.writeText(plain(doc!)); setCopied('Copied.'); } catch { setCopied('The browser does not allow copying here.'); }
  };
  return (
    <div class="draft">
      <form class="bar" onSubmit={(e) => { e.preventDefault(); void write(); }}>
        <label>Document <select id="kind" value={kind} onChange={(e) => setKind(e.currentTarget.value)}>{kinds.map(([k, title]) => <option key={k} value={k}>{title}</option>)}</select></label>
        <button class="primary" disabled={asked.busy}>{asked.busy ? 'Writing …' : doc ? 'Write again' : 'Write a draft'}</button>
      </form>
      {asked.failure && <Problem of={asked.failure} />}
      {!doc && <p class="muted small">A draft from the record, without a language model: every sentence is held against the events that it cites. Read it, correct it, sign it. What you change is kept for improving the drafts.</p>}
      {doc?.draft.abstained && <p class="abstained" role="status"><b>No draft:</b> {doc.draft.why}.</p>}
      {doc && !doc.draft.abstained && (
        <div id="draft">
          <h2>{doc.draft.title}</h2>
          {doc.sections.map((s, i) => (
            <section key={s.title}><h3>{s.title}</h3>
              <ul>{s.lines.map((l, k) => <LineRow key={l.id} l={l} outcome={outcome.get(l.id)} light={light} change={(x) => edit(i, k, x)} />)}</ul>
              <button type="button" class="plain small" onClick={() => add(i)} aria-label={`Add a sentence to ${s.title}`}>+ sentence</button>
            </section>))}
          {doc.draft.withheld > 0 && <p class="muted small">{n(doc.draft.withheld)} sentences were left out, because the record does not bear them out word for word.</p>}
          <p class="bar foot"><button type="button" class="primary" disabled={saved.busy} onClick={() => void send()}>{saved.busy ? 'Saving …' : 'Save review'}</button><button type="button" onClick={() => void copy()}>Copy text</button><span class="muted small" role="status">{copied}</span></p>
          {saved.failure && <Problem of={saved.failure} />}
          <p id="review" class="small" role="status">{review && <>Saved: kept <b>{n(review.kept)}</b>, changed <b>{n(review.changed)}</b>, deleted <b>{n(review.deleted)}</b>, added <b>{n(review.added)}</b>; edit distance <b>{n(review.distance)}</b> of {n(review.characters)} characters.</>}</p>
        </div>)}
    </div>
  );
}
