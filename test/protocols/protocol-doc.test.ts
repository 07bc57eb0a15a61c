/**
 * docs/PROTOCOL.md is what protocols/ is: its generated parts are up to date, and what it shows holds. The values are
 * read from the document's text and computed again with Node's crypto wherever that is possible.
 *
 * One file, although it is long: its cases follow the document, and later sections use the values of earlier ones.
 */
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  hkdfSync,
  verify as verifySignature,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { type VerificationKey, verify } from '../../circuits/groth16/verify.ts';
import { type Architecture, parseArchitecture } from '../../circuits/model/architecture.ts';
import { commit, decodeSecret, packParameters } from '../../circuits/model/commit.ts';
import { poseidon, poseidonChain } from '../../circuits/model/poseidon.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { decodeTestSet } from '../../circuits/model/test-set.ts';
import type { EvidenceDocument } from '../../protocols/attestation/document.ts';
import { parsePolicy, policyDigest } from '../../protocols/attestation/policy.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { verifyChain } from '../../protocols/audit.ts';
import { verifyStatement } from '../../protocols/cose.ts';
import { EvidenceReply, EvidenceRequest, ReleaseReply } from '../../protocols/enclave.ts';
import { canonicalJson, fromBase64url, fromHex, sha256, utf8 } from '../../protocols/encoding.ts';
import { decodeHeader, decodeMessage, type MessageType, parse } from '../../protocols/envelope.ts';
import { ERROR_CODES } from '../../protocols/errors.ts';
import { AnswerPlaintext, InferencePlaintext, SealedError } from '../../protocols/inference.ts';
import { combineKey, isCommitted, KeyShares } from '../../protocols/key-shares.ts';
import { PublishedManifest, verifyManifest } from '../../protocols/manifest.ts';
import { askedOf, PROOF_CONTENT_TYPE, PublishedProof } from '../../protocols/proof.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import { decryptBlob, open, SEALING_INFO } from '../../protocols/sealing.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { assert, suite } from '../harness.ts';
import { DOCUMENT, render, renderSecurity, SECURITY } from './document.ts';
import { exportedTypes, MESSAGES } from './document-messages.ts';
import { NOW, policies, sealingKeys } from './document-scenario.ts';
import { subjectEntries, subjectOf } from './document-tables.ts';

const test = suite('protocol document');
const document = readFileSync(DOCUMENT, 'utf8');
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const digest = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex');

/** The text of a generated block. */
function block(name: string): string {
  const found = new RegExp(`<!-- generated: ${name} -->\\n([\\s\\S]*?)<!-- end -->`).exec(document)?.[1];
  if (found === undefined) throw new Error(`the document has no block "${name}"`);
  return found;
}
/** The `name = value` lines of a block. */
function valuesOf(name: string): (key: string) => string {
  const lines = new Map(
    [...block(name).matchAll(/^([^={\n]+) = (.*)$/gm)].map(([, key, value]) => [key!, value!]),
  );
  return (key) => lines.get(key) ?? assert.unreachable(`${name}: no value "${key}"`)!;
}
const jsonIn = (part: string): unknown[] =>
  [...part.matchAll(/```json\n([\s\S]*?)\n```/g)].map(([, json]) => JSON.parse(json!));
/** The body of the example message of this type. */
function bodyOf<Body>(kind: MessageType<Body>, name: string): Body {
  const found = jsonIn(block(name)).find((value) => (value as { type?: string }).type === kind.type);
  return decodeMessage(kind, null, utf8(JSON.stringify(found))).body;
}

test('the generated parts are up to date (npm run protocol)', async () => {
  const fresh = await render(document);
  if (fresh !== document) {
    const [had, has] = [document.split('\n'), fresh.split('\n')];
    const line = had.findIndex((content, i) => content !== has[i]);
    assert.unreachable(`docs/PROTOCOL.md is stale at line ${line + 1}; run: npm run protocol`);
  }
});

test("SECURITY.md's table of rights is what the server enforces (npm run protocol)", () => {
  const security = readFileSync(SECURITY, 'utf8');
  assert.is(renderSecurity(security), security);
});

test('every message type, subject, stream and error code is described', () => {
  const exported = exportedTypes();
  assert.equal(new Set(MESSAGES.map(({ kind }) => kind.type)), new Set(exported.keys()));
  for (const { kind } of MESSAGES) assert.is(exported.get(kind.type)?.version, kind.version);

  const entries = subjectEntries();
  assert.equal(new Set(entries.map(({ name }) => name)), new Set(Object.keys(subjects)));
  for (const entry of entries) {
    assert.is(subjectOf(entry), entry.literal.replaceAll(/[<>]/g, ''), 'the comment is the subject');
    assert.ok(block('subjects').includes(`\`${entry.literal}\``));
  }
  for (const { name } of Object.values(STREAMS)) assert.ok(block('streams').includes(`\`${name}\``));
  for (const code of Object.keys(ERROR_CODES)) assert.ok(block('errors').includes(`\`${code}\``));
});

test('links within the document lead somewhere', () => {
  const anchors = new Set(
    [...document.matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
      title!
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
  for (const [, anchor] of document.matchAll(/\]\(#([^)]+)\)/g)) assert.ok(anchors.has(anchor!), anchor);
});

test('every example message decodes as its type, and every type has an example', () => {
  const shown = new Set<string>();
  for (const value of jsonIn(document)) {
    const { type, subject } = value as { type?: string; subject?: string };
    const entry = MESSAGES.find(({ kind }) => kind.type === type);
    if (!entry || subject === undefined) continue;
    shown.add(entry.kind.type);
    const json = JSON.stringify(value);
    const { body } =
      entry.form === 'bulk'
        ? decodeHeader(entry.kind, subject, json)
        : decodeMessage(entry.kind, entry.subject === 'reply' ? null : subject, utf8(json));
    // Nothing of an example is a field that readers ignore.
    assert.equal(body, (value as { body: unknown }).body, type);
    assert.throws(() => decodeHeader(entry.kind, `${subject}x`, json), /subject|expected a message/);
  }
  assert.equal(shown, new Set(MESSAGES.map(({ kind }) => kind.type)));
});

test('the policy has the digest that is shown', async () => {
  const policy = parsePolicy(jsonIn(block('example policy'))[0]);
  const value = valuesOf('example policy');
  assert.is(canonicalJson(policy), value('canonical JSON'));
  assert.is(digest(value('canonical JSON')), value('policy digest'));
  assert.is(policyDigest(policy), value('policy digest'));
  // Defaults count as written.
  const { debug: _, ...without } = policy;
  assert.is(policyDigest(parsePolicy(without)), value('policy digest'));
});

/** The GPU evidence digest as section 7 says it. */
function gpuDigest({ gpu }: EvidenceDocument): Buffer {
  const hash = createHash('sha256').update('vouch/v2/gpu-evidence\0');
  const part = (bytes: Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  const { ccMode, ready, devices } = gpu!;
  hash.update(Buffer.of(['off', 'on', 'devtools'].indexOf(ccMode), Number(ready), devices.length));
  for (const { format, evidence, certificates } of devices) {
    part(Buffer.from(format));
    part(Buffer.from(evidence, 'base64url'));
    hash.update(Buffer.of(certificates.length));
    for (const der of certificates) part(Buffer.from(der, 'base64url'));
  }
  return hash.digest();
}

test('the evidence verifies, and its report data recomputes', async () => {
  const value = valuesOf('example evidence');
  const { nonce } = bodyOf(EvidenceRequest, 'example evidence');
  const { document: evidence } = bodyOf(EvidenceReply, 'example evidence');
  const policy = parsePolicy(jsonIn(block('example policy'))[0]);
  const question = { document: evidence, policy, nonce, now: NOW };
  const report = await verifyEvidence({ ...question, modelCommitment: evidence.modelCommitment! });
  assert.is(report.verdict, 'accept', JSON.stringify(report.checks));
  assert.is(report.digest, value('evidence digest'));
  assert.is(digest(encode(evidence, rfc8949EncodeOptions)), value('evidence digest'));

  const element = BigInt(evidence.modelCommitment!).toString(16).padStart(64, '0');
  const slots = [
    Buffer.from(nonce, 'hex'),
    Buffer.from(evidence.hpkeKey, 'base64url'),
    Buffer.from(evidence.receiptKey!, 'base64url'),
    Buffer.from(element, 'hex').reverse(),
    Buffer.from(evidence.enclave),
    Buffer.alloc(0),
    gpuDigest(evidence),
    Buffer.alloc(0),
    Buffer.from(evidence.time.toString(16).padStart(16, '0'), 'hex'),
  ];
  const hashed = (algorithm: string, domain: string, parts: readonly Buffer[]) => {
    const hash = createHash(algorithm).update(domain);
    parts.forEach((bytes, i) => {
      hash.update(Buffer.of(i + 1, bytes.length >> 8, bytes.length & 0xff)).update(bytes);
    });
    return hash.digest('hex');
  };
  assert.is(gpuDigest(evidence).toString('hex'), evidence.gpuEvidence);
  assert.is(hashed('sha512', 'vouch/v2/report-data\0', slots), value('report data'));
  const unasked = slots.with(6, Buffer.alloc(0));
  assert.is(hashed('sha256', 'vouch/v2/gpu-nonce\0', unasked), value('GPU nonce'));
  assert.is((await verifyEvidence({ ...question, nonce: '00'.repeat(32) })).verdict, 'reject');
});

test('the sealed request opens with the private key shown, the reply with the exported secret', async () => {
  const value = valuesOf('example sealing');
  const keys = await sealingKeys('enclave-1 HPKE key');
  assert.equal(keys.privateBytes, fromHex(value('recipient private key')));
  assert.equal(keys.publicKey, fromHex(value('recipient public key')));
  assert.is(value('info'), SEALING_INFO.infer);
  const sealed = fromHex(value('sealed'));
  const context = { info: SEALING_INFO.infer, aad: utf8(value('aad')) };
  const { plaintext } = await open(keys, sealed, context);
  assert.is(text(plaintext), value('plaintext'));
  parse(InferencePlaintext, JSON.parse(value('plaintext')), 'request');
  await open(keys, sealed, { ...context, aad: utf8(`${value('aad')}x`) }).then(
    () => assert.unreachable('another subject'),
    (error) => assert.is(error.code, 'seal-rejected'),
  );

  const suiteOf = new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
  assert.equal(sealed.subarray(0, 2), Uint8Array.of(0, 0x20));
  const enc = sealed.slice(2, 34);
  const recipient = await suiteOf.createRecipientContext({
    recipientKey: keys.handle,
    enc,
    info: utf8(value('info')),
  });
  const exported = new Uint8Array(await recipient.export(utf8('vouch/v2/reply'), 32));
  assert.equal(exported, fromHex(value('exported secret')));
  const reply = Buffer.from(value('reply'), 'hex');
  const salt = Buffer.concat([enc, reply.subarray(0, 32)]);
  assert.is(reply.subarray(0, 32).toString('hex'), value('response nonce'));
  const key = Buffer.from(hkdfSync('sha256', exported, salt, 'key', 32));
  const iv = Buffer.from(hkdfSync('sha256', exported, salt, 'nonce', 12));
  assert.equal([key.toString('hex'), iv.toString('hex')], [value('reply key'), value('reply iv')]);
  const cipher = createDecipheriv('aes-256-gcm', key, iv).setAuthTag(reply.subarray(-16));
  const opened = Buffer.concat([cipher.update(reply.subarray(32, -16)), cipher.final()]);
  assert.is(opened.toString(), value('reply plaintext'));
  parse(SealedError, JSON.parse(opened.toString()), 'reply');
});

test('the receipt verifies, its parts recompute, and any change is refused', async () => {
  const value = valuesOf('example receipt');
  const bytes = (name: string) => Buffer.from(value(name), 'hex');
  const hmac = (salt: string, domain: string, body: string) =>
    createHmac('sha256', bytes(salt)).update(`${domain}\0`).update(value(body)).digest('hex');
  assert.is(hmac('request salt', 'vouch/v1/request', 'request body'), value('request digest'));
  assert.is(hmac('response salt', 'vouch/v1/response', 'response body'), value('response digest'));
  const id = createHash('sha256').update('vouch/v1/receipt-id\0enclave-1\0').update(bytes('request nonce'));
  assert.is(id.digest('hex').slice(0, 32), value('receipt id'));

  const signed = encode(
    ['Signature1', bytes('protected header'), new Uint8Array(), bytes('payload (claims)')],
    rfc8949EncodeOptions,
  );
  assert.equal(Buffer.from(signed), bytes('signed bytes'));
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: bytes('receipt key').toString('base64url') },
    format: 'jwk',
  });
  assert.ok(verifySignature(null, signed, key, bytes('signature')));
  const claims = decode(bytes('payload (claims)')) as Record<string, unknown>;
  assert.equal(
    Object.keys(claims).sort(),
    [
      ...document
        .split('## 9. Receipts')[1]!
        .split('```')[0]!
        .matchAll(/^\| `(\w+)` \|/gm),
    ]
      .map(([, k]) => k!)
      .sort(),
  );
  assert.is(claims.id, value('receipt id'));

  const bundle = fromBase64url(value('bundle (base64url)'));
  assert.is(digest(bundle), value('bundle digest'));
  const question = {
    policy: parsePolicy(jsonIn(block('example policy'))[0]),
    now: NOW,
    nonce: value('request nonce'),
    request: { salt: bytes('request salt'), body: utf8(value('request body')) },
    response: { salt: bytes('response salt'), body: utf8(value('response body')) },
  };
  const report = await verifyReceipt(bundle, question);
  assert.is(report.verdict, 'accept', JSON.stringify(report.checks));
  for (let at = 0; at < bundle.length; at += 97) {
    const changed = bundle.slice();
    changed[at]! ^= 1;
    assert.is((await verifyReceipt(changed, question)).verdict, 'reject', `byte ${at}`);
  }
  const other = { ...question.response, body: utf8('[0,"good",[-28,37]]') };
  assert.is((await verifyReceipt(bundle, { ...question, response: other })).verdict, 'reject');

  const answer = jsonIn(block('example inference')).find((json) => 'receiptDigest' in (json as object));
  const { receipt, receiptDigest, decision, label } = parse(AnswerPlaintext, answer, 'answer');
  assert.equal([receipt, receiptDigest], [value('bundle (base64url)'), value('bundle digest')]);
  assert.is(canonicalJson([decision, label]), value('response body'));
});

const manifest = () => verifyManifest(bodyOf(PublishedManifest, 'example manifest')).manifest;
const architecture = (): Architecture => parseArchitecture(manifest().architecture);

test('cells become the features and logits shown, and the commitment recomputes', async () => {
  const value = valuesOf('example commitment');
  const shape = architecture();
  const bytes = encode(shape, rfc8949EncodeOptions);
  assert.equal(Buffer.from(bytes).toString('hex'), value('architecture bytes'));
  assert.is(digest(bytes), value('architecture digest'));
  const R = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
  const element = BigInt(`0x${digest(bytes)}`) % R;
  assert.is(element.toString(), value('architecture element'));
  assert.ok(document.includes(`r = ${R}`));

  const weights = JSON.parse(value('weights')) as number[][];
  const biases = JSON.parse(value('biases')) as number[][];
  const parameters = {
    layers: weights.map((list, l) => ({ weights: Int32Array.from(list), bias: Int32Array.from(biases[l]!) })),
  };
  let packed = 0n;
  let at = 0n;
  shape.layers.forEach(({ weightBits, biasBits }, l) => {
    const add = (bits: number) => (parameter: number) => {
      packed |= BigInt(parameter + 2 ** (bits - 1)) << at;
      at += BigInt(bits);
    };
    weights[l]!.forEach(add(weightBits));
    biases[l]!.forEach(add(biasBits));
  });
  assert.is(packed.toString(), value('packed elements'));
  assert.equal(packParameters(shape, parameters), [packed]);
  assert.is(poseidonChain([packed]).toString(), value('parameter root'));
  const salt = BigInt(`0x${value('salt')}`);
  assert.is(salt.toString(), value('salt element'));
  const commitment = poseidon([1n, element, salt, BigInt(value('parameter root'))]).toString();
  assert.is(commitment, value('commitment'));
  assert.is(commitment, manifest().commitment);
  assert.is(poseidon([1n]).toString(), value('Poseidon(1)'));
  assert.is(poseidon([1n, 2n]).toString(), value('Poseidon(1, 2)'));
  const seventeen = Array.from({ length: 17 }, (_, i) => BigInt(i + 1));
  const first = poseidon(seventeen.slice(0, 16));
  assert.is(poseidon([first, 17n]).toString(), value('chain of 1 to 17'));

  const shown = valuesOf('example preprocessing');
  const features = preprocess(shape.preprocessing, JSON.parse(shown('cells')));
  assert.equal([...features], JSON.parse(shown('features')));
  const { logits } = evaluate({ architecture: shape, parameters }, features);
  assert.equal([...logits], JSON.parse(shown('logits')));
  // The bounds by the formula of the document.
  let sum = 1 + 1 + 1 + 7 + 3;
  for (const { weightBits, biasBits, shift, accumulator, output, outputs } of shape.layers) {
    assert.is(
      accumulator,
      sum * 2 ** (weightBits - 1) + 2 ** (biasBits - 1) + (shift ? 2 ** (shift - 1) : 0),
    );
    assert.is(output, Math.floor(accumulator / 2 ** shift));
    sum = output * outputs;
  }
});

test('the released key opens, and opens the model that the manifest commits to', async () => {
  const value = valuesOf('example release');
  const { sealedKey } = bodyOf(ReleaseReply, 'example release');
  const aad = utf8(value('model aad'));
  assert.is(value('model aad'), `vouch/v1/model/${manifest().name}/${manifest().commitment}`);
  const keys = await sealingKeys('enclave-1 HPKE key');
  const { plaintext: key } = await open(keys, fromBase64url(sealedKey), { info: SEALING_INFO.release, aad });
  assert.equal(key, fromHex(value('model key')));
  const secret = await decryptBlob(key, fromHex(value('sealed model')), aad);
  assert.equal(secret, fromHex(value('model secret')));
  assert.is(commit(decodeSecret(architecture(), secret)).toString(), manifest().commitment);
});

test('two of the three pieces give the released key, and each has its commitment', () => {
  const value = valuesOf('example shares');
  const shares = KeyShares.parse(jsonIn(block('example shares'))[0]);
  const pieces = [1, 2, 3].map((number) => ({ number, bytes: fromHex(value(`piece ${number}`)) }));
  for (const piece of pieces) assert.ok(isCommitted(piece, shares));
  const key = valuesOf('example release')('model key');
  for (const left of pieces) {
    const others = pieces.filter((piece) => piece !== left);
    assert.equal(combineKey(others, shares), fromHex(key));
  }
});

test('the audit chain holds, link by link', () => {
  const value = valuesOf('example audit');
  const records = ['record 1', 'record 2'].map((name) => fromHex(value(name)));
  const { records: read, head, broken } = verifyChain(fromHex(value('audit key')), records);
  assert.is(broken, undefined);
  assert.is(head, value('head'));
  assert.is(digest(records[0]!), read[1]!.previous);
  assert.equal(
    read.map(({ decision, code }) => [decision, code]),
    [
      ['released', null],
      ['refused', 'policy-rejected'],
    ],
  );
});

test('the blob is named by its manifest, and is the test set of the statement', () => {
  const value = valuesOf('example blob');
  assert.is(digest(value('test set')), value('test set chunk'));
  assert.is(digest(value('manifest')), value('blob digest'));
  assert.equal(JSON.parse(value('manifest')), jsonIn(block('example blob'))[0]);
  assert.is(canonicalJson(JSON.parse(value('test set'))), value('test set'));
  decodeTestSet(architecture(), utf8(value('test set')));
  assert.is(askedOf(bodyOf(PublishedProof, 'example proof').record.statement).testSet, value('blob digest'));
});

test('the proof verifies, is signed, and a change of it is refused', async () => {
  const { record, maker, signature } = bodyOf(PublishedProof, 'example proof');
  const { statement, publicSignals } = record;
  const recordDigest = digest(canonicalJson(record));
  assert.is(recordDigest, valuesOf('example proof')('record digest'));
  const { nonce } = record;
  assert.is(digest(`vouch/v1/proof-job\0${canonicalJson({ nonce, statement })}`), record.job);
  const { prover } = await policies();
  const question = { document: maker, policy: prover, now: new Date(record.time) };
  const evidence = await verifyEvidence({
    ...question,
    nonce: recordDigest,
    modelCommitment: statement.commitment,
  });
  assert.is(evidence.verdict, 'accept', JSON.stringify(evidence.checks));
  const signed = verifyStatement(
    fromBase64url(maker.receiptKey!),
    PROOF_CONTENT_TYPE,
    fromBase64url(signature),
    {
      maxPayloadBytes: 32,
    },
  );
  assert.equal(signed, sha256(utf8(canonicalJson(record))));
  assert.equal(publicSignals, [statement.commitment, String(askedOf(statement).threshold)]);
  assert.is(statement.commitment, manifest().commitment);
  const key = record.verificationKey as unknown as VerificationKey;
  assert.ok(verify(key, publicSignals, record.proof), 'the pairing equation');
  assert.not.ok(verify(key, [publicSignals[0]!, '6'], record.proof), 'another threshold');
});

test.run();
