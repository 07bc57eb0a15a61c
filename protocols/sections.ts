/** The sections of points of a Groth16 proving key; each has one sum in a proof. */
export const SECTIONS = ['A', 'B1', 'B2', 'C', 'H'] as const;
export type Section = (typeof SECTIONS)[number];
