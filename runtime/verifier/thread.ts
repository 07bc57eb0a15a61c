/**
 * The verifier as a thread of a page that shows more than verdicts, such as the monitor's: files in, verdicts out, by the same
 * functions as `vouch verify`; and what `vouch plan` would say of a fleet. It holds nothing and asks nobody.
 *
 * A proof is verified once here, by our own code; the file of `npm run build:verifier` asks snarkjs as well.
 */
import './plain-zod.ts';
import { recogniseFile } from '../../protocols/any-file.ts';
import { parseCertificate } from '../../protocols/attestation/certificate.ts';
import { cpuOf, EvidenceDocument, gpuOf } from '../../protocols/attestation/document.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { messageOf } from '../../protocols/errors.ts';
import { printable } from '../../protocols/printable.ts';
import { readReceipt, receiptId } from '../../protocols/receipt.ts';
import type {
  Answer,
  Asked,
  CertificateRow,
  JudgedItem,
  OpenedFile,
  Planned,
  Planning,
  Question,
  ReceiptFacts,
  Reply,
} from '../monitor/judging.ts';
import {
  BOUNDS,
  boundsOf,
  evenCircuit,
  forecast,
  MEASURED,
  withFurtherNode,
} from '../msm/shards/forecast.ts';
import { skippedChecks } from '../verdict/checks.ts';
import { circuitDigest, type JudgedFile, judgeFiles } from './files.ts';

addEventListener('message', ({ data }: MessageEvent<Question>) => {
  const { id } = data;
  const answering = async () => (data.name === 'plan' ? planOf(data.body) : answerTo(data.body));
  answering()
    .then((answer): Reply => ({ id, answer }))
    .catch((error: unknown): Reply => ({ id, error: printable(messageOf(error)).slice(0, 1000) }))
    .then((reply) => postMessage(reply));
});

/** The model of `vouch plan`, by what nodes say of themselves; coordinator and server as this project's own were measured. */
function planOf({ nodes, domain }: Planning): Planned {
  const installation = {
    ...MEASURED,
    nodes: nodes.map(({ id, rates, bytesPerSecond = LOCAL_LINK, memoryBytes }) => ({
      id,
      rates,
      bytesPerSecond,
      roundTripMs: 1,
      memoryBytes,
    })),
  };
  const circuit = evenCircuit(domain, SHARE_OF_BITS);
  const { totalMs } = forecast(installation, circuit);
  return {
    totalMs,
    bounds: boundsOf(installation, circuit).map(({ bound, totalMs }) => ({ what: BOUNDS[bound], totalMs })),
    further: withFurtherNode(installation, circuit),
  };
}
/** A gigabit a second. */
const LOCAL_LINK = 125e6;
/** As `vouch plan` takes it where nobody says otherwise. */
const SHARE_OF_BITS = 0.9;

async function answerTo({ files, asked }: { files: readonly OpenedFile[]; asked: Asked }): Promise<Answer> {
  const { policy = 'strict', now = Date.now(), ...known } = asked;
  const question = { ...known, policy: BUILT_IN[policy], now: new Date(now) };
  const { judged, used, unused } = await judgeFiles(files, question, { circuitDigest });
  const byName = new Map(files.map((file) => [file.name, file.bytes]));
  return {
    judged: judged.map((one) => itemOf(one, byName.get(one.name))),
    used: used.map(({ name, as }) => ({ name: printable(name), as })),
    unused: unused.map(({ name, reason }) => ({ name: printable(name), reason: printable(reason) })),
  };
}

function itemOf({ name, kind, judgement }: JudgedFile, bytes: Uint8Array | undefined): JudgedItem {
  const { accepted, checks, proved, claimed } = judgement;
  const rows = checks.map(({ id, status, detail }) => ({
    id,
    status,
    detail: printable(detail).slice(0, 2000),
  }));
  return {
    name: printable(name).slice(0, 300),
    kind,
    accepted,
    checks: rows,
    notChecked: skippedChecks(checks),
    proved: proved === undefined ? undefined : printable(proved),
    claimed: claimed === undefined ? undefined : printable(claimed),
    simulated: rows.some(({ detail }) => /^SIMULATED\b/.test(detail)),
    ...(bytes ? readableOf(bytes) : {}),
  };
}

/** What a file says beside its verdict; nothing where it cannot be read. */
function readableOf(bytes: Uint8Array): Pick<JudgedItem, 'receipt' | 'certificates'> {
  const known = recogniseFile(bytes);
  if (known.kind === 'receipt') {
    const receipt = factsOf(readReceipt(known.receipt));
    return receipt ? { receipt } : {};
  }
  if (known.kind !== 'document') return {};
  const document = EvidenceDocument.safeParse(known.json);
  return document.success ? { certificates: certificatesOf(document.data) } : {};
}

const factsOf = (claims: ReturnType<typeof readReceipt>): ReceiptFacts | undefined =>
  claims && {
    id: receiptId(claims.enclave, claims.nonce),
    enclave: printable(claims.enclave),
    sequence: claims.sequence,
    time: claims.time.getTime(),
  };

function certificatesOf(document: EvidenceDocument): CertificateRow[] {
  const parts = [
    { of: 'CPU', part: cpuOf(document) },
    ...(gpuOf(document)?.devices ?? []).map((part, index) => ({ of: `GPU ${index}`, part })),
  ];
  return parts.flatMap(({ of, part }) =>
    part.certificates.flatMap((der): CertificateRow[] => {
      try {
        const { subjectName, issuerName, notBefore, notAfter } = parseCertificate(der);
        return [
          {
            of,
            subject: printable(subjectName),
            issuer: printable(issuerName),
            notBefore: notBefore.getTime(),
            notAfter: notAfter.getTime(),
          },
        ];
      } catch {
        return [];
      }
    }),
  );
}
