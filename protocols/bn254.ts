/** What the curve BN254 (EIP-196, also called bn128) says about sizes: the order of its scalars, and bytes on the wire. */

/** Order of the scalar field, which is that of G1 and G2. */
export const FIELD_ORDER = 21888242871839275222246405745257275088548364400416034343698204186575808495617n;
/** Bytes of one scalar, and of one coordinate over the base field. */
export const SCALAR_BYTES = 32;
/** Bytes of one affine point: two coordinates in G1, four in G2. */
export const POINT_BYTES = { G1: 2 * SCALAR_BYTES, G2: 4 * SCALAR_BYTES } as const;
