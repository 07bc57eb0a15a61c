/**
 * WGSL for a point's coordinate, `El`: an element of Fq in G1, of Fq2 = Fq[u]/(u^2 + 1) in G2, so that one template
 * serves both groups. Same rules as field.ts: el_mul has one call site per kernel (and has one of fe_mul).
 */
import type { Group } from '../../../circuits/groth16/point.ts';
import { POINT_BYTES } from '../../../protocols/bn254.ts';
import { emitAccess, emitField, FIELDS, type FieldVariant } from './field.ts';

/** Bytes of a coordinate. */
export const COORDINATE_BYTES = {
  G1: POINT_BYTES.G1 / 2,
  G2: POINT_BYTES.G2 / 2,
} as const satisfies Record<Group, number>;
/** Multiplications in Fq that one of coordinates takes. */
export const COORDINATE_WORK = { G1: 1, G2: 3.3 } as const satisfies Record<Group, number>;

export function emitCoordinate(group: Group, variant: FieldVariant): string {
  return `${emitField({ modulus: FIELDS.Fq, variant })}
${group === 'G1' ? BASE : EXTENSION}`;
}

/** el_load_x(i) and el_store_x(i, value) for `x: array<vec4u>`. */
export function emitCoordinates(group: Group, array: string, access: 'read' | 'read_write' = 'read'): string {
  const fe = emitAccess(array, access);
  if (group === 'G1') {
    const load = `fn el_load_${array}(i: u32) -> El { return fe_load_${array}(i); }\n`;
    const store = `fn el_store_${array}(i: u32, value: El) { fe_store_${array}(i, value); }\n`;
    return fe + load + (access === 'read' ? '' : store);
  }
  const load = `fn el_load_${array}(i: u32) -> El {
  return El(fe_load_${array}(2u * i), fe_load_${array}(2u * i + 1u));
}
`;
  const store = `fn el_store_${array}(i: u32, value: El) {
  fe_store_${array}(2u * i, value.re);
  fe_store_${array}(2u * i + 1u, value.im);
}
`;
  return fe + load + (access === 'read' ? '' : store);
}

const BASE = `alias El = Fe;
const EL_ZERO = FE_ZERO;
const EL_ONE = FE_ONE;
fn el_add(a: El, b: El) -> El { return fe_add(a, b); }
fn el_sub(a: El, b: El) -> El { return fe_sub(a, b); }
fn el_neg(a: El) -> El { return fe_neg(a); }
fn el_mul(a: El, b: El) -> El { return fe_mul(a, b); }
fn el_is_zero(a: El) -> bool { return fe_is_zero(a); }
fn el_equal(a: El, b: El) -> bool { return fe_equal(a, b); }
fn el_select(no: El, yes: El, condition: bool) -> El { return fe_select(no, yes, condition); }
`;

const EXTENSION = `struct El { re: Fe, im: Fe }
const EL_ZERO = El(FE_ZERO, FE_ZERO);
const EL_ONE = El(FE_ONE, FE_ZERO);
fn el_add(a: El, b: El) -> El { return El(fe_add(a.re, b.re), fe_add(a.im, b.im)); }
fn el_sub(a: El, b: El) -> El { return El(fe_sub(a.re, b.re), fe_sub(a.im, b.im)); }
fn el_neg(a: El) -> El { return El(fe_neg(a.re), fe_neg(a.im)); }
// Karatsuba: (a.re b.re - a.im b.im) + ((a.re + a.im)(b.re + b.im) - a.re b.re - a.im b.im) u
fn el_mul(a: El, b: El) -> El {
  var re = FE_ZERO;
  var im = FE_ZERO;
  for (var part = 0u; part < 3u; part++) {
    var x: Fe;
    var y: Fe;
    switch part {
      case 0: { x = a.re; y = b.re; }
      case 1: { x = a.im; y = b.im; }
      default: { x = fe_add(a.re, a.im); y = fe_add(b.re, b.im); }
    }
    let product = fe_mul(x, y);
    switch part {
      case 0: { re = product; im = fe_neg(product); }
      case 1: { re = fe_sub(re, product); im = fe_sub(im, product); }
      default: { im = fe_add(im, product); }
    }
  }
  return El(re, im);
}
fn el_is_zero(a: El) -> bool { return fe_is_zero(a.re) && fe_is_zero(a.im); }
fn el_equal(a: El, b: El) -> bool { return fe_equal(a.re, b.re) && fe_equal(a.im, b.im); }
fn el_select(no: El, yes: El, condition: bool) -> El {
  return El(fe_select(no.re, yes.re, condition), fe_select(no.im, yes.im, condition));
}
`;
