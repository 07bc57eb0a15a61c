/**
 * The SGX extension of a PCK certificate (Intel SGX PCK Certificate and CRL Profile Specification, section
 * 1.3.5): which platform the provisioning certification key belongs to, and at which TCB.
 */
import { VouchError } from '../../errors.ts';
import type { Certificate } from '../certificate.ts';
import { childrenOf, expectTag, oidOf, readDer, smallInteger, TAG } from '../der.ts';

const SGX_EXTENSION = '1.2.840.113741.1.13.1';
const COMPONENTS = 16;

export interface PckPlatform {
  /** SVNs of the 16 components, as certified; a quote's own CPU SVN is not comparable with TCB levels */
  readonly componentSvns: readonly number[];
  readonly pceSvn: number;
  /** PPID, 16 bytes: names the platform */
  readonly platformId: Uint8Array;
  /** 2 bytes */
  readonly pceId: Uint8Array;
  /** 6 bytes: family, model, stepping, platform type and custom SKU */
  readonly fmspc: Uint8Array;
}

/** Throws `bad-file` when the extension is absent or not as specified. */
export function pckPlatform({ extensions }: Certificate): PckPlatform {
  const what = 'PCK certificate';
  const extension = extensions.get(SGX_EXTENSION);
  if (extension === undefined) throw new VouchError('bad-file', `${what}: expected Intel's SGX extension`);
  const members = membersOf(extension.value, what);
  const tcb = membersOf(need(members, `${SGX_EXTENSION}.2`).raw, what);
  const component = (i: number) => smallInteger(need(tcb, `${SGX_EXTENSION}.2.${i}`), what);
  return {
    componentSvns: Array.from({ length: COMPONENTS }, (_, i) => component(i + 1)),
    pceSvn: component(COMPONENTS + 1),
    platformId: octets(need(members, `${SGX_EXTENSION}.1`), 16),
    pceId: octets(need(members, `${SGX_EXTENSION}.3`), 2),
    fmspc: octets(need(members, `${SGX_EXTENSION}.4`), 6),
  };
}

type Member = ReturnType<typeof readDer>;

/** SEQUENCE of SEQUENCE {identifier, value}, each identifier once. */
function membersOf(der: Uint8Array, what: string): Map<string, Member> {
  const members = new Map<string, Member>();
  for (const pair of childrenOf(readDer(der, what, TAG.sequence), what)) {
    const [type, value, ...rest] = childrenOf(expectTag(pair, TAG.sequence, what), what);
    const oid = oidOf(type, what);
    if (value === undefined || rest.length > 0 || members.has(oid)) {
      throw new VouchError('bad-file', `${what}: expected one value of ${oid}`);
    }
    members.set(oid, value);
  }
  return members;
}

function need(members: ReadonlyMap<string, Member>, oid: string): Member {
  const member = members.get(oid);
  if (member === undefined) throw new VouchError('bad-file', `PCK certificate: expected ${oid}`);
  return member;
}

function octets(member: Member, length: number): Uint8Array {
  const { value } = expectTag(member, TAG.octetString, 'PCK certificate');
  if (value.length !== length) {
    throw new VouchError('bad-file', `PCK certificate: expected ${length} bytes, got ${value.length}`);
  }
  return value;
}
