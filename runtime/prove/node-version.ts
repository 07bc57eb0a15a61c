/** Loaded before anything that needs it: says by name which Node the prover needs, instead of failing at what an older one lacks. */
const NODE_MAJOR = 24;
const version = (globalThis as { process?: { versions?: { node?: string } } }).process?.versions?.node;

if (version !== undefined && Number.parseInt(version, 10) < NODE_MAJOR) {
  throw new Error(
    `vouch/prover needs Node ${NODE_MAJOR} or later, and this is Node ${version}: install it from https://nodejs.org, or run this with npx node@${NODE_MAJOR}`,
  );
}

export {};
