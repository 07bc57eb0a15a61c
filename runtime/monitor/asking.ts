/** What the page asks its server for beside the events: JSON, again when `when` changes, at most once a second. */
import { useEffect, useRef, useState } from 'preact/hooks';

const LEAST_MS = 1_000;

/** The latest answer; undefined before the first, and an error's sentence where there is none. */
export function useAnswer<T>(path: string, when: unknown): { readonly answer?: T; readonly error?: string } {
  const [state, setState] = useState<{ answer?: T; error?: string }>({});
  const askedAt = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    let over = false;
    const ask = async () => {
      askedAt.current = performance.now();
      try {
        const response = await fetch(path);
        if (!response.ok) throw new Error((await response.text()).slice(0, 300).trim());
        const answer = (await response.json()) as T;
        if (!over) setState({ answer });
      } catch (error) {
        if (!over)
          setState((before) => ({
            ...before,
            error: error instanceof Error ? error.message : String(error),
          }));
      }
    };
    const timer = setTimeout(ask, Math.max(0, askedAt.current + LEAST_MS - performance.now()));
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [path, when]);
  return state;
}
