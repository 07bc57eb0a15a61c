/** Evidence of NVIDIA GPUs through NVIDIA's tools, which are played here: what they print, and every failure. */
import { hex } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { nvidiaGpus, type RunTool } from '../../../runtime/attest/nvidia.ts';
import { assert, suite } from '../../harness.ts';
import { makeCard } from '../../protocols/composite-maker.ts';
import { report } from '../../protocols/gpu-maker.ts';

const test = suite('nvidia provider');
const NONCE = new Uint8Array(32).fill(3);
const card = await makeCard();
const signed = await report(card, { nonce: NONCE });
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const chain = card.chain
  .map((der) => `-----BEGIN CERTIFICATE-----\n${base64(der)}\n-----END CERTIFICATE-----\n`)
  .join('');
const ENTRY = {
  arch: 'BLACKWELL',
  nonce: hex(NONCE),
  evidence: base64(signed),
  certificate: base64(Buffer.from(chain)),
};

/** What each tool prints, by its arguments. */
const played =
  (outputs: Record<string, string> = {}): RunTool =>
  async (tool, args) => {
    const key = [tool, ...args].join(' ');
    const all: Record<string, string> = {
      'nvidia-smi conf-compute -f': 'CC status: ON\n',
      'nvidia-smi conf-compute -d': 'DevTools Mode: OFF\n',
      'nvidia-smi conf-compute -grs': 'Confidential Compute GPUs Ready state: ready\n',
      [`nvattest collect-evidence --device gpu --nonce ${hex(NONCE)} --format json`]: JSON.stringify({
        evidences: [ENTRY],
        result_code: 0,
      }),
      ...outputs,
    };
    const text = all[key];
    if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return text;
  };

test('reports and chains of all GPUs, with the state that the driver reports', async () => {
  const state = await nvidiaGpus(played()).answer(NONCE);
  assert.equal([state.ccMode, state.ready, state.devices.length], ['on', true, 1]);
  const [device] = state.devices;
  assert.is(device?.format, 'nvidia-gpu');
  assert.equal(device?.evidence, signed);
  assert.equal(device?.certificates.map(hex), card.chain.map(hex));
});

test('devtools, off and not ready are said as they are', async () => {
  const ask = async (outputs: Record<string, string>) => {
    const { ccMode, ready } = await nvidiaGpus(played(outputs)).answer(NONCE);
    return [ccMode, ready];
  };
  assert.equal(await ask({ 'nvidia-smi conf-compute -d': 'DevTools Mode: ON' }), ['devtools', true]);
  assert.equal(await ask({ 'nvidia-smi conf-compute -f': 'CC status: OFF' }), ['off', true]);
  const notReady = 'Confidential Compute GPUs Ready state: not-ready';
  assert.equal(await ask({ 'nvidia-smi conf-compute -grs': notReady }), ['on', false]);
});

test('a tool that is missing, fails or prints something else is named', async () => {
  const collect = `nvattest collect-evidence --device gpu --nonce ${hex(NONCE)} --format json`;
  const cases: [RunTool, RegExp][] = [
    [
      async () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOENT' })),
      /driver is not installed/,
    ],
    [
      async () => Promise.reject(new Error('exit 1')),
      /nvidia-smi: it failed; run "nvidia-smi conf-compute -f"/,
    ],
    [played({ 'nvidia-smi conf-compute -f': 'No devices were found' }), /expected a state, got other text/],
    [played({ [collect]: 'Traceback' }), /nvattest: expected JSON/],
    [played({ [collect]: '{"evidences":[]}' }), /expected an array of 1 to/],
    [
      async (tool, args) =>
        tool === 'nvattest'
          ? Promise.reject(Object.assign(new Error('x'), { code: 'ENOENT' }))
          : played()(tool, args),
      /Attestation CLI is not installed/,
    ],
  ];
  for (const [run, message] of cases) {
    await nvidiaGpus(run)
      .answer(NONCE)
      .then(
        () => assert.unreachable(String(message)),
        (error: unknown) => {
          assert.instance(error, VouchError);
          assert.match((error as VouchError).message, message);
        },
      );
  }
});

test.run();
