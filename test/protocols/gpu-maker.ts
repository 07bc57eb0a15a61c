/**
 * Makes GPU reports and manifests with keys of its own, in the formats that the product reads. What can be learnt of
 * revocation is what NVIDIA publishes, and no more: lists of its two highest CAs, and answers by OCSP about every
 * certificate but the roots and the attestation key's. A GH100's own certificate names no responder, a GB100's does.
 */
import { canonicalXml, elementsIn, parseXml } from '../../protocols/attestation/xml.ts';
import { concat, hex, utf8 } from '../../protocols/encoding.ts';
import {
  AUTHORITY,
  certify,
  der,
  type Extension,
  fingerprint,
  integer,
  keyUsage,
  type Maker,
  maker,
  octets,
  oid,
  revoke,
  sequence,
  signRaw,
} from './certificate-maker.ts';
import { crlAt, type OcspOptions, ocsp, ocspAt, responderOf } from './ocsp-maker.ts';

const u16 = (value: number) => Uint8Array.of(value & 0xff, value >> 8);
export const NONCE = new Uint8Array(32).fill(7);
export const DRIVER = '580.10.01';
export const VBIOS = '97.00.83.00.09';
export const FWID = new Uint8Array(48).fill(9);

const FWID_OF_TCB_INFO = (fwid: Uint8Array): Extension => ({
  id: '2.23.133.5.4.1.1',
  value: sequence(
    der(0x80, utf8('NVIDIA')),
    der(0xa6, sequence(oid('2.16.840.1.101.3.4.2.2'), octets(fwid))),
  ),
});
export const FWID_OF_COMPOSITE = (fwid: Uint8Array): Extension => ({
  id: '2.23.133.5.4.1',
  value: sequence(integer(1), sequence(), sequence(oid('2.16.840.1.101.3.4.2.2'), octets(fwid))),
});

const CRL = 'http://crl.ndis.nvidia.com/crl';

/** Makes an answer about a certificate, by its serial number; signed for its issuer. */
export type Answer = (serial: number, options?: OcspOptions) => Promise<Uint8Array>;

export interface Vendor {
  readonly root: Maker;
  readonly rootDer: Uint8Array;
  readonly product: Maker;
  readonly productDer: Uint8Array;
  readonly provisioner: Maker;
  readonly provisionerDer: Uint8Array;
  /** what is published about the two CAs below the root: answers by OCSP; their lists say the same */
  readonly ocsp: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
  /** about a device */
  readonly answer: Answer;
}

export async function vendor(): Promise<Vendor> {
  const root = await maker('Device Root');
  const product = await maker('GB100 Identity');
  const provisioner = await maker('GB100 Provisioner');
  const named = (list: string) => [...AUTHORITY, crlAt(`${CRL}/${list}.crl`), ocspAt()];
  return {
    root,
    product,
    provisioner,
    rootDer: await certify(root, root, { extensions: AUTHORITY, serial: 1 }),
    productDer: await certify(root, product, { extensions: named('l1-root'), serial: 2 }),
    provisionerDer: await certify(product, provisioner, { extensions: named('l2-gb100'), serial: 3 }),
    ocsp: [await ocsp(root, 2), await ocsp(product, 3)],
    crls: [await revoke(root, []), await revoke(product, [])],
    answer: await responderOf(provisioner),
  };
}

export interface Gpu {
  readonly key: Maker;
  readonly chain: readonly Uint8Array[];
  /** of its device certificate */
  readonly serial: number;
}

export async function gpu(
  { rootDer, productDer, provisioner, provisionerDer }: Vendor,
  options: { name?: string; extensions?: readonly Extension[]; serial?: number } = {},
): Promise<Gpu> {
  const { name = 'GB100 A01 GSP FMC', serial = 4, extensions = [FWID_OF_TCB_INFO(FWID)] } = options;
  const device = await maker(`GB100 A01 GSP BROM ${serial}`);
  const key = await maker(name);
  const places = name.startsWith('GB') ? [ocspAt()] : [];
  const deviceDer = await certify(provisioner, device, {
    extensions: [AUTHORITY[0]!, keyUsage(5), ...places],
    serial,
  });
  const keyDer = await certify(device, key, { extensions: [keyUsage(0), ...extensions] });
  return { key, serial, chain: [keyDer, deviceDer, provisionerDer, productDer, rootDer] };
}

/** What block `index` (from 0) measures unless told otherwise. */
export const measured = (index: number): Uint8Array => new Uint8Array(48).fill(index + 1);

export interface ReportOptions {
  readonly nonce?: Uint8Array;
  readonly fields?: ReadonlyMap<number, Uint8Array | undefined>;
  readonly measurements?: readonly Uint8Array[];
  /** applied to what is signed */
  readonly change?: (signed: Uint8Array) => Uint8Array;
}

export async function report({ key }: Gpu, options: ReportOptions = {}): Promise<Uint8Array> {
  const { nonce = NONCE, measurements = Array.from({ length: 40 }, (_, i) => measured(i)) } = options;
  const request = concat(Uint8Array.of(0x11, 0xe0, 1, 0xff), nonce, Uint8Array.of(0));
  const blocks = measurements.map((value, i) =>
    concat(Uint8Array.of(i + 1, 1), u16(value.length + 3), Uint8Array.of(1), u16(value.length), value),
  );
  const fields = new Map<number, Uint8Array | undefined>([
    [3, utf8(`${DRIVER}\0`)],
    [6, Uint8Array.of(0, 0x83, 0, 0x97, 9, 0, 0, 0)],
    [11, Uint8Array.of(0xaa)],
    [17, utf8('G548\0')],
    [20, FWID],
    ...(options.fields ?? []),
  ]);
  const opaque = [...fields].flatMap(([type, value]) =>
    value === undefined ? [] : [u16(type), u16(value.length), value],
  );
  const record = concat(...blocks);
  const response = concat(
    Uint8Array.of(0x11, 0x60, 0, 0, blocks.length, record.length & 0xff, record.length >> 8, 0),
    record,
    new Uint8Array(32),
    u16(concat(...opaque).length),
    ...opaque,
  );
  const signed = concat(request, response);
  const bytes = options.change?.(signed) ?? signed;
  return concat(bytes, await signRaw(key, bytes));
}

/** The opaque fields of a switch (LS10): its own device identifier, and those of the GPUs at its ports. */
export const switchFields = (pdi: Uint8Array, gpus: readonly Uint8Array[]) =>
  new Map<number, Uint8Array | undefined>([
    [3, undefined],
    [6, utf8('96.10.55.00.01')],
    [11, undefined],
    [17, undefined],
    [20, undefined],
    [22, pdi],
    [26, concat(...gpus, new Uint8Array(128)).slice(0, 128)],
  ]);

export interface RimSigner {
  readonly root: string;
  readonly key: Maker;
  readonly chain: readonly Uint8Array[];
  /** what is published about the chain */
  readonly ocsp: readonly Uint8Array[];
  /** about the signer, whose number is 4 */
  readonly answer: Answer;
}

export async function rimSigner(): Promise<RimSigner> {
  const root = await maker('RIM Root');
  const ca = await maker('RIM CA');
  const middle = await maker('RIM L3');
  const key = await maker('RIM L4 Signer');
  const rootDer = await certify(root, root, { extensions: AUTHORITY, serial: 1 });
  const caDer = await certify(root, ca, {
    extensions: [...AUTHORITY, crlAt(`${CRL}-corim/l1-corim`), ocspAt()],
    serial: 2,
  });
  const middleDer = await certify(ca, middle, { extensions: [...AUTHORITY, ocspAt()], serial: 3 });
  const keyDer = await certify(middle, key, { extensions: [keyUsage(0), ocspAt()], serial: 4 });
  const answer = await responderOf(middle);
  return {
    root: fingerprint(rootDer),
    key,
    chain: [keyDer, middleDer, caDer, rootDer],
    ocsp: [await ocsp(root, 2), await ocsp(ca, 3), await answer(4)],
    answer,
  };
}

const base64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));
const DSIG = 'http://www.w3.org/2000/09/xmldsig#';

export interface RimOptions {
  readonly version?: string;
  readonly product?: string;
  /** index -> values accepted */
  readonly active?: ReadonlyMap<number, readonly Uint8Array[]>;
  /** applied to the text before it is signed */
  readonly before?: (text: string) => string;
  /** applied to the text after it is signed */
  readonly after?: (text: string) => string;
}

/** A signed manifest. */
export async function rim(signer: RimSigner, options: RimOptions = {}): Promise<Uint8Array> {
  const { version = DRIVER, product = 'GB100', before = (text) => text, after = (text) => text } = options;
  const active = options.active ?? new Map([[1, [measured(1)]]]);
  const resources = [...active].map(([index, values]) => {
    const hashes = values.map((value, i) => `h:Hash${i}="${hex(value)}"`).join(' ');
    return `<Resource type="Measurement" index="${index}" active="True" alternatives="${values.length}" ${hashes} name="m${index}" size="48"/>`;
  });
  const document = `<?xml version="1.0" encoding="UTF-8"?>
<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:h="http://www.w3.org/2001/04/xmlenc#sha384" name="x" xml:lang="en">
  <!-- a comment --><Meta colloquialVersion="${version}" product='${product}' note="&lt;&#x9;&quot;"/>
  <Payload>${resources.join('\n')}<Resource type="Measurement" index="60" active="False" alternatives="1" h:Hash0="${'00'.repeat(48)}" name="m60" size="48"/></Payload>
<ds:Signature xmlns:ds="${DSIG}">SIGNATURE</ds:Signature></SoftwareIdentity>
`;
  const text = before(document);
  const digestOf = async (): Promise<string> => {
    const root = parseXml(utf8(text));
    const signature = elementsIn(root, DSIG, 'Signature')[0]!;
    const content = utf8(canonicalXml(root, signature));
    return base64(new Uint8Array(await crypto.subtle.digest('SHA-384', content)));
  };
  const info = `<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2006/12/xml-c14n11"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/><ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="${DSIG}enveloped-signature"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/><ds:DigestValue>${await digestOf()}</ds:DigestValue></ds:Reference></ds:SignedInfo>`;
  const unsigned = text.replace('SIGNATURE', info);
  const signedInfo = elementsIn(elementsIn(parseXml(utf8(unsigned)), DSIG, 'Signature')[0]!)[0]!;
  const value = base64(await signRaw(signer.key, utf8(canonicalXml(signedInfo))));
  const certificates = signer.chain.map(
    (bytes) => `<ds:X509Certificate>${base64(bytes)}</ds:X509Certificate>`,
  );
  const keyInfo = `<ds:KeyInfo><ds:X509Data>${certificates.join('')}</ds:X509Data></ds:KeyInfo>`;
  return utf8(
    after(text.replace('SIGNATURE', `${info}<ds:SignatureValue>${value}</ds:SignatureValue>${keyInfo}`)),
  );
}
