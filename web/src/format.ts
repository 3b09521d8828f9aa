// Numbers, dates and names for people. Times are microseconds since 1970 on the (shifted) wall clock of the record: shown as UTC.
const count = new Intl.NumberFormat('en');
export const n = (v: number | undefined | null) => (v == null ? '–' : count.format(v));
export const value = (v: number) => (Math.abs(v) >= 1e5 || (v !== 0 && Math.abs(v) < 1e-3) ? v.toExponential(2) : String(+v.toPrecision(5)));
export const percent = (p: number | undefined | null) => (p == null || isNaN(p) ? '–' : p < 0.0005 ? '<0.05 %' : `${(100 * p).toFixed(p < 0.1 ? 2 : 1)} %`);
export const fixed = (v: number | null | undefined, d = 3) => (v == null || isNaN(v) ? 'n/a' : v.toFixed(d));
export const date = (us: number | null) => (us == null ? '–' : new Date(us / 1000).toISOString().slice(0, 10));
export const moment = (us: number | null) => (us == null ? 'no time' : new Date(us / 1000).toISOString().slice(0, 16).replace('T', ' '));
export const age = (birth: number | null, at: number | null) => (birth == null || at == null ? '–' : String(Math.floor((at - birth) / 31557600e6)));
// The end of a condition has the condition's display.
export const name = (e: {code: string; display?: string}) => (e.display ? e.display + (e.code.endsWith('//RESOLVED') ? ', resolved' : '') : e.code === 'MEDS_DEATH' ? 'Death' : e.code.replace(/\/\/|_/g, ' '));
export const words = (s: string) => s.replace(/[-_]/g, ' ');
export const spans = ['1d', '7d', '30d', '90d', '1y', '5y'];
export const spanDays = [1, 7, 30, 90, 365.25, 1826.25];
export const spanWords: Record<string, string> = {'1d': '1 day', '7d': '7 days', '30d': '30 days', '90d': '90 days', '1y': '1 year', '5y': '5 years'};
