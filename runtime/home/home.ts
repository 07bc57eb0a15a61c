/**
 * The folder `.vouch` and what lies in it. Everything that a start makes lives here and nowhere else:
 *
 *   keys/      NATS seeds, the TLS authority, the simulated root, the vendor key, audit keys (secret, 0600)
 *   creds/     NATS credentials per role and id                         (secret, 0600)
 *   audits/    the key-brokers' own copies of what they have released and refused
 *   broker/    model keys and their policies; a folder for each broker's shares (secret, 0600)
 *   gpu/       which driver a GPU that a VM has came from
 *   nats/      nats-server's configuration pieces and data
 *   cache/     circuits, proving keys, blobs: content-addressed, may be deleted at any time; compiled code
 *   joined/    credentials of workers here that an invitation brought    (secret, 0600)
 *   models/    what the vendor's side made: ONNX files, test sets, salted parameters (secret, 0600)
 *   policies/  what this installation demands of evidence
 *   setups/    where each proving key came from
 *   receipts/  kept decisions: receipts, applications, answers, salts   (0600)
 *   proofs/  logs/
 *   turns/     sockets by which runners tell workers on the same GPU that they use it
 *   vouch.config.json   options that need not be typed, where its owner has written one
 *   vendors.json   whose models were seen here, by name
 *   context.json   what runs now, for commands in other terminals
 *   running    the process id of the `npm start` that uses this folder
 */
import path from 'node:path';

/**
 * The checkout (or the packed package) that this file belongs to. Bundled into a script of somebody else's it has no place
 * of its own; then it is the folder that the process runs in.
 */
export const PACKAGE_ROOT = import.meta.dirname
  ? path.resolve(
      import.meta.dirname,
      // A checkout runs TypeScript; the packed package runs the JavaScript of its folder `dist`.
      import.meta.filename.endsWith('.ts') ? '../..' : '../../..',
    )
  : process.cwd();

/** The environment variable that tells a process that another of ours has started it: it ends with its stdin. */
export const LIFELINE = 'VOUCH_LIFELINE';

/** `$VOUCH_HOME`, else `.vouch` in the current folder's checkout. */
export function vouchHome(): string {
  return path.resolve(process.env.VOUCH_HOME ?? path.join(PACKAGE_ROOT, '.vouch'));
}

/** `$VOUCH_CONFIG`, else `vouch.config.json` in the home folder. */
export const configurationFile = (): string =>
  path.resolve(process.env.VOUCH_CONFIG ?? path.join(vouchHome(), 'vouch.config.json'));

export const folder = (...parts: string[]): string => path.join(vouchHome(), ...parts);
