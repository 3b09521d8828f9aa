// uPlot in a box that follows its width and the colour scheme. Every chart has a text beside it, because a canvas says nothing aloud.
import {useLayoutEffect, useRef} from 'preact/hooks';
import uPlot from 'uplot';

export interface Line { label: string; colour: string; y: (number | null)[]; dash?: number[]; points?: boolean; width?: number; fill?: boolean }
export interface ChartProps {
  x: number[]; lines: Line[]; title: string; xLabel: string; yLabel: string; height?: number; xLog?: boolean; xTicks?: [number, string][];
  yRange?: [number, number]; xRange?: [number, number]; bands?: [number, number][]; percent?: boolean; errors?: {x: number; lo: number; hi: number; colour: string}[];
}

export function Chart(p: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const el = box.current!;
    let plot: uPlot | null = null;
    const draw = () => {
      const css = getComputedStyle(el), col = (v: string) => (v.startsWith('--') ? css.getPropertyValue(v).trim() : v);
      const axis = {stroke: col('--muted'), grid: {stroke: col('--line'), width: 1}, ticks: {stroke: col('--line'), width: 1}, font: '12px system-ui', labelFont: '12px system-ui', labelSize: 20};
      const options: uPlot.Options = {
        width: Math.max(200, el.clientWidth), height: p.height ?? 260, title: '', legend: {show: true, live: false}, cursor: {drag: {x: false, y: false}, points: {show: false}},
        scales: {x: {time: false, distr: p.xLog ? 3 : 1, ...(p.xRange ? {range: () => p.xRange!} : {})}, y: p.yRange ? {range: () => p.yRange!} : {range: (_u, lo, hi) => [Math.min(0, lo), hi > lo ? hi * 1.05 : lo + 0.01]}},
        axes: [{...axis, label: p.xLabel, size: 34, ...(p.xTicks ? {splits: () => p.xTicks!.map((t) => t[0]), values: () => p.xTicks!.map((t) => t[1]), filter: (_u: uPlot, s: number[]) => s} : {})},
          {...axis, label: p.yLabel, size: 52, ...(p.percent ? {values: (_u: uPlot, s: number[]) => s.map((v) => (v == null ? '' : `${+(100 * v).toPrecision(3)}%`))} : {})}],
        series: [{}, ...p.lines.map((l) => ({label: l.label, stroke: col(l.colour), width: l.width ?? 2, dash: l.dash, spanGaps: true, points: {show: !!l.points, size: 6}, fill: l.fill ? col(l.colour) + '22' : undefined}))],
        bands: p.bands?.map(([a, b]) => ({series: [a, b] as [number, number], fill: col(p.lines[a - 1].colour) + '2e'})),
        hooks: {draw: [(u) => {
          for (const e of p.errors ?? []) {
            const g = u.ctx, px = u.valToPos(e.x, 'x', true), a = u.valToPos(e.lo, 'y', true), b = u.valToPos(e.hi, 'y', true), w = 4 * devicePixelRatio;
            g.save(); g.strokeStyle = col(e.colour); g.lineWidth = 1.5 * devicePixelRatio; g.beginPath(); g.moveTo(px, a); g.lineTo(px, b); g.moveTo(px - w, a); g.lineTo(px + w, a); g.moveTo(px - w, b); g.lineTo(px + w, b); g.stroke(); g.restore();
          }
        }]},
      };
      plot?.destroy();
      plot = new uPlot(options, [p.x, ...p.lines.map((l) => l.y)] as uPlot.AlignedData, el);
    };
    draw();
    const media = matchMedia('(prefers-color-scheme: dark)');
    const see = new ResizeObserver(() => { const w = Math.max(200, el.clientWidth); if (plot && plot.width !== w) plot.setSize({width: w, height: p.height ?? 260}); });
    see.observe(el); media.addEventListener('change', draw);
    return () => { see.disconnect(); media.removeEventListener('change', draw); plot?.destroy(); };
  }, [p]);
  return <figure class="chart"><figcaption>{p.title}</figcaption><div ref={box} role="img" aria-label={`${p.title}: ${p.yLabel} by ${p.xLabel}`} /></figure>;
}

// Curves with x values of their own onto one common x, by linear interpolation (null outside a curve).
export function onto(x: number[], c: {x: number[]; y: number[]}): (number | null)[] {
  const order = c.x.map((_, i) => i).sort((a, b) => c.x[a] - c.x[b] || a - b), xs = order.map((i) => c.x[i]), ys = order.map((i) => c.y[i]);
  let k = 0;
  return x.map((v) => {
    if (!xs.length || v < xs[0] || v > xs[xs.length - 1]) return null;
    while (k < xs.length - 1 && xs[k + 1] < v) k++;
    if (k === xs.length - 1 || xs[k + 1] === xs[k]) return ys[k];
    const w = Math.max(0, Math.min(1, (v - xs[k]) / (xs[k + 1] - xs[k])));
    return ys[k] * (1 - w) + ys[k + 1] * w;
  });
}
