/** A pause between requests: for what must happen while none of them waits for its answer. */

export interface Pause {
  /** Before a request; resolves after a pause that is on. Each call wants one of `left` when the request is over. */
  entered(): Promise<void> | undefined;
  left(): void;
  /** Runs `work` once nobody waits, at the latest after `patienceMs`; what is asked meanwhile waits for its end. */
  during(work: () => Promise<void>, patienceMs: number): Promise<void>;
}

export function createPause(): Pause {
  let waiting = 0;
  let over: Promise<void> | undefined;
  let whenIdle: (() => void) | undefined;
  return {
    entered() {
      if (over) return over.then(() => this.entered());
      waiting += 1;
      return undefined;
    },
    left() {
      waiting -= 1;
      if (waiting === 0) whenIdle?.();
    },
    async during(work, patienceMs) {
      const { promise, resolve } = Promise.withResolvers<void>();
      await new Promise<void>((begin) => {
        const patience = setTimeout(() => whenIdle?.(), patienceMs);
        patience.unref();
        whenIdle = () => {
          clearTimeout(patience);
          whenIdle = undefined;
          // At once, so that nobody comes between.
          over = promise;
          begin();
        };
        if (waiting === 0) whenIdle();
      });
      try {
        await work();
      } finally {
        over = undefined;
        resolve();
      }
    },
  };
}
