/**
 * Makes attestation documents as AWS's Nitro Secure Module does, under a root of our own, for tests only: a P-384 chain
 * of region, zone, instance and module with AWS's extensions, and CRLs for the two that name one.
 */
import { encode } from 'cborg';
import { encodeCbor } from '../../protocols/cbor.ts';
import { concat, fromHex, utf8 } from '../../protocols/encoding.ts';
import {
  basicConstraints,
  certify,
  der,
  type Extension,
  fingerprint,
  keyUsage,
  type Maker,
  maker,
  revoke,
  sequence,
  signRaw,
} from './certificate-maker.ts';

export const SIGNED_AT = new Date('2026-01-10T12:00:00Z');
const day = (text: string) => new Date(`${text}T00:00:00Z`);
/** CRLDistributionPoints with one URI. */
const distributionPoint = (uri: string): Extension => ({
  id: '2.5.29.31',
  value: sequence(sequence(der(0xa0, der(0xa0, der(0x86, utf8(uri)))))),
});
const CA = [0, 5, 6] as const;

export interface NitroVendor {
  readonly root: Maker;
  readonly region: Maker;
  readonly zone: Maker;
  readonly instance: Maker;
  readonly module: Maker;
  /** from the root down, then the module's */
  readonly bundle: readonly Uint8Array[];
  readonly certificate: Uint8Array;
  readonly roots: readonly string[];
  /** of root and region, which revoke nothing */
  readonly crls: readonly Uint8Array[];
}

export async function nitroVendor(): Promise<NitroVendor> {
  const [root, region, zone, instance, module] = (await Promise.all(
    [
      'aws.nitro-enclaves',
      'd3c9df.us-east-1.aws.nitro-enclaves',
      'db5d85.zonal.us-east-1.aws.nitro-enclaves',
      'i-0827.us-east-1.aws.nitro-enclaves',
      'i-0827-enc019b.us-east-1.aws',
    ].map((name) => maker(name)),
  )) as [Maker, Maker, Maker, Maker, Maker];
  const valid = (notBefore: string, notAfter: string) => ({
    notBefore: day(notBefore),
    notAfter: day(notAfter),
  });
  const rootDer = await certify(root, root, {
    extensions: [basicConstraints(true), keyUsage(...CA)],
    ...valid('2019-10-28', '2049-10-28'),
  });
  const regionDer = await certify(root, region, {
    extensions: [basicConstraints(true, 2), keyUsage(...CA), distributionPoint('http://crl.example/root')],
    serial: 2,
    ...valid('2026-01-01', '2026-01-21'),
  });
  const zoneDer = await certify(region, zone, {
    extensions: [basicConstraints(true, 1), keyUsage(...CA), distributionPoint('http://crl.example/region')],
    serial: 3,
    ...valid('2026-01-08', '2026-01-14'),
  });
  const instanceDer = await certify(zone, instance, {
    extensions: [basicConstraints(true, 0), keyUsage(5)],
    serial: 4,
    ...valid('2026-01-10', '2026-01-11'),
  });
  const certificate = await certify(instance, module, {
    extensions: [basicConstraints(false), { ...keyUsage(0, 1), critical: false }],
    serial: 5,
    notBefore: new Date('2026-01-10T11:59:57Z'),
    notAfter: new Date('2026-01-10T15:00:00Z'),
  });
  const dates = { thisUpdate: day('2026-01-09'), nextUpdate: day('2026-03-01') };
  return {
    root,
    region,
    zone,
    instance,
    module,
    bundle: [rootDer, regionDer, zoneDer, instanceDer],
    certificate,
    roots: [fingerprint(rootDer)],
    crls: [await revoke(root, [9], dates), await revoke(region, [9], dates)],
  };
}

export interface NitroOptions {
  /** instead of the fields that AWS writes; undefined leaves one out */
  readonly fields?: Readonly<Record<string, unknown>>;
  /** whether it is of an EC2 instance and not of an enclave */
  readonly instance?: boolean;
  readonly tag?: boolean;
  /** inside {"Attestation": {"document": ...}} */
  readonly response?: boolean;
  /** as a map of indefinite length, as the module of today writes it */
  readonly indefinite?: boolean;
  readonly signer?: Maker;
}

export const PCR0 = new Uint8Array(48).fill(0xa0);

const pcrs = (): Map<number, Uint8Array> =>
  new Map(Array.from({ length: 16 }, (_, i) => [i, i === 0 ? PCR0 : new Uint8Array(48).fill(i)]));

export async function nitroDocument(vendor: NitroVendor, options: NitroOptions = {}): Promise<Uint8Array> {
  const { fields = {}, instance = false, signer = vendor.module } = options;
  const all = Object.entries({
    module_id: instance ? 'i-0827-tpm0000000000000000' : 'i-0827-enc019b',
    digest: 'SHA384',
    timestamp: SIGNED_AT.getTime(),
    [instance ? 'nitrotpm_pcrs' : 'pcrs']: pcrs(),
    certificate: vendor.certificate,
    cabundle: vendor.bundle,
    public_key: null,
    user_data: new Uint8Array(64).fill(7),
    nonce: null,
    ...fields,
  }).filter(([, value]) => value !== undefined);
  // AWS does not sort its fields.
  const entries = all.flatMap(([name, value]) => [encode(name), encode(value)]);
  const payload = options.indefinite
    ? concat(fromHex('bf'), ...entries, fromHex('ff'))
    : concat(Uint8Array.of(0xa0 + all.length), ...entries);
  const header = fromHex('a1013822');
  const signature = await signRaw(signer, encodeCbor(['Signature1', header, new Uint8Array(0), payload]));
  const document = concat(
    options.tag ? fromHex('d2') : new Uint8Array(0),
    encodeCbor([header, {}, payload, signature]),
  );
  if (!options.response) return document;
  return encodeCbor({ Attestation: { document } });
}
