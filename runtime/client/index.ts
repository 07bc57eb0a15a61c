/**
 * `vouch/client`: a client of Vouch for programs on Node and for pages. It keeps no files, and trusts whom it is told to trust. On
 * Node it needs `nats` beside this package; for pages there is a module that needs nothing (runtime/bundle.mjs makes it).
 *
 *   const client = await openClient({ url, creds, policy, vendor });
 *   const { answer, bundle } = await client.decide('credit', ['A11', '6', ...]);
 *
 * A page reaches NATS by its WebSocket (`npm start -- --websocket PORT`), over TLS only with a certificate that the browser accepts: it
 * cannot be told whose to trust, as credentials tell Node. Nor has it a folder of collateral: evidence whose policy wants some is refused
 * there. Whoever serves the page could serve another one that keeps rows and credentials: the page is part of what is trusted.
 */
import { Policy } from '../../protocols/attestation/policy.ts';
import { parse } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import { connect } from '../nats/connect.ts';
import { demandPinned } from '../verdict/vendor.ts';
import { type ChatOptions, type ChatReceipt, type ChatStream, chat } from './chat.ts';
import type { Inference, VerifiedService } from './client.ts';
import { createSessions } from './sessions.ts';
import { storedReceipt } from './stored.ts';

export { VouchError } from '../../protocols/errors.ts';
export type { ChatOptions, ChatReceipt, ChatStream, Inference, VerifiedService };

export interface ClientOptions {
  /** `nats://host:port` or `tls://host:port`; in a page `ws://` or `wss://` */
  readonly url: string;
  /** text of a `.creds` file of role client */
  readonly creds: string;
  /** the JSON of a policy file: what evidence has to satisfy */
  readonly policy: unknown;
  /** the vendor's public key or fingerprint, from elsewhere than NATS; may stand in the policy */
  readonly vendor?: string | undefined;
  /** hears what nobody waits for, such as a lost connection */
  readonly onError?: (error: Error) => void;
}

export interface Client {
  /** The model's service, its evidence verified by the policy. */
  service(model: string): Promise<VerifiedService>;
  /** Seals one row of cells, and returns the answer once its receipt is verified. Many may be under way. */
  decide(model: string, row: readonly string[]): Promise<Inference>;
  /**
   * The receipt bundle for a nonce that this client was answered with before, as the stream has it; undefined where there is none. It is
   * not verified again.
   */
  stored(receipt: { model: string; enclave: string; nonce: string }): Promise<Uint8Array | undefined>;
  /** An answer in text as it comes, and then its verified receipt. */
  chat(options: ChatOptions): ChatStream;
  close(): Promise<void>;
}

/** Connects. Throws `bad-input` without a vendor, `bad-message` for no policy, and what `connect` throws. */
export async function openClient({
  url,
  creds,
  policy: given,
  vendor,
  onError,
}: ClientOptions): Promise<Client> {
  const policy = parse(Policy, given, 'policy');
  if (vendor === undefined && policy.vendor === undefined && policy.commitment === undefined)
    throw new VouchError(
      'bad-input',
      'openClient: expected a vendor, or vendor or commitment in the policy: NATS could otherwise name any',
    );
  const bus = await connect({ url, creds, ...(onError ? { onError } : {}) });
  const sessions = createSessions(bus, `client.${bus.id}`, {
    policy,
    meet: (published) => demandPinned(published, { vendor, policy }),
  });
  return {
    service: sessions.service,
    decide: async (model, row) => (await sessions.infer(model, row)).made,
    stored: (receipt) => storedReceipt(bus, receipt),
    chat: (options) => chat(sessions, options),
    close: () => bus.close(),
  };
}
