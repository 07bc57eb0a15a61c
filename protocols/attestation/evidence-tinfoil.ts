/**
 * Tinfoil's attestation documents of versions 1 to 3 and the bundle of its attestation service
 * (github.com/tinfoilsh/verifier, tinfoil-go and cvmimage), unwrapped.
 */
import { sha256, utf8 } from '../encoding.ts';
import type { Contents } from './file-kinds.ts';
import type { Evidence } from './formats/format.ts';
import { deviceEvidenceIn } from './formats/nvidia-evidence-list.ts';
import { parseSigstoreBundle } from './formats/sigstore-bundle.ts';
import { gunzip, isGzip } from './inflate.ts';
import {
  bytesIn,
  certificatesIn,
  cpuEvidence,
  type Fields,
  facts,
  fieldsOf,
  isAbsent,
  machine,
  nested,
  refuse,
} from './json-fields.ts';
import { MAX_EVIDENCE_BYTES } from './limits.ts';
import { parsedOnce } from './parsed.ts';

export const TINFOIL = 'https://tinfoil.sh/predicate/';

/** Documents of version 1 and 2: a report or quote, compressed or not (github.com/tinfoilsh/verifier). */
function tinfoilBody(fields: Fields, what: string): Contents {
  const packed = bytesIn(fields, 'body', what);
  const bytes = isGzip(packed) ? gunzip(packed, MAX_EVIDENCE_BYTES) : packed;
  return { evidence: [cpuEvidence(bytes, what)] };
}

/** Version 3 of early 2026: keys, nonce and digests side by side (github.com/tinfoilsh/cvmimage). */
function readTinfoilKeys(fields: Fields, what: string): Contents {
  const cpu = fieldsOf(fields.cpu) ?? refuse(what, 'expected cpu');
  const bound = fieldsOf(fields.report_data);
  const devices = (name: string): Evidence[] =>
    isAbsent(fields[name]) ? [] : deviceEvidenceIn(fields[name], `${what}: ${name}`);
  const digest = (name: string): Uint8Array | undefined =>
    isAbsent(fields[name]) ? undefined : sha256(utf8(JSON.stringify(fields[name])));
  const gpuEvidence = digest('gpu');
  const switchEvidence = digest('nvswitch');
  return machine(
    {
      evidence: [cpuEvidence(bytesIn(cpu, 'report', what), what), ...devices('gpu'), ...devices('nvswitch')],
    },
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    bound === undefined
      ? {}
      : facts('tinfoil-v3-keys', {
          tlsKey: bytesIn(bound, 'tls_key_fp', what),
          hpkeKey: bytesIn(bound, 'hpke_key', what),
          nonce: bytesIn(bound, 'nonce', what),
          ...(gpuEvidence === undefined ? {} : { gpuEvidence }),
          ...(switchEvidence === undefined ? {} : { switchEvidence }),
        }),
  );
}

/** Version 3: two sections whose bytes are hashed as they travel (github.com/tinfoilsh/tinfoil-go, verify/document). */
function readTinfoilDocument(fields: Fields, what: string): Contents {
  const cpu = fieldsOf(fields.cpu_evidence) ?? refuse(what, 'expected cpu_evidence');
  const challenge = fieldsOf(fields.challenge) ?? refuse(what, 'expected challenge');
  const section = (name: string): Uint8Array =>
    typeof fields[name] === 'string'
      ? bytesIn(fields, name, what, 4 * MAX_EVIDENCE_BYTES)
      : utf8(JSON.stringify(fields[name]));
  const [cryptoMaterial, deviceEvidence] = [section('crypto_material'), section('device_evidence')];
  const list = fieldsOf(nested(new TextDecoder().decode(deviceEvidence), `${what}: device_evidence`))?.items;
  if (!Array.isArray(list)) return refuse(what, 'device_evidence: expected items');
  const devices = list.flatMap((item: unknown) =>
    deviceEvidenceIn(nested(fieldsOf(item)?.evidence, what), `${what}: device_evidence`),
  );
  const endorsements = Array.isArray(fields.collateral) ? fields.collateral.map(fieldsOf) : [];
  const certificates = endorsements.flatMap((entry) => {
    const data = entry?.data ?? entry?.data_base64;
    return /vcek|vlek/i.test(JSON.stringify([entry?.id, entry?.format])) && !isAbsent(data)
      ? [certificatesIn(data, `${what}: collateral`)]
      : [];
  });
  return machine(
    { evidence: [cpuEvidence(bytesIn(cpu, 'report_base64', what), what), ...devices] },
    ...certificates,
    facts('tinfoil-v3', {
      nonce: bytesIn(challenge, 'nonce', what),
      cryptoMaterial: sha256(cryptoMaterial),
      deviceEvidence: sha256(deviceEvidence),
    }),
  );
}

export function readTinfoil(fields: Fields): Contents {
  const what = 'Tinfoil document';
  if (fields.format === `${TINFOIL}attestation/v3`) {
    return Object.hasOwn(fields, 'cpu') ? readTinfoilKeys(fields, what) : readTinfoilDocument(fields, what);
  }
  return machine(tinfoilBody(fields, what));
}

/** The bundle of Tinfoil's attestation service: a document with the certificates that it needs. */
export function readTinfoilBundle(fields: Fields): Contents {
  const what = 'Tinfoil bundle';
  const document = fieldsOf(fields.enclaveAttestationReport) ?? refuse(what, 'expected a document');
  const inner = readTinfoil(document).machines ?? [];
  // The certificate that the enclave serves is no part of the evidence's chain; its key is what is bound.
  const served = isAbsent(fields.enclaveCert) ? undefined : certificatesIn(fields.enclaveCert, what);
  const leaf = served?.certificates?.[0];
  return machine(
    ...inner,
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    isAbsent(fields.sigstoreBundle) ? {} : provenanceIn(fields.sigstoreBundle, what),
    leaf === undefined ? {} : facts('tinfoil-v2', { tlsKey: sha256(leaf.key.spki) }),
  );
}

/** Of the code, about which the release that the bundle names was signed. */
const provenanceIn = (value: unknown, what: string): Contents => {
  const bundle = nested(value, `${what}: sigstoreBundle`);
  return { provenances: [parsedOnce(() => parseSigstoreBundle(bundle))] };
};
