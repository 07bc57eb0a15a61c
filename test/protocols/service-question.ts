/** Asks for a verdict over made-up services' evidence, with the collateral of made-up vendors. For tests only. */
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { type EvidenceQuestion, judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { hex } from '../../protocols/encoding.ts';
import { assert } from '../harness.ts';
import { fingerprint } from './certificate-maker.ts';
import { type Case, NOW } from './intel-platform.ts';
import { gpuRoots, json, LOG, type LogEvent } from './service-maker.ts';
import { arkDer } from './snp-maker.ts';

/** What real GPUs of today can meet is not this file's matter. */
const POLICY = parseEvidencePolicy({ ...BUILT_IN.strict, gpu: BUILT_IN.genuine.gpu });

export const ask = async (
  machines: readonly Case[],
  files: readonly Uint8Array[],
  more: Partial<EvidenceQuestion> = {},
) => {
  const [first] = machines;
  const merged = {
    tcbInfos: machines.flatMap(({ collateral }) => collateral.tcbInfos),
    qeIdentities: machines.flatMap(({ collateral }) => collateral.qeIdentities),
    crls: machines.flatMap(({ collateral }) => collateral.crls),
    crlChains: machines.flatMap(({ collateral }) => collateral.crlChains),
    certificates: [],
  };
  return judgeEvidence({
    given: sortFiles(files.map((bytes, i) => ({ name: `file ${i}`, bytes }))),
    store: { ...sortFiles([]), intel: first === undefined ? sortFiles([]).intel : merged },
    policy: POLICY,
    now: NOW,
    roots: {
      intel: machines.flatMap(({ roots }) => roots),
      gpu: gpuRoots,
      amd: new Map([[fingerprint(arkDer), 'Turin']]),
    },
    ...more,
  });
};
/** The checks that fail, in order; the verdict has to say the same. */
export const failing = async (...all: Parameters<typeof ask>): Promise<string[]> => {
  const { verdict, checks } = await ask(...all);
  const failed = checks.filter(({ status }) => status === 'fail').map(({ id, detail }) => `${id}: ${detail}`);
  assert.is(verdict === 'accept', failed.length === 0, failed.join('\n'));
  return failed.map((text) => text.split(': ')[0]!);
};
/** dstack's answer to GetQuote. */
export const quoteJson = (machine: Case, data: Uint8Array, log: readonly LogEvent[] = LOG) =>
  json({
    quote: hex(machine.quote),
    event_log: JSON.stringify(log),
    report_data: hex(data),
    vm_config: '{"os_image_hash":"00"}',
  });
