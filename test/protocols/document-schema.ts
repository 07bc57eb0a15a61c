/** Markdown tables of docs/PROTOCOL.md, and how a schema becomes one: a row per field with its type and meaning. */
import { z } from 'zod';
import { Column } from '../../circuits/model/preprocessing.ts';
import { EvidenceDocument } from '../../protocols/attestation/document.ts';
import * as proof from '../../protocols/proof.ts';
import { WireError } from '../../protocols/wire-error.ts';

export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
export const code = (text: string | number): string => `\`${String(text).replaceAll('|', '\\|')}\``;

interface Schema {
  readonly type?: string | string[];
  readonly title?: string;
  readonly description?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly propertyNames?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly default?: unknown;
}

export const jsonSchema = (schema: z.ZodType): Schema => z.toJSONSchema(schema, { io: 'input' }) as Schema;

/** Shapes that have a table of their own; elsewhere their name stands for them. */
const NAMED: readonly (readonly [string, z.ZodType])[] = [
  ['evidence document', EvidenceDocument],
  ['statement', proof.Statement],
  ['quality statement', proof.QualityStatement],
  ['inference statement', proof.InferenceStatement],
  ['hidden inference statement', proof.HiddenInferenceStatement],
  ['proof record', proof.ProofRecord],
  ['Groth16 proof', proof.Groth16Proof],
  ['error', WireError],
  ['column', Column],
];
const bare = ({ description: _, ...rest }: Schema & { $schema?: string }): string => {
  const { $schema: __, ...shape } = rest;
  return JSON.stringify(shape);
};
const named = new Map(NAMED.map(([name, schema]) => [bare(jsonSchema(schema)), name]));

function typeOf(schema: Schema): string {
  const name = named.get(bare(schema)) ?? schema.title;
  if (name !== undefined) {
    return schema.maxLength === undefined ? name : `${name}, at most ${schema.maxLength} characters`;
  }
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum) return `one of ${schema.enum.map((value) => code(JSON.stringify(value))).join(', ')}`;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(typeOf).join(' or ');
  if (schema.format === 'date-time') return 'time';
  switch (schema.type) {
    case 'null':
      return '`null`';
    case 'array':
      return `list of ${grouped(typeOf(schema.items ?? {}))}${range(schema.minItems ?? 0, schema.maxItems, 'entries')}`;
    case 'object': {
      if (typeof schema.additionalProperties === 'object' && !schema.properties) {
        const value = typeOf(schema.additionalProperties);
        return value === 'any' ? 'object' : `map to ${grouped(value)}`;
      }
      return 'object';
    }
    case 'string':
      return schema.pattern
        ? `text matching ${code(schema.pattern)}`
        : `text${range(schema.minLength ?? 0, schema.maxLength, 'characters')}`;
    case 'integer':
      return `integer${between(schema.minimum, schema.maximum)}`;
    case 'number':
      return `number${between(schema.minimum, schema.maximum)}`;
    case 'boolean':
      return 'boolean';
    default:
      return 'any';
  }
}

const grouped = (type: string): string => (/, /.test(type) ? `(${type})` : type);

function range(least: number, most: number | undefined, unit: string): string {
  if (most === undefined) return least > 0 ? `, at least ${least} ${unit}` : '';
  if (least === most) return `, ${most} ${unit}`;
  return least === 0 ? `, at most ${most} ${unit}` : `, ${least} to ${most} ${unit}`;
}

function between(least?: number, most?: number): string {
  const open = most === undefined || most >= Number.MAX_SAFE_INTEGER;
  if (least === undefined || least <= Number.MIN_SAFE_INTEGER) return '';
  return open ? `, at least ${least}` : `, ${least} to ${most}`;
}

/** One row per field; a nested object's fields follow it with dotted names, a list's with `[]`. */
function fields(schema: Schema, notes: Readonly<Record<string, string>>, path = ''): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([field, value]) => {
    const name = `${path}${field}`;
    const optional = !schema.required?.includes(field);
    const standard = value.default === undefined ? '' : `; default ${code(JSON.stringify(value.default))}`;
    const row = [
      code(name),
      `${typeOf(value)}${optional ? ', optional' : ''}${standard}`,
      value.description ?? notes[name] ?? '',
    ];
    if (named.has(bare(value))) return [row];
    const nested = value.items?.properties
      ? fields(value.items, notes, `${name}[].`)
      : fields(value, notes, `${name}.`);
    return named.has(bare(value.items ?? {})) ? [row] : [row, ...nested];
  });
}

export function schemaTable(schema: z.ZodType, notes: Readonly<Record<string, string>> = {}): string {
  const json = jsonSchema(schema);
  const rows = fields(json, notes);
  const unknown =
    json.additionalProperties === false ? 'An unknown field is an error.' : 'Unknown fields are ignored.';
  return rows.length === 0
    ? 'An empty object.'
    : `${table(['field', 'type', 'meaning'], rows)}\n\n${unknown}`;
}
