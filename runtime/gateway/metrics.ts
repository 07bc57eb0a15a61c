/** What a gateway counts, in Prometheus' format. Names of models come from requests that were served, never from refused ones. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export function gatewayMetrics(read: {
  readonly connected: () => boolean;
  readonly inFlight: () => number;
  readonly expiries: () => ReadonlyMap<string, number>;
}) {
  const register = new Registry();
  const registers = [register];
  collectDefaultMetrics({ register, prefix: 'vouch_' });
  new Gauge({
    name: 'vouch_nats_connected',
    help: '1 while connected to NATS',
    registers,
    collect() {
      this.set(read.connected() ? 1 : 0);
    },
  });
  new Gauge({
    name: 'vouch_gateway_rows_in_flight',
    help: 'rows that were sealed and not answered yet',
    registers,
    collect() {
      this.set(read.inFlight());
    },
  });
  new Gauge({
    name: 'vouch_evidence_expiry_seconds',
    help: 'when the evidence in use runs out by the policy, in seconds since 1970',
    labelNames: ['model'],
    registers,
    collect() {
      this.reset();
      for (const [model, at] of read.expiries()) if (at > 0) this.set({ model }, at);
    },
  });
  return {
    register,
    reconnects: new Counter({
      name: 'vouch_nats_reconnects_total',
      help: 'connections to NATS made again',
      registers,
    }),
    rows: new Counter({
      name: 'vouch_gateway_rows_total',
      help: 'rows answered, with a receipt that was verified',
      labelNames: ['model'],
      registers,
    }),
    answers: new Counter({
      name: 'vouch_gateway_answers_total',
      help: 'answers in text, with a receipt that was verified',
      labelNames: ['model'],
      registers,
    }),
    firstText: new Histogram({
      name: 'vouch_gateway_first_text_seconds',
      help: 'from a request to the first of its text',
      labelNames: ['model'],
      buckets: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    refused: new Counter({
      name: 'vouch_gateway_errors_total',
      help: 'requests that were refused or failed, by their code',
      labelNames: ['code'],
      registers,
    }),
    latency: new Histogram({
      name: 'vouch_gateway_infer_seconds',
      help: 'one row, from sealing to the verified receipt',
      labelNames: ['model'],
      buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
      registers,
    }),
  };
}
