import {useEffect, useState} from 'preact/hooks';
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
export const Problem = ({of}: {of: Failure}) => <p class="card bad" role="alert">{of.message}</p>;
export const Waiting = ({what}: {what: string}) => <p class="card muted" role="status">{what} …</p>;
