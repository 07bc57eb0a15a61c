/** The sections of points that a proving key has one sum for each, and the group of each. */
import type { Section } from '../../protocols/sections.ts';
import type { Group } from './point.ts';

export { SECTIONS, type Section } from '../../protocols/sections.ts';
export const SECTION_GROUP = { A: 'G1', B1: 'G1', B2: 'G2', C: 'G1', H: 'G1' } as const satisfies Record<
  Section,
  Group
>;
