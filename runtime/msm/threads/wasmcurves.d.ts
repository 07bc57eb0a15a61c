/** What is used of wasmcurves' prebuilt BN254 ("bn128") module; the package has no types. */
declare module 'wasmcurves/build/bn128_wasm.js' {
  const bn128: {
    /** The WebAssembly module, base64. It imports env.memory and keeps its allocation pointer at address 0. */
    readonly code: string;
    /** Addresses in memory of the generators, Jacobian in Montgomery form. */
    readonly pG1gen: number;
    readonly pG2gen: number;
    /** Bytes of a point that is prepared for a pairing. */
    readonly prePSize: number;
    readonly preQSize: number;
  };
  export default bn128;
}
