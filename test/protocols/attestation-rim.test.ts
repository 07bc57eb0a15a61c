import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { DOMParser } from '@xmldom/xmldom';
import * as fc from 'fast-check';
import { C14nCanonicalization } from 'xml-crypto';
import { kindOf } from '../../protocols/attestation/evidence-files.ts';
import { isRim, parseRim } from '../../protocols/attestation/formats/rim.ts';
import { canonicalXml, elementsIn, parseXml } from '../../protocols/attestation/xml.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { flip } from './certificate-maker.ts';
import { type RimTrust, verifyRim } from './from-bytes.ts';
import { measured, rim, rimSigner } from './gpu-maker.ts';

const test = suite('reference integrity manifests', { timeoutMs: 60_000 });
const VECTORS = new URL('../../../shared/vectors/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, VECTORS)));
const present = existsSync(VECTORS);
const isRefusal = (error: unknown) => error instanceof VouchError;

const signer = await rimSigner();
const NOW = new Date('2026-01-01');
const trust: RimTrust = { revocation: 'if-present', now: NOW, roots: [signer.root] };
const failed = async (bytes: Uint8Array, change: Partial<RimTrust> = {}) => {
  const { verdict, checks } = await verifyRim(bytes, { ...trust, ...change });
  const found = checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
  assert.is(verdict, found.length === 0 ? 'accept' : 'reject', JSON.stringify(checks));
  return found;
};

interface Case {
  readonly path: string;
  readonly kind: string;
  readonly now: string;
  readonly verdict: string;
  readonly reason?: string;
}

test('every manifest that NVIDIA signed gets its expected verdict', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const all = JSON.parse(readFileSync(new URL('vectors.json', VECTORS), 'utf8')) as Case[];
  const cases = all.filter(({ kind }) => kind === 'nvidia-rim');
  assert.is(cases.length, 3);
  const REASONS: Readonly<Record<string, string>> = { xmldsig: 'rim.signature', chain: 'rim.chain' };
  for (const { path, now, verdict, reason } of cases) {
    const result = await verifyRim(read(path), { revocation: 'if-present', now: new Date(now) });
    assert.is(result.verdict, verdict, path);
    const ids = result.checks.filter(({ status }) => status === 'fail').map(({ id }) => id);
    assert.equal(ids, reason === undefined ? [] : [REASONS[reason]]);
    assert.is(kindOf(read(path))?.name, 'rim');
  }
  const driver = read('nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml');
  const late = await verifyRim(driver, { revocation: 'if-present', now: new Date('2027-01-01') });
  assert.match(late.checks.find(({ id }) => id === 'rim.chain-dates')?.detail ?? '', /is stale/);
});

test('one changed byte anywhere in a manifest is refused', async (t) => {
  if (!present) t.skip('../shared/vectors is absent');
  const bytes = read('nvidia/rims/NV_GPU_DRIVER_GH100_550.144.03.xml');
  const question: RimTrust = { revocation: 'if-present', now: new Date('2026-11-01') };
  for (let at = 0; at < bytes.length; at += 41) {
    assert.is((await verifyRim(flip(bytes, at), question)).verdict, 'reject', `byte ${at}`);
  }
});

test('Canonical XML is what xml-crypto writes', async (t) => {
  const compare = (bytes: Uint8Array) => {
    const root = parseXml(bytes);
    const signature = elementsIn(root, 'http://www.w3.org/2000/09/xmldsig#', 'Signature')[0]!;
    // biome-ignore lint/suspicious/noExplicitAny: two versions of xmldom disagree on the type of a node
    const theirs: any = new DOMParser().parseFromString(
      new TextDecoder().decode(bytes),
      'text/xml',
    ).documentElement;
    theirs.removeChild(theirs.getElementsByTagName('ds:Signature')[0]);
    assert.is(canonicalXml(root, signature), String(new C14nCanonicalization().process(theirs, {})));
  };
  compare(await rim(signer));
  if (!present) t.skip('../shared/vectors is absent');
  for (const file of readdirSync(new URL('nvidia/rims/', VECTORS))) compare(read(`nvidia/rims/${file}`));
});

test('Canonical XML: order, escapes, namespaces, comments, CDATA, line ends (examples of the specification)', () => {
  const canonical = (text: string) => canonicalXml(parseXml(utf8(text)));
  const text =
    '<?xml version="1.0"?>\r\n<!-- c -->\n<e b="2" a=\'1\' xmlns:z="u:z" z:a="4" xmlns="u:d" xmlns:y="u:y" y:a="3"/>\n';
  assert.is(canonical(text), '<e xmlns="u:d" xmlns:y="u:y" xmlns:z="u:z" a="1" b="2" y:a="3" z:a="4"></e>');
  assert.is(canonical('<a><![CDATA[<&>]]><!--x-->&#13;\r\n"</a>'), '<a>&lt;&amp;&gt;&#xD;\n"</a>');
  assert.is(canonical('<a b="&#9;\t&lt;&quot;&amp;\'>"/>'), '<a b="&#x9; &lt;&quot;&amp;\'>"></a>');
  assert.is(
    canonical('<a xmlns="u"><b xmlns="u"><c xmlns=""/></b></a>'),
    '<a xmlns="u"><b><c xmlns=""></c></b></a>',
  );
  const inner = elementsIn(
    parseXml(utf8('<a xmlns:p="u" xml:lang="en" xml:space="preserve"><b xml:lang="de"/></a>')),
  )[0]!;
  assert.is(canonicalXml(inner), '<b xmlns:p="u" xml:lang="de" xml:space="preserve"></b>');
});

test('XML that this reader does not take is refused', () => {
  const bad = [
    '',
    '<a',
    '<a>',
    '<a></b>',
    '<a/><b/>',
    '<a/>text',
    '<a b=1/>',
    '<a b="1"c="2"/>',
    '<a b="1" b="2"/>',
    '<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>',
    '<p:a/>',
    '<a b="<"/>',
    '<a>&unknown;</a>',
    '<a>&#0;</a>',
    '<a>& b</a>',
    '<a>]]></a>',
    '<a>\u0001</a>',
    '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    '<a><?php ?></a>',
    '<a xml:base="u"/>',
    '<a xmlns:p=""/>',
    '<a><!-- -- --></a>',
    '<?xml version="1.1"?><a/>',
    '<?xml version="1.0" encoding="latin1"?><a/>',
    '<a>'.repeat(40),
    `<a>${'<b/>'.repeat(5000)}</a>`,
    `<a ${Array.from({ length: 80 }, (_, i) => `xmlns:n${i}="u"`).join(' ')}/>`,
  ];
  for (const text of bad) assert.throws(() => parseXml(utf8(text)), isRefusal, text.slice(0, 40));
  assert.throws(() => parseXml(Uint8Array.of(0x3c, 0xff)), isRefusal);
  assert.throws(() => parseXml(new Uint8Array(300_000).fill(0x20)), /at most 131072/);
});

test('a manifest made here is accepted, and each fault is refused by its own check', async () => {
  const good = await rim(signer);
  assert.equal(await failed(good), []);
  assert.equal(await failed(good, { roots: undefined }), ['rim.chain']);
  assert.equal(await failed(good, { now: new Date('2040-01-01') }), ['rim.chain-dates']);
  assert.equal(await failed(good, { revocation: 'required' }), ['rim.chain-revocation']);
  assert.equal(await failed(good, { revocation: 'required', ocsp: signer.ocsp }), []);
  assert.equal(await failed(good, { revocation: 'required', ocsp: signer.ocsp.slice(1) }), [
    'rim.chain-revocation',
  ]);
  const revoked = [await signer.answer(4, { status: 'revoked', reason: 1 })];
  assert.equal(await failed(good, { ocsp: revoked }), ['rim.chain-revocation']);
  const changed = (from: string, to: string) => rim(signer, { after: (text) => text.replace(from, to) });
  assert.equal(await failed(await changed('name="m1"', 'name="m2"')), ['rim.digest']);
  assert.equal(await failed(await changed('index="60" active="False"', 'index="60" active="True"')), [
    'rim.digest',
  ]);
  const other = await rimSigner();
  assert.equal(await failed(await rim({ ...signer, key: other.key })), ['rim.signature']);
  assert.equal(await failed(await rim(other)), ['rim.chain']);
  assert.equal(await failed(await rim({ ...signer, chain: [...signer.chain, other.chain[0]!] })), [
    'rim.chain',
  ]);
  assert.equal(await failed(await rim({ ...signer, chain: signer.chain.toReversed() })), [
    'rim.signature',
    'rim.chain',
  ]);
});

test('a signature over less than the whole document, or two of them, is refused', async () => {
  const refused = async (change: (text: string) => string, reason: RegExp) => {
    const { verdict, checks } = await verifyRim(await rim(signer, { after: change }), trust);
    assert.is(verdict, 'reject');
    assert.match(checks[0]!.detail, reason);
  };
  const signature = /<ds:Signature [\s\S]*<\/ds:Signature>/;
  await refused((text) => text.replace(signature, '$&$&'), /expected one Signature/);
  await refused((text) => text.replace(signature, ''), /expected one Signature/);
  await refused((text) => text.replace('URI=""', 'URI="#part"'), /whole document/);
  await refused(
    (text) => text.replace(/<ds:Reference[\s\S]*<\/ds:Reference>/, '$&$&'),
    /expected one Reference/,
  );
  await refused((text) => text.replace('#enveloped-signature', '#base64'), /enveloped-signature/);
  await refused((text) => text.replace('xml-c14n11', 'xml-exc-c14n#'), /Canonical XML/);
  await refused((text) => text.replace('ecdsa-sha384', 'hmac-sha1'), /ECDSA/);
  // The signed document inside another one, whose own content nobody signed.
  const wrapped = (text: string) => {
    const inner = text.replace(/^<\?xml.*\?>\n/, '');
    const outer = inner.replace(signature, `<Extra>${inner}</Extra>`).replace('name="m1"', 'name="evil"');
    return outer;
  };
  await refused(wrapped, /expected one Signature/);
});

test('what a manifest lists is read strictly', async () => {
  const good = parseRim(await rim(signer, { active: new Map([[3, [measured(1), measured(3)]]]) }));
  assert.equal(good.measurements.get(3)?.values.length, 2);
  assert.is(good.kind, 'driver');
  assert.is(parseRim(await rim(signer, { version: '96.00.5E.00.01' })).kind, 'vbios');
  const bad: [RegExp | string, string][] = [
    ['index="1"', 'index="60"'],
    ['index="1"', 'index="-1"'],
    ['index="1"', 'index="300"'],
    ['active="True"', 'active="yes"'],
    ['alternatives="1"', 'alternatives="2"'],
    ['alternatives="1"', 'alternatives="0"'],
    ['alternatives="1"', 'alternatives="100"'],
    ['size="48"', 'size="32"'],
    [/h:Hash0="0202/, 'h:Hash0="zz02'],
    ['type="Measurement"', 'type="File"'],
    [/colloquialVersion="[^"]*"/, 'colloquialVersion="new"'],
    ['<Payload>', '<Payload><Other/>'],
  ];
  for (const [from, to] of bad) {
    const bytes = await rim(signer, { after: (text) => text.replace(from, to) });
    assert.throws(() => parseRim(bytes), isRefusal, to);
  }
  assert.throws(() => parseRim(utf8('<SoftwareIdentity/>')), isRefusal);
});

test('no bytes make the reader do anything but refuse, in time', async () => {
  const good = await rim(signer);
  const near = fc
    .array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 127 })), {
      minLength: 1,
      maxLength: 3,
    })
    .map((changes) => changes.reduce((bytes: Uint8Array, [at, mask]) => flip(bytes, at, mask), good));
  const tags = fc.array(fc.constantFrom('<a>', '</a>', '<', '>', '&', ';', '"', ' b="', '<!--', '-->', 'x'), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(
      fc.oneof(
        near,
        fc.uint8Array({ maxLength: 300 }),
        tags.map((parts) => utf8(parts.join(''))),
      ),
      (bytes) => {
        isRim(bytes);
        try {
          parseRim(bytes);
        } catch (error) {
          if (!isRefusal(error)) throw error;
        }
      },
    ),
    { numRuns: 400 },
  );
});

test.run();
