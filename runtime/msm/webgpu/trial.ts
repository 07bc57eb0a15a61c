/**
 * The kernel that a field's variants are tried with: chains of multiplications, one per thread, which check a variant with
 * one link and time it with many.
 */
import { emitAccess, emitField, type FieldOptions } from './field.ts';
import { emitInterface, emitMain } from './interface.ts';

/**
 * results[i] = left[i] * right[i]^links, Montgomery's, for pairs that repeat every `pairs`. Buffers: left, right, results.
 */
export function emitTrial(options: FieldOptions): string {
  return `// Products by "${options.variant}", modulo ${options.modulus}
${emitInterface({
  params: ['threads', 'pairs', 'links'],
  buffers: { left: 'vec4u', right: 'vec4u', results: 'rw vec4u' },
})}
${emitField(options)}
${emitAccess('left')}${emitAccess('right')}${emitAccess('results', 'read_write')}
${emitMain(`  if (thread >= params.threads) { return; }
  var product = fe_load_left(thread % params.pairs);
  let factor = fe_load_right(thread % params.pairs);
  for (var link = 0u; link < params.links; link++) { product = fe_mul(product, factor); }
  fe_store_results(thread, product);`)}`;
}
