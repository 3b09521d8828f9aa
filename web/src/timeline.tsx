// One life on a canvas: lanes by kind of code over time. Wheel or +/- zooms, drag or Shift+arrows pans, arrows walk from event to
// event, 0 shows everything. What is under the pointer or the cursor is said in words beside the picture (aria-live).
import {useEffect, useLayoutEffect, useMemo, useRef, useState} from 'preact/hooks';
import type {Event_, Life} from './api';
import {age, moment, n, name, value} from './format';

const lanes: [string, string, string[]][] = [
  ['Encounters', '--c1', ['ENCOUNTER//', 'VISIT', 'HOSPITAL_', 'ICU_', 'ED_', 'TRANSFER_', 'ADMISSION', 'DISCHARGE', 'MEDS_DEATH']],
  ['Conditions and allergies', '--c2', ['ICD10CM//', 'ICD9CM//', 'ICD10//', 'ICD9//', 'DIAGNOSIS//', 'CONDITION//', 'PHECODE//', 'SNOMED//']],
  ['Medicines', '--c3', ['ATC//', 'RXNORM//', 'RxNorm//', 'NDC//', 'MEDICATION//', 'CVX//', 'INFUSION_', 'DRUG//']],
  ['Procedures', '--c4', ['ICD10PCS//', 'ICD9PCS//', 'CPT//', 'CPT4//', 'HCPCS//', 'PROCEDURE//', 'CDT//']],
  ['Measurements', '--c5', ['LOINC//', 'LAB//', 'VITAL', 'PHYSIONET2012//', 'PHYSIONET2019//', 'URINE', 'SUBJECT_FLUID_OUTPUT//']],
  ['Other', '--c6', ['']],
];
const laneOf = (e: Event_) => {
  if (e.code.endsWith('//ALLERGY')) return 1;
  if (e.code.endsWith('//ADMISSION') || e.code.endsWith('//DISCHARGE')) return 0;
  if (e.code.startsWith('SNOMED//') && e.display?.endsWith('(procedure)')) return 3;
  return lanes.findIndex(([, , prefixes]) => prefixes.some((p) => e.code.startsWith(p)));
};
interface Point { at: number; lane: number; row: number; e: Event_; place: number }
// Events that something else on the page cites, by their place in the life (e12 = 12); `go` moves the picture to the first of them.
export interface Lit { places: number[]; go: boolean }
const LANE = 46, TOP = 8, AXIS = 34, ROWS = 5;
const MINUTE = 60e6, HOUR = 60 * MINUTE, DAY = 24 * HOUR, YEAR = 365.25 * DAY;
const steps = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30.4375 * DAY, 91.3125 * DAY, YEAR / 2, YEAR, 2 * YEAR, 5 * YEAR, 10 * YEAR, 20 * YEAR];

function label(us: number, step: number) {
  const s = new Date(us / 1000).toISOString();
  return step >= YEAR ? s.slice(0, 4) : step >= 28 * DAY ? s.slice(0, 7) : step >= DAY ? s.slice(0, 10) : `${s.slice(5, 10)} ${s.slice(11, 16)}`;
}

export function Timeline({life, lit}: {life: Life; lit: Lit}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [scheme, setScheme] = useState(0);
  const points = useMemo(() => {
    const last = new Map<number, {at: number; row: number}>();
    return life.events.map((e, i) => ({e, place: e.t == null ? i : i + life.earlier})).filter(({e}) => e.t != null && e.code !== 'MEDS_BIRTH').map(({e, place}): Point => {
      const lane = laneOf(e), before = last.get(lane), row = before && before.at === e.t ? (before.row + 1) % ROWS : 0;
      last.set(lane, {at: e.t!, row});
      return {at: e.t!, lane, row, e, place};
    });
  }, [life]);
  const used = useMemo(() => lanes.map((_, i) => i).filter((i) => points.some((p) => p.lane === i)), [points]);
  const whole = useMemo((): [number, number] => {
    if (!points.length) return [0, DAY];
    const a = points[0].at, b = points[points.length - 1].at, margin = Math.max((b - a) * 0.02, HOUR);
    return [a - margin, b + margin];
  }, [points]);
  const [view, setView] = useState(whole);
  const [at, setAt] = useState(-1);
  const drag = useRef<{x: number; view: [number, number]; moved: boolean} | null>(null);
  useEffect(() => { setView(whole); setAt(-1); }, [whole]);
  useLayoutEffect(() => {
    const box = canvas.current!.parentElement!, see = new ResizeObserver(() => setWidth(box.clientWidth));
    const media = matchMedia('(prefers-color-scheme: dark)'), again = () => setScheme((k) => k + 1);
    see.observe(box); media.addEventListener('change', again);
    setWidth(box.clientWidth);
    return () => { see.disconnect(); media.removeEventListener('change', again); };
  }, []);

  const marked = useMemo(() => new Set(lit.places), [lit]);
  const left = width < 560 ? 12 : 104, right = 12, inner = Math.max(50, width - left - right), height = TOP + used.length * LANE + AXIS;
  const x = (t: number) => left + ((t - view[0]) / (view[1] - view[0])) * inner;
  const y = (p: Point) => TOP + used.indexOf(p.lane) * LANE + (width < 560 ? 20 : 8) + p.row * ((width < 560 ? LANE - 26 : LANE - 16) / (ROWS - 1));

  useEffect(() => {
    const c = canvas.current;
    if (!c || !width) return;
    const dpr = devicePixelRatio || 1, g = c.getContext('2d')!, css = getComputedStyle(c), col = (v: string) => css.getPropertyValue(v).trim();
    c.width = width * dpr; c.height = height * dpr;
    g.setTransform(dpr, 0, 0, dpr, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = '12px system-ui, sans-serif';
    used.forEach((lane, i) => {
      const top = TOP + i * LANE;
      if (i % 2 === 0) { g.fillStyle = col('--band'); g.fillRect(0, top, width, LANE); }
      g.fillStyle = col('--muted'); g.textAlign = 'left'; g.textBaseline = width < 560 ? 'top' : 'middle';
      g.fillText(lanes[lane][0], 8, width < 560 ? top + 3 : top + LANE / 2);
    });
    const span = view[1] - view[0], step = steps.find((s) => (s / span) * inner >= 92) ?? steps[steps.length - 1];
    g.textBaseline = 'top';
    for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step) {
      g.strokeStyle = col('--line'); g.beginPath(); g.moveTo(Math.round(x(t)) + 0.5, TOP); g.lineTo(Math.round(x(t)) + 0.5, height - AXIS + 6); g.stroke();
      const text = label(t, step), half = g.measureText(text).width / 2;
      g.fillStyle = col('--muted'); g.textAlign = 'center';
      if (x(t) - half > 0 && x(t) + half < width) g.fillText(text, x(t), height - AXIS + 10);
    }
    g.save(); g.beginPath(); g.rect(left - 6, 0, inner + 12, height - AXIS + 6); g.clip();
    const colours = lanes.map(([, v]) => col(v));
    g.globalAlpha = points.length > 1500 ? 0.55 : 0.85;
    for (const p of points) {
      if (p.at < view[0] || p.at > view[1]) continue;
      g.fillStyle = p.e.code === 'MEDS_DEATH' ? col('--bad') : colours[p.lane];
      g.beginPath(); g.arc(x(p.at), y(p), 3.2, 0, 7); g.fill();
    }
    g.globalAlpha = 1;
    for (const p of points) {
      if (!marked.has(p.place) || p.at < view[0] || p.at > view[1]) continue;
      g.strokeStyle = g.fillStyle = col('--accent'); g.lineWidth = 1; g.globalAlpha = 0.45;
      g.beginPath(); g.moveTo(x(p.at), TOP); g.lineTo(x(p.at), height - AXIS + 6); g.stroke();
      g.globalAlpha = 1; g.beginPath(); g.arc(x(p.at), y(p), 5, 0, 7); g.fill(); g.lineWidth = 2; g.beginPath(); g.arc(x(p.at), y(p), 9, 0, 7); g.stroke();
    }
    if (at >= 0 && points[at]) {
      const p = points[at];
      g.strokeStyle = col('--text'); g.lineWidth = 1.5; g.beginPath(); g.arc(x(p.at), y(p), 6.5, 0, 7); g.stroke();
      g.lineWidth = 1; g.setLineDash([3, 3]); g.beginPath(); g.moveTo(x(p.at), TOP); g.lineTo(x(p.at), height - AXIS + 6); g.stroke(); g.setLineDash([]);
    }
    g.restore();
  }, [points, used, view, width, height, at, scheme, marked]);

  const zoom = (factor: number, centre = (view[0] + view[1]) / 2) => {
    const least = 10 * MINUTE, most = (whole[1] - whole[0]) * 1.2, now = view[1] - view[0], next = Math.min(Math.max(now * factor, least), most), k = next / now;
    setView([centre - (centre - view[0]) * k, centre + (view[1] - centre) * k]);
  };
  const pan = (share: number) => { const d = (view[1] - view[0]) * share; setView([view[0] + d, view[1] + d]); };
  const go = (i: number) => {
    if (!points.length) return;
    const k = Math.min(Math.max(i, 0), points.length - 1), t = points[k].at;
    setAt(k);
    if (t < view[0] || t > view[1]) { const half = (view[1] - view[0]) / 2; setView([t - half, t + half]); }
  };
  useEffect(() => {
    if (!lit.go) return;
    const i = points.findIndex((p) => marked.has(p.place));
    if (i >= 0) go(i);
    canvas.current?.scrollIntoView({block: 'nearest', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'});
  }, [lit]);
  const nearest = (px: number, py: number) => {
    let best = -1, d = 400;
    points.forEach((p, i) => {
      if (p.at < view[0] || p.at > view[1]) return;
      const q = (x(p.at) - px) ** 2 + (y(p) - py) ** 2;
      if (q < d) { d = q; best = i; }
    });
    return best;
  };
  const key = (e: KeyboardEvent) => {
    const k = e.key, done = () => { e.preventDefault(); e.stopPropagation(); };
    if (k === '+' || k === '=') { zoom(0.6, at >= 0 ? points[at].at : undefined); done(); }
    else if (k === '-') { zoom(1 / 0.6, at >= 0 ? points[at].at : undefined); done(); }
    else if (k === '0') { setView(whole); done(); }
    else if (k === 'ArrowLeft' || k === 'ArrowRight') { const s = k === 'ArrowLeft' ? -1 : 1; if (e.shiftKey) pan(0.2 * s); else go(at < 0 ? (s > 0 ? 0 : points.length - 1) : at + s); done(); }
    else if (k === 'Home') { go(0); done(); } else if (k === 'End') { go(points.length - 1); done(); }
    else if (k === 'ArrowUp' || k === 'ArrowDown') { // the same kind of thing, before or after
      const s = k === 'ArrowUp' ? -1 : 1, from = at < 0 ? (s > 0 ? -1 : points.length) : at;
      for (let i = from + s; i >= 0 && i < points.length; i += s) if (at < 0 || points[i].e.code === points[at].e.code) { go(i); break; }
      done();
    }
  };
  useEffect(() => { // a listener of our own: the wheel must be allowed to stop the page from scrolling
    const c = canvas.current!;
    const wheel = (e: WheelEvent) => {
      if (!(e.ctrlKey || e.metaKey || document.activeElement === c)) return;
      e.preventDefault();
      const box = c.getBoundingClientRect(), t = view[0] + ((e.clientX - box.left - left) / inner) * (view[1] - view[0]);
      if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan(e.deltaX / inner); else zoom(Math.exp(e.deltaY * 0.002), t);
    };
    c.addEventListener('wheel', wheel, {passive: false});
    return () => c.removeEventListener('wheel', wheel);
  });
  const shown = at >= 0 ? points[at] : null;
  return (
    <div class="timeline">
      <div class="bar">
        <button onClick={() => zoom(0.6)} aria-label="Zoom in">+</button><button onClick={() => zoom(1 / 0.6)} aria-label="Zoom out">−</button>
        <button onClick={() => pan(-0.4)} aria-label="Earlier">←</button><button onClick={() => pan(0.4)} aria-label="Later">→</button><button onClick={() => setView(whole)}>All</button>
        <span class="muted hint">Click the picture, then: arrows walk through events, ↑ ↓ the same code, + − or the wheel zoom, Shift + arrows pan, 0 all.</span>
      </div>
      <div class="canvas-box">
        <canvas ref={canvas} tabIndex={0} role="application" aria-label={`Timeline of ${n(points.length)} events; arrow keys walk through them`} style={{width: '100%', height: `${height}px`}} onKeyDown={key}
          onPointerDown={(e) => { canvas.current!.setPointerCapture(e.pointerId); drag.current = {x: e.clientX, view, moved: false}; }}
          onPointerMove={(e) => {
            const box = canvas.current!.getBoundingClientRect(), d = drag.current;
            if (d) {
              if (Math.abs(e.clientX - d.x) > 3) d.moved = true;
              if (d.moved) { const move = ((d.x - e.clientX) / inner) * (d.view[1] - d.view[0]); setView([d.view[0] + move, d.view[1] + move]); }
            } else { const k = nearest(e.clientX - box.left, e.clientY - box.top); if (k >= 0) setAt(k); }
          }}
          onPointerUp={(e) => { const d = drag.current, box = canvas.current!.getBoundingClientRect(); drag.current = null; if (d && !d.moved) setAt(nearest(e.clientX - box.left, e.clientY - box.top)); }} />
      </div>
      <p class="detail" aria-live="polite">
        {shown ? <><b>{name(shown.e)}</b>{shown.e.value != null && <> = <b>{value(shown.e.value)}</b> {shown.e.unit}</>} <span class="muted">{moment(shown.at)}{life.birth != null && `, age ${age(life.birth, shown.at)}`} · <code>{shown.e.code}</code></span></>
          : <span class="muted">{n(points.length)} events from {moment(points[0]?.at ?? null)} to {moment(points[points.length - 1]?.at ?? null)}{life.earlier > 0 && `; ${n(life.earlier)} earlier ones are not shown`}.</span>}
      </p>
    </div>
  );
}
