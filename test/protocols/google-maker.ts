/** A made-up Google: a root, a key that endorses firmware, and endorsements as gce-tcb-verifier writes them. */
import { concat, fromHex, utf8 } from '../../protocols/encoding.ts';
import { AUTHORITY, certify, fingerprint, keyUsage, type Maker, maker, sign } from './certificate-maker.ts';
import { pem } from './service-maker.ts';

export const googleRoot = await maker('GCE-cc-tcb-root', 'RSA-PSS-256');
export const googleSigner = await maker('GCE-uefi-signer', 'RSA-PSS-256');
export const googleRootDer = await certify(googleRoot, googleRoot, { extensions: AUTHORITY });
export const googleSignerDer = await certify(googleRoot, googleSigner, {
  extensions: [keyUsage(0)],
  serial: 2,
});
export const googleRoots = [fingerprint(googleRootDer)];

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let left = BigInt(value); ; left >>= 7n) {
    bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0));
    if (left <= 0x7fn) return Uint8Array.from(bytes);
  }
}
export const number = (field: number, value: number): Uint8Array =>
  value === 0 ? new Uint8Array(0) : concat(varint(field * 8), varint(value));
export const bytes = (field: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const value = concat(...parts);
  return concat(varint(field * 8 + 2), varint(value.length), value);
};

export interface EndorsementFields {
  readonly signedAt?: Date;
  readonly change?: number;
  readonly commit?: Uint8Array;
  readonly certificate?: Uint8Array;
  readonly bundle?: string;
  readonly firmware?: Uint8Array;
  readonly svn?: number;
  /** of SNP guests by virtual CPUs, hex */
  readonly snp?: Readonly<Record<number, string>> | undefined;
  readonly svsm?: string;
  /** of TDs with 16 GiB, hex */
  readonly mrtds?: readonly string[] | undefined;
  readonly by?: Maker;
}

export const FIRMWARE = new Uint8Array(48).fill(0xf1);

export async function endorsement(fields: EndorsementFields = {}): Promise<Uint8Array> {
  const { signedAt = new Date('2025-06-01'), change = 7, svn = 3, by = googleSigner } = fields;
  const { snp, svsm, mrtds, commit, firmware = FIRMWARE } = fields;
  const golden = concat(
    bytes(1, number(1, signedAt.getTime() / 1000), number(2, 5)),
    number(2, change),
    ...(commit === undefined ? [] : [bytes(3, commit)]),
    bytes(4, fields.certificate ?? googleSignerDer),
    bytes(5, firmware),
    bytes(6, utf8(fields.bundle ?? pem(googleRootDer))),
    ...(snp === undefined && svsm === undefined
      ? []
      : [
          bytes(
            7,
            number(1, svn),
            ...Object.entries(snp ?? {}).map(([vcpus, value]) =>
              bytes(2, number(1, Number(vcpus)), bytes(2, fromHex(value))),
            ),
            bytes(3, new Uint8Array(16).fill(0xfa)),
            number(5, 0x70000),
            ...(svsm === undefined ? [] : [bytes(7, fromHex(svsm))]),
          ),
        ]),
    ...(mrtds === undefined
      ? []
      : [
          bytes(
            8,
            number(1, svn),
            ...mrtds.map((mrtd, i) => bytes(2, number(1, 16), number(2, i), bytes(3, fromHex(mrtd)))),
          ),
        ]),
  );
  return concat(bytes(1, golden), bytes(2, await sign(by, golden)));
}

/** An SNP guest's certificate table (GHCB specification): GUID -> what it names. */
export function certificateTable(
  entries: readonly (readonly [guid: string, value: Uint8Array])[],
): Uint8Array {
  const head = new Uint8Array((entries.length + 1) * 24);
  const view = new DataView(head.buffer);
  let at = head.length;
  for (const [i, [guid, value]] of entries.entries()) {
    head.set(fromHex(guid), i * 24);
    view.setUint32(i * 24 + 16, at, true);
    view.setUint32(i * 24 + 20, value.length, true);
    at += value.length;
  }
  return concat(head, ...entries.map(([, value]) => value));
}
export const VCEK_GUID = '63da758de6644564adc5f4b93be8accd';
export const GCE_GUID = '9f4116cdc5034f5a8f6ffb68882f4ce2';
