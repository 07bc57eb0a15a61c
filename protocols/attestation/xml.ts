/**
 * XML, as far as signed manifests need it: a small, bounded parser for namespace-aware documents (XML 1.0 and
 * Namespaces 1.0) and Canonical XML 1.1 without comments. What is canonicalised and what is read afterwards is
 * one tree, so nothing can be signed in one reading and used in another.
 *
 * Refused, although XML allows it: document types (and with them all entities but the five predefined ones),
 * processing instructions, other encodings than UTF-8, and xml:base and xml:id, whose rules it therefore lacks.
 */
import { fromUtf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { MAX_XML_BYTES } from './limits.ts';

/** NVIDIA's manifests have 20 KiB and some 100 elements. */
const MAX_ELEMENTS = 4096;
const MAX_DEPTH = 32;
/** Namespaces in scope; every element that declares one copies them all. */
const MAX_SCOPE = 64;
const XML_NAMESPACE = 'http://www.w3.org/XML/1998/namespace';

export interface XmlAttribute {
  readonly name: string;
  readonly local: string;
  /** '' = none */
  readonly namespace: string;
  readonly value: string;
}

export interface XmlElement {
  readonly name: string;
  readonly local: string;
  readonly namespace: string;
  readonly attributes: readonly XmlAttribute[];
  /** prefix ('' = default) -> namespace, all that are in scope */
  readonly scope: ReadonlyMap<string, string>;
  readonly parent: XmlElement | undefined;
  readonly children: readonly (XmlElement | string)[];
}

const NAME = /[A-Za-z_][A-Za-z0-9_.-]*(?::[A-Za-z_][A-Za-z0-9_.-]*)?/y;
const SPACE = /[ \t\n]*/y;
/** What XML 1.0 allows as text; anything else is not well-formed. */
const CHARACTERS = /^[\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]*$/u;
const SURROGATE = /[\ud800-\udfff]/;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

const NO_SCOPE: ReadonlyMap<string, string> = new Map();

/** The root element of a document; throws `bad-file`. */
export function parseXml(bytes: Uint8Array, what = 'XML'): XmlElement {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_XML_BYTES) refuse(`expected at most ${MAX_XML_BYTES} bytes, got ${bytes.length}`);
  // Line ends are one character everywhere (XML 1.0 section 2.11).
  const text = fromUtf8(bytes, what)
    .replace(/^\ufeff/, '')
    .replaceAll(/\r\n?/g, '\n');
  if (!CHARACTERS.test(text)) refuse('expected characters that XML allows');
  let at = 0;
  const match = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  const expect = (literal: string) => {
    if (!text.startsWith(literal, at)) refuse(`expected ${literal} at character ${at}`);
    at += literal.length;
  };
  const until = (literal: string): string => {
    const end = text.indexOf(literal, at);
    if (end < 0) return refuse(`expected ${literal} after character ${at}`);
    const found = text.slice(at, end);
    at = end + literal.length;
    return found;
  };
  const name = (): string => match(NAME) || refuse(`expected a name at character ${at}`);
  const comment = () => {
    expect('<!--');
    if (until('-->').includes('--')) refuse('expected no -- inside a comment');
  };
  const decode = (raw: string): string =>
    raw.replaceAll(/&([^;&]{0,9});?/g, (whole, entity: string) => {
      const digits = /^#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}))$/.exec(entity);
      if (digits !== null && whole.endsWith(';')) {
        const code = digits[1] === undefined ? Number(digits[2]) : Number.parseInt(digits[1], 16);
        const character = code <= 0x10ffff ? String.fromCodePoint(code) : '\0';
        return CHARACTERS.test(character) ? character : refuse(`character ${whole} is not allowed`);
      }
      const known = Object.hasOwn(ENTITIES, entity) && whole.endsWith(';');
      return known ? ENTITIES[entity]! : refuse('expected only predefined entities');
    });

  let elements = 0;
  const startTag = (parent: XmlElement | undefined) => {
    expect('<');
    if (++elements > MAX_ELEMENTS) refuse(`expected at most ${MAX_ELEMENTS} elements`);
    const qualified = name();
    const raw = new Map<string, string>();
    for (;;) {
      const space = match(SPACE);
      if (text.startsWith('>', at) || text.startsWith('/>', at)) break;
      if (space === '') refuse(`expected a space at character ${at}`);
      const attribute = name();
      match(SPACE);
      expect('=');
      match(SPACE);
      const quote = text[at] === "'" ? "'" : '"';
      expect(quote);
      const value = until(quote);
      if (value.includes('<')) refuse(`attribute ${attribute}: expected no <`);
      if (raw.has(attribute)) refuse(`attribute ${attribute}: expected it once`);
      // White space counts as a space (section 3.3.3), unless it is written as a character reference.
      raw.set(attribute, decode(value.replaceAll(/[\t\n]/g, ' ')));
    }
    const declarations = [...raw].filter(([attribute]) => /^xmlns(?::|$)/.test(attribute));
    const outer = parent?.scope ?? NO_SCOPE;
    const scope = declarations.length === 0 ? outer : new Map(outer);
    for (const [attribute, value] of declarations) {
      const prefix = attribute.slice(6);
      const reserved = prefix === 'xml' || prefix === 'xmlns' || (prefix !== '' && value === '');
      if (reserved) refuse(`${attribute}: not allowed`);
      (scope as Map<string, string>).set(prefix, value);
      if (scope.size > MAX_SCOPE) refuse(`expected at most ${MAX_SCOPE} namespaces in scope`);
    }
    const resolve = (prefix: string): string => {
      if (prefix === 'xml') return XML_NAMESPACE;
      return scope.get(prefix) ?? refuse(`prefix ${prefix} is not declared`);
    };
    const attributes = [...raw]
      .filter(([attribute]) => !/^xmlns(?::|$)/.test(attribute))
      .map(([attribute, value]): XmlAttribute => {
        const [prefix, local] = splitName(attribute);
        return { name: attribute, local, namespace: prefix === '' ? '' : resolve(prefix), value };
      });
    const unique = new Set(attributes.map(({ namespace, local }) => `${namespace} ${local}`));
    if (unique.size !== attributes.length) refuse(`${qualified}: expected each attribute once`);
    if (attributes.some(({ name: full }) => full === 'xml:base' || full === 'xml:id')) {
      refuse(`${qualified}: xml:base and xml:id are not taken`);
    }
    const [prefix, local] = splitName(qualified);
    const namespace = prefix === '' ? (scope.get('') ?? '') : resolve(prefix);
    const children: (XmlElement | string)[] = [];
    const element = { name: qualified, local, namespace, attributes, scope, parent, children };
    const empty = text[at] === '/';
    expect(empty ? '/>' : '>');
    return { element, children, empty };
  };

  if (text.startsWith('<?xml', at)) {
    const declaration = until('?>');
    const encoding = /encoding\s*=\s*["']([A-Za-z0-9._-]*)["']/.exec(declaration)?.[1] ?? 'UTF-8';
    if (!/^<\?xml\s+version\s*=\s*["']1\.0["']/.test(declaration) || encoding.toUpperCase() !== 'UTF-8') {
      refuse('expected XML 1.0 in UTF-8');
    }
  }
  const outside = () => {
    match(SPACE);
    while (text.startsWith('<!--', at)) {
      comment();
      match(SPACE);
    }
  };
  outside();
  const root = startTag(undefined);
  const open = root.empty ? [] : [root];
  while (open.length > 0) {
    const { element, children } = open.at(-1)!;
    if (text.startsWith('</', at)) {
      at += 2;
      expect(element.name);
      match(SPACE);
      expect('>');
      open.pop();
    } else if (text.startsWith('<!--', at)) comment();
    else if (text.startsWith('<![CDATA[', at)) {
      at += 9;
      children.push(until(']]>'));
    } else if (text[at] === '<') {
      const child = startTag(element);
      children.push(child.element);
      if (!child.empty && open.push(child) > MAX_DEPTH) refuse(`expected at most ${MAX_DEPTH} levels`);
    } else {
      const end = text.indexOf('<', at);
      if (end < 0) refuse(`expected </${element.name}>`);
      const run = text.slice(at, end);
      if (run.includes(']]>')) refuse('expected no ]]> in text');
      children.push(decode(run));
      at = end;
    }
  }
  outside();
  if (at !== text.length) refuse('expected nothing after the root element');
  return root.element;
}

function splitName(qualified: string): [prefix: string, local: string] {
  const colon = qualified.indexOf(':');
  return colon < 0 ? ['', qualified] : [qualified.slice(0, colon), qualified.slice(colon + 1)];
}

/** The child elements with this name, or all. */
export function elementsIn(element: XmlElement, namespace?: string, local?: string): XmlElement[] {
  return element.children.filter(
    (child): child is XmlElement =>
      typeof child !== 'string' &&
      (namespace === undefined ||
        (child.namespace === namespace && (local === undefined || child.local === local))),
  );
}

/** The text directly inside an element. */
export const textIn = ({ children }: XmlElement): string =>
  children.filter((child) => typeof child === 'string').join('');

/** An attribute's value; without a namespace, one that has none. */
export const attributeOf = ({ attributes }: XmlElement, local: string, namespace = ''): string | undefined =>
  attributes.find((attribute) => attribute.local === local && attribute.namespace === namespace)?.value;

/**
 * Canonical XML 1.1 of an element and all below it, without `omit`: as the whole document when it is the root,
 * else as a document subset, so that it starts with everything that is in scope.
 */
export function canonicalXml(apex: XmlElement, omit?: XmlElement): string {
  const parts: string[] = [];
  const write = (
    element: XmlElement,
    rendered: ReadonlyMap<string, string>,
    inherited: readonly XmlAttribute[],
  ) => {
    const declared = [...element.scope]
      .filter(([prefix, namespace]) => (rendered.get(prefix) ?? '') !== namespace)
      .sort(([a], [b]) => compare(a, b))
      .map(
        ([prefix, namespace]) =>
          ` ${prefix === '' ? 'xmlns' : `xmlns:${prefix}`}="${escapeAttribute(namespace)}"`,
      );
    const attributes = [...inherited, ...element.attributes]
      .sort((a, b) => compare(a.namespace, b.namespace) || compare(a.local, b.local))
      .map(({ name, value }) => ` ${name}="${escapeAttribute(value)}"`);
    parts.push(`<${element.name}`, ...declared, ...attributes, '>');
    for (const child of element.children) {
      if (typeof child === 'string') parts.push(escapeText(child));
      else if (child !== omit) write(child, element.scope, []);
    }
    parts.push(`</${element.name}>`);
  };
  write(apex, new Map(), inheritedAttributes(apex));
  return parts.join('');
}

/** xml:lang and xml:space that a document subset takes over from above (Canonical XML 1.1, section 2.4). */
function inheritedAttributes(apex: XmlElement): XmlAttribute[] {
  const found = new Map<string, XmlAttribute>();
  for (let above = apex.parent; above !== undefined; above = above.parent) {
    for (const attribute of above.attributes) {
      if (attribute.namespace !== XML_NAMESPACE || found.has(attribute.local)) continue;
      if (attributeOf(apex, attribute.local, XML_NAMESPACE) === undefined)
        found.set(attribute.local, attribute);
    }
  }
  return [...found.values()];
}

/** By code points, as the specification orders names; code units order the same where none is a surrogate. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  if (!SURROGATE.test(a) && !SURROGATE.test(b)) return a < b ? -1 : 1;
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

const TEXT: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '\r': '&#xD;' };
const ATTRIBUTE: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '"': '&quot;',
  '\t': '&#x9;',
  '\n': '&#xA;',
  '\r': '&#xD;',
};
const escapeText = (text: string): string => text.replaceAll(/[&<>\r]/g, (character) => TEXT[character]!);
const escapeAttribute = (text: string): string =>
  text.replaceAll(/[&<"\t\n\r]/g, (character) => ATTRIBUTE[character]!);
