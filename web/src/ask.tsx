// Questions about one life, or about all of them. Every sentence of an answer shows the events that it rests on; what is not supported says so.
import {useMemo, useRef, useState} from 'preact/hooks';
import {type Answer, type Life, type Sentence, type Session, postJson} from './api';
import {Citations, place, uncited} from './cite';
import {name} from './format';
import {Problem, useSend} from './parts';
import type {Lit} from './timeline';

interface Asked { n: number; question: string; answer: Answer }

// What this life has most to say about: its commonest measurement that has values.
function examples(life?: Life): string[] {
  if (!life) return ['How many patients have hypertension?', 'How many patients have diabetes since 2010?'];
  const count = new Map<string, number>();
  for (const e of life.events) if (e.value != null && e.t != null && e.display) count.set(name(e), (count.get(name(e)) ?? 0) + 1);
  const most = [...count].filter(([k]) => k.length <= 40 && !k.includes('"')).sort((a, b) => b[1] - a[1]).slice(0, 2).map(([k]) => k);
  return [...(most[0] ? [`What was the latest "${most[0]}"?`, `Highest "${most[0]}"`] : []), ...(most[1] ? [`Trend of "${most[1]}"`] : []), 'Which conditions are recorded?', 'List the medicines', 'Summary'];
}

function Said({s, light}: {s: Sentence; light: (l: Lit) => void}) {
  const bad = s.status === 'unsupported';
  return (
    <li class={bad ? 'unsupported' : ''} onMouseEnter={() => light({places: s.events.map(place), go: false})} onMouseLeave={() => light({places: [], go: false})}>
      <span>{uncited(s.text)}</span>{s.source !== 'chart' && <small class="tag">by {s.source}</small>}
      {bad && <small class="tag bad">not supported{s.finding && `: ${s.finding}`}</small>}
      <Citations of={s.events} light={light} />
    </li>
  );
}

const nothing = () => {};
export function AskPanel({life, session, light = nothing}: {life?: Life; session: Session; light?: (l: Lit) => void}) {
  const [model, setModel] = useState(''), [all, setAll] = useState(false);
  const [question, setQuestion] = useState(''), [asked, setAsked] = useState<Asked[]>([]), [sent, send] = useSend<Answer>();
  const field = useRef<HTMLInputElement>(null), some = useMemo(() => examples(life), [life]);
  const put = async (q: string) => {
    if (!q.trim()) return;
    const answer = await send((signal) => postJson('/v1/ask', {question: q, ...(life && {subject: life.subject}), ...(life && model && {model, unsupported: all, ...(session.encoders[0] && {encoder: session.encoders[0]})})}, signal));
    if (answer) { setAsked((a) => [{n: a.length, question: q, answer}, ...a].slice(0, 20)); setQuestion(''); field.current?.focus(); }
  };
  return (
    <div class="ask">
      <form class="bar" onSubmit={(e) => { e.preventDefault(); void put(question); }}>
        <label class="grow"><span class="hidden">{life ? 'Question about this patient' : 'Question about all patients'}</span><input ref={field} id="question" type="text" maxLength={2000} value={question} placeholder={life ? 'Ask about this record' : 'How many patients have …?'} autocomplete="off" onInput={(e) => setQuestion(e.currentTarget.value)} /></label>
        <button class="primary" disabled={sent.busy}>{sent.busy ? 'Asking …' : 'Ask'}</button>
      </form>
      {life && session.language_models.length > 0 && <p class="bar small"><label>Answered by <select id="by" value={model} onChange={(e) => setModel(e.currentTarget.value)}><option value="">the record alone</option>{session.language_models.map((m) => <option key={m} value={m}>with {m}</option>)}</select></label>
        {model && <label class="tick"><input type="checkbox" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} /> show what is not supported</label>}</p>}
      <div class="examples" aria-label="Examples">{some.map((q) => <button key={q} type="button" onClick={() => void put(q)}>{q}</button>)}</div>
      {sent.failure && <Problem of={sent.failure} />}
      <div aria-live="polite">{asked.map((a) => (
        <article key={a.n} class="answer"><h3>{a.question}</h3>
          {a.answer.abstained && <p class="abstained"><b>No answer:</b> {a.answer.why}.</p>}
          <ol>{a.answer.sentences.map((s, i) => <Said key={i} s={s} light={light} />)}</ol>
          {a.answer.model && <p class="muted small">{a.answer.model} proposed {a.answer.proposed} sentence{a.answer.proposed === 1 ? '' : 's'}; {a.answer.unsupported} {a.answer.unsupported === 1 ? 'is' : 'are'} not supported by the record{all ? '' : ' and left out'}.</p>}
          {a.answer.quotes?.map((q, i) => <blockquote key={i}><p>{q.text}</p><small>{q.source}{q.untrusted && ', not checked'}</small></blockquote>)}
        </article>))}</div>
      {life && !asked.length && <p class="muted small">Each sentence of an answer rests on the events behind its dates: point at one to see it in the timeline, click to go there. What is not in the record is not answered.</p>}
    </div>
  );
}
