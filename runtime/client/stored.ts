/** A client's receipts as the stream has them: NATS' rights let a client read its own and nobody else's. */
import { readReceipt, receiptId } from '../../protocols/receipt.ts';
import { MAX_GROUP_RECEIPTS, receiptPlace, storedBundles } from '../../protocols/stored-receipts.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Bus } from '../nats/bus.ts';

/**
 * The receipt bundle for a nonce that this client had an enclave sign; undefined where there is none. It is not verified. Throws
 * `bad-message` for a message that holds no receipts, and what a request over NATS throws.
 */
export async function storedReceipt(
  bus: Bus,
  { model, enclave, nonce }: { readonly model: string; readonly enclave: string; readonly nonce: string },
): Promise<Uint8Array | undefined> {
  const id = receiptId(enclave, nonce);
  for (let n = 0; n < MAX_GROUP_RECEIPTS; n++) {
    const place = receiptPlace(enclave, nonce, n);
    const message = await bus.getLast(STREAMS.receipts.name, subjects.receipt(model, bus.id, place));
    if (message === undefined) return undefined;
    const found = storedBundles(message.data).find((bundle) => readReceipt(bundle)?.id === id);
    // A receipt that lies alone has one place.
    if (found !== undefined || place === id) return found;
  }
  return undefined;
}
