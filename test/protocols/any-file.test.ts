import { recogniseFile } from '../../protocols/any-file.ts';
import { fromBase64url, utf8 } from '../../protocols/encoding.ts';
import { readReceipt } from '../../protocols/receipt.ts';
import { assert, suite } from '../harness.ts';
import { composite, receiptBy } from './composite-maker.ts';
import { arkCrl, arkDer } from './snp-maker.ts';

const test = suite('any file that Vouch makes or reads', { timeoutMs: 60_000 });
const made = await composite();
const { bundle, nonce } = await receiptBy(made);
const json = (value: unknown) => utf8(JSON.stringify(value));

test('a receipt, a whole one or a damaged one, and what it says without decoding it twice', () => {
  const found = recogniseFile(bundle);
  assert.is(found.kind, 'receipt');
  if (found.kind === 'receipt') {
    assert.is(readReceipt(found.receipt)?.nonce, nonce);
    assert.is(found.receipt.bundle(), found.receipt.bundle());
  }
  const damaged = recogniseFile(bundle.with(bundle.length - 1, 0));
  assert.is(damaged.kind, 'receipt');
  assert.is(recogniseFile(bundle.subarray(0, 100)).kind, 'receipt');
});

test('an evidence document, other JSON, and what is no JSON', () => {
  const { document } = made;
  assert.equal(recogniseFile(json(document)), {
    kind: 'document',
    json: JSON.parse(JSON.stringify(document)),
  });
  assert.equal(recogniseFile(json({ job: 1 })), { kind: 'json', json: { job: 1 } });
  for (const bytes of [utf8('{"cpu":'), utf8('{'), utf8('garbage'), new Uint8Array(0), bundle.subarray(1)]) {
    assert.is(recogniseFile(bytes).kind, 'unknown');
  }
});

test('raw evidence and what belongs to it, by name', () => {
  const nameOf = (bytes: Uint8Array) => {
    const found = recogniseFile(bytes);
    return found.kind === 'evidence' || found.kind === 'collateral' ? [found.kind, found.name] : [found.kind];
  };
  assert.equal(nameOf(fromBase64url(made.document.cpu.evidence, 'evidence')), ['evidence', 'tdx']);
  const device = made.gpu!.devices[0]!;
  assert.equal(nameOf(device.evidence), ['evidence', 'nvidia-gpu']);
  assert.equal(nameOf(made.files[0]!.bytes), ['collateral', 'intel-collateral']);
  assert.equal(nameOf(json({ tcbInfo: {}, signature: '' })), ['collateral', 'intel-collateral']);
  assert.equal(nameOf(arkDer), ['collateral', 'certificates']);
  assert.equal(nameOf(arkCrl), ['collateral', 'crl']);
  assert.equal(nameOf(made.files.at(-1)!.bytes), ['collateral', 'ocsp']);
  const manifests = made.files.filter(({ bytes }) => nameOf(bytes)[1] === 'rim');
  assert.equal(nameOf(manifests[0]!.bytes), ['evidence', 'rim']);
});

test.run();
