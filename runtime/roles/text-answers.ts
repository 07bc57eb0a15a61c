/**
 * How a runner answers one sealed request in text: it opens a stream to whoever sealed the request, lets the engine speak
 * (text-streams.ts), and signs what was said. What fails ends the stream with a sealed frame that says so; the host's log has
 * nothing of an error's words, because they may quote a prompt.
 */
import { ChatFrameReply, ChatPlaintext, questionBytes } from '../../protocols/chat.ts';
import { fromUtf8, utf8 } from '../../protocols/encoding.ts';
import { ENVELOPE_HEADER, encodeHeader, parse } from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ModelManifest } from '../../protocols/manifest.ts';
import type { TextClaims } from '../../protocols/receipt.ts';
import { FRAME_BLOCKS, sealStream } from '../../protocols/sealed-stream.ts';
import type { OpenedRequest } from '../../protocols/sealing.ts';
import type { Claim } from '../home/gpu-users.ts';
import type { Log } from '../home/log.ts';
import type { TextEngine } from '../inference/text-engine.ts';
import type { ObtainedText } from '../models/weights.ts';
import type { Received } from '../nats/bus.ts';
import { confidential, wireError } from '../nats/service.ts';
import { answerInText, type Stream } from './text-streams.ts';

/** What a request says of its receipt. */
export type Asked = Pick<ChatPlaintext, 'nonce' | 'evidence' | 'requestSalt' | 'responseSalt'>;

/** The runner, as far as an answer needs it. */
export interface Answerer {
  readonly id: string;
  readonly source: string;
  readonly log: Log;
  /** undefined: nothing is loaded */
  served(): { readonly model: ObtainedText; readonly engine: TextEngine } | undefined;
  /** Throws for evidence that this runner did not give out. */
  demandEvidence(digest: string): unknown;
  /** Signs a receipt; `stored` resolves once it is. */
  receipted(
    client: string,
    model: { readonly manifest: ModelManifest; readonly digest: string; readonly releasePolicy: string },
    asked: Asked,
    bodies: { readonly request: Uint8Array; readonly response: Uint8Array },
    text: TextClaims,
  ): Promise<{
    readonly stored: Promise<void>;
    said(): { readonly receiptId: string; readonly receiptDigest: string; readonly receipt: string };
  }>;
}

export interface StreamRequest {
  readonly received: Received;
  readonly cause: string;
  readonly client: string;
  readonly stream: Stream;
  readonly gpu: Pick<Claim, 'pause' | 'resume'>;
  said(tokens: number): void;
}

/** Answers opened requests. `live` says whether the request is still to be answered. */
export const respondInText =
  ({ id, source, log, served, demandEvidence, receipted }: Answerer) =>
  async (
    opened: OpenedRequest,
    { received, cause, client, stream, gpu, said }: StreamRequest,
    live: () => boolean,
  ): Promise<void> => {
    const header = encodeHeader(ChatFrameReply, {
      subject: received.subject,
      source,
      cause,
      body: { enclave: id },
    });
    const send = (frame: Uint8Array) => {
      if (live()) received.respond(frame, { [ENVELOPE_HEADER]: header });
    };
    // The block is the client's choice; what cannot be read is answered in the smallest.
    let frames = await sealStream(opened, FRAME_BLOCKS[0]);
    try {
      const serving = served();
      if (!serving) throw new VouchError('not-ready', 'the runner has no model; try again');
      const { model, engine } = serving;
      const asked = parse(ChatPlaintext, json(opened.plaintext), 'request');
      demandEvidence(asked.evidence);
      frames = await sealStream(opened, asked.block);
      await answerInText({
        engine,
        asked,
        stream,
        gpu,
        said,
        frames,
        send,
        receipt: async ({ body: response, toolCalls: _, ...counts }) => {
          const bodies = { request: questionBytes(asked.question), response };
          const text = { engine: engine.provider, ...counts };
          const { stored, said } = await receipted(client, model, asked, bodies, text);
          await stored;
          return said();
        },
      });
    } catch (error) {
      const isLost = error instanceof VouchError && error.code === 'device-lost';
      // Why an engine is lost is about the device; whatever else it says may quote a prompt.
      if (!isLost) confidential(error);
      const said = wireError(error, source, log);
      send(await frames.seal(utf8(JSON.stringify({ error: said })), { last: true }));
      throw error;
    }
  };

/** Parses plaintext; the error must not quote it. */
export function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes, 'request'));
  } catch {
    throw new VouchError('bad-message', 'request: expected JSON inside the seal');
  }
}
