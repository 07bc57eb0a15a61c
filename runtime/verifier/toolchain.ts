/**
 * What circuits are compiled with, which is part of a circuit's digest. Where there is no disk, in a page and in the package,
 * this file is replaced by one that holds the same as a constant (runtime/bundle.mjs).
 */
export { circuitToolchain } from '../prove/circuit-compiler.ts';
