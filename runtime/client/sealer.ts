/**
 * Seals requests to one enclave. The half of it that does not depend on a request, a key of its own and what both sides make of it, is made
 * while an answer is waited for, so that the next request does not wait for it.
 */
import {
  type PreparedSeal,
  prepareSeal,
  type SealedRequest,
  type SealingInfo,
} from '../../protocols/sealing.ts';

export interface Sealer {
  /** As `sealTo`. */
  seal(plaintext: Uint8Array, aad: Uint8Array): Promise<SealedRequest>;
  /** Makes one ahead, once what is to be sent now is on its way. */
  prepare(): void;
}

export function createSealer(publicKey: Uint8Array, info: SealingInfo): Sealer {
  let ready: Promise<PreparedSeal> | undefined;
  let soon = false;
  return {
    async seal(plaintext, aad) {
      const one = ready ?? prepareSeal(publicKey, info);
      ready = undefined;
      return (await one).seal(plaintext, aad);
    },
    prepare() {
      if (soon || ready !== undefined) return;
      soon = true;
      setTimeout(() => {
        soon = false;
        ready ??= prepareSeal(publicKey, info);
        // Whoever seals hears of it.
        ready.catch(() => {});
      }, 0);
    },
  };
}
