import {useEffect, useRef, useState} from 'preact/hooks';
import {Failure} from './api';

export interface Loaded<T> { value?: T; failure?: Failure; busy: boolean }
// Loads when `key` changes; an older answer that comes late is dropped, the old value stays until the new one is here.
export function useLoad<T>(key: string, f: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, set] = useState<Loaded<T>>({busy: true});
  useEffect(() => {
    const stop = new AbortController();
    set((s) => ({value: s.value, busy: true}));
    f(stop.signal).then((value) => set({value, busy: false}), (e) => {
      if (stop.signal.aborted) return;
      const failure = e instanceof Failure ? e : new Failure(0, String(e));
      if (failure.status === 401) dispatchEvent(new CustomEvent('vitae-signed-out', {detail: failure.message}));
      set({failure, busy: false});
    });
    return () => stop.abort();
  }, [key]);
  return state;
}
// One request at a time, sent by the user: an answer to an earlier one is dropped.
export function useSend<T>(): [Loaded<T>, (f: (signal: AbortSignal) => Promise<T>) => Promise<T | undefined>] {
  const [state, set] = useState<Loaded<T>>({busy: false}), at = useRef<AbortController | null>(null);
  useEffect(() => () => at.current?.abort(), []);
  return [state, async (f) => {
    at.current?.abort();
    const stop = (at.current = new AbortController());
    set((s) => ({value: s.value, busy: true}));
    try {
      const value = await f(stop.signal);
      if (stop.signal.aborted) return undefined;
      set({value, busy: false});
      return value;
    } catch (e) {
      if (stop.signal.aborted) return undefined;
      const failure = e instanceof Failure ? e : new Failure(0, String(e));
      if (failure.status === 401) dispatchEvent(new CustomEvent('vitae-signed-out', {detail: failure.message}));
      set({failure, busy: false});
      return undefined;
    }
  }];
}
export const Problem = ({of}: {of: Failure}) => <p class="card bad" role="alert">{of.message}</p>;
export const Waiting = ({what}: {what: string}) => <p class="card muted" role="status">{what} …</p>;
