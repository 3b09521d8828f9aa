// The server's answers. The key lives in this tab only (sessionStorage) and travels in a header.
export interface Session { key: string; role: string; site: string; language_models: string[]; encoders: string[]; routes: {method: string; path: string; summary: string}[] }
export interface Row { subject: string; split: string; events: number; sex?: string; died: boolean; birth: number | null; first: number | null; last: number | null }
export interface Cohort { subjects: number; events: number; generation: string; splits: Record<string, number>; offset: number; limit: number; rows: Row[]; total: number }
export interface Event_ { t: number | null; code: string; display?: string; value?: number; unit?: string }
export interface Cited { id: string; time?: string; code: string; display?: string; value?: number; unit?: string }
export interface Sentence { text: string; status: 'supported' | 'unsupported'; finding?: string; source: string; events: Cited[] }
export interface Answer { abstained: boolean; status: string; why?: string; intent?: string; sentences: Sentence[]; model?: string; proposed?: number; unsupported?: number; quotes?: {source: string; text: string; untrusted: boolean}[] }
export interface DraftSentence { id: string; rule: string; basis: 'record' | 'absence' | 'model' | 'blank'; text: string; events: Cited[] }
export interface Draft { draft?: string; kind: string; title: string; generation: string; version: string; abstained: boolean; why?: string; withheld: number; sections: {title: string; sentences: DraftSentence[]}[] }
export interface Review { kept: number; changed: number; deleted: number; added: number; distance: number; characters: number; sentences: {id?: string; after?: string; outcome: string; distance: number}[]; file: string }
export interface Knowledge { available: boolean; ontology: boolean; annotations: boolean; cases: boolean; genes: boolean; diseases: number; known_cases: number; terms: number }
export interface Term { term: string; name: string }
export interface Evidence extends Term { absent: boolean; log_ratio: number }
export interface Disease { id: string; name: string; probability: number; log_odds: number; known_cases: number; annotated: boolean; orphanet: number; gene: boolean; evidence: Evidence[] }
export interface Differential { none_of_these: number; candidates: number; findings_unknown: number; diseases: Disease[]; ask_next: (Term & {bits: number})[] }
export interface CalculatorInput { name: string; title: string; kind: 'number' | 'choice' | 'fact' | 'day'; optional: boolean; unit?: string; least?: number; most?: number; choices?: string[] }
export interface Calculator { name: string; title: string; source: string; note?: string; inputs: CalculatorInput[] }
export interface Calculated { value: number | string; unit?: string; band?: string; taken_as_absent: string[] }
export interface Life { subject: string; birth: number | null; sex?: string; split: string; n: number; earlier: number; events: Event_[] }
export interface Task { name: string; title: string; horizon_days: number | null }
export interface Outcome { code: string; display?: string; before: boolean; within: Record<string, number>; sampled?: number; sampled_standard_error?: number | null; sampled_within?: Record<string, number> }
export interface Contribution { time?: string; code: string; display?: string; value?: number; unit?: string; delta_log_odds: number }
export interface Prediction {
  time: string; events: number; unknown_codes: number; dead: boolean;
  task?: {name: string; applies: boolean; reason?: string; probability?: number; calibrated?: boolean; deep_logit?: number; wide_logit?: number; hazard?: number; sampled?: number; sampled_standard_error?: number | null; agreement_log_odds?: number; agreement?: string;
    interval?: {lo: number; hi: number}; set?: {answer: 'no' | 'yes' | 'cannot tell' | 'neither'; abstains: boolean; coverage: number}};
  history: {unknown_share: number; values_outside: number; unusual_percentile?: number; followed_days?: number; warnings: string[]};
  futures?: {count: number; horizon_days: number; cut_short: number};
  outcomes: Outcome[]; contributions?: Contribution[]; method?: string;
}
// What the app was opened with from an EHR: a cookie that scripts cannot see stands in for the key.
export interface Launch { site: string; task?: string; seconds: number; tasks: Task[] }
export interface LaunchedLife { version: string; prediction: Prediction; life: Life; absent?: string; cut: boolean }
export interface Interval { at: number | null; lo: number | null; hi: number | null }
export interface Metrics { n: number; events: number; prevalence: number; auroc: Interval; auprc: Interval; brier: Interval; slope: Interval; intercept: Interval; ece: Interval }
export interface Curve { x: number[]; y: number[] }
export interface Scored { metrics: Metrics; roc: Curve; precision_recall: Curve; calibration: Curve; decision: Curve }
export interface Report {
  task: string; title: string; version: string; protocol: string; n: number; events: number; censored: number; train_n: number; bootstrap: number;
  gate: {passes: boolean; reasons: string}; predictors: Record<string, Scored>; difference_auroc: Interval;
  subgroups: {name: string; model: Metrics; xgboost: Metrics}[]; gaps: {days: number; n: number; events: number; model_auroc: Interval; xgboost_auroc: Interval}[]; leaks: string[];
}
export interface ReportRow { name: string; task?: string; title?: string; version?: string; n?: number; events?: number; passes: boolean; auroc: Partial<Interval> }
export interface Wall {
  source: string; generation: string; files: number; bytes: number; rejected: number;
  wall: {policy: string; statement: string; records: number; events: number; persons: number; removed: Record<string, number>; transformed: Record<string, number>; dropped: Record<string, number>};
}
export interface Model { version: string; program: string; policy: string; preset: string; parameters: number; layers: number; width: number; codes: number; outcomes: number }

const KEY = 'vitae-key';
export const storedKey = () => sessionStorage.getItem(KEY);
export const storeKey = (k: string | null) => (k ? sessionStorage.setItem(KEY, k) : sessionStorage.removeItem(KEY));

export class Failure extends Error { constructor(readonly status: number, message: string) { super(message); } }

async function request(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  let r: Response;
  const headers: Record<string, string> = storedKey() ? {Authorization: `Bearer ${storedKey()}`} : {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  try {
    r = await fetch(path, {method: body === undefined ? 'GET' : 'POST', headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store'});
  } catch (e) {
    if ((e as Error).name === 'AbortError') throw e;
    throw new Failure(0, 'The server cannot be reached.');
  }
  if (r.ok) return r;
  let text = `The server answered ${r.status}.`;
  try { text = (await r.json()).error.message; } catch { /* no envelope: the status says enough */ }
  throw new Failure(r.status, text);
}
export const get = (path: string, signal?: AbortSignal) => request(path, undefined, signal);
export const postJson = async <T,>(path: string, body: unknown, signal?: AbortSignal): Promise<T> => (await request(path, body, signal)).json();
export const getJson = async <T,>(path: string, signal?: AbortSignal): Promise<T> => (await get(path, signal)).json();
