/**
 * docs/COMMANDS.md, made from the commands' own help, and beside it the schema of vouch.config.json. Run as a program it writes
 * both files: `npm run commands`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { addCommands } from '../../../runtime/commands/commands.ts';
import { configurationSchema } from '../../../runtime/commands/configuration.ts';

export const REFERENCE = fileURLToPath(new URL('../../../docs/COMMANDS.md', import.meta.url));
const WIDTH = 100;

const HEAD = `# Commands

In a clone the command line is \`./runtime/vouch.mjs\`; \`npm start\` is its \`demo\`. What a program reads goes to stdout,
everything else to stderr. Exit codes: 0 done, 1 failed or refused, 2 wrong use (one sentence says what was wrong, what was
expected and what to do), 130 stopped by Ctrl-C. \`VOUCH_HOME\` names the folder to use instead of the checkout's \`.vouch\`;
options that need not be typed may stand in its \`vouch.config.json\` ([OPERATING.md](OPERATING.md)).

## By example

While \`npm start\` is up, in a second terminal:

\`\`\`sh
vouch status                                  # actors, their states, and why one has failed
vouch infer MODEL applications.csv            # or - for stdin; JSON or CSV
vouch infer MODEL FILE --receipts DIR --vendor KEY   # every decision is kept; the model has to be this vendor's
vouch prove MODEL                             # another proof of the model's quality; Ctrl-C takes it back
vouch cancel JOB                              # so does this, from another terminal
vouch invite worker --ttl 12h > FILE          # a link, a secret, for a worker on another host (npm start -- --listen HOST)
vouch join FILE                               # and there: finds the GPU, tests it, joins; or - for standard input
vouch creds runner enclave gpu --id h2 --out DIR   # what other actors on another host need
vouch start enclave gpu runner --model NAME --nats URL --creds DIR   # and there: they join, once NATS answers
vouch provision --nats URL                    # streams and buckets on a server of your own; can be repeated
vouch drain worker w7                         # it finishes its shard, and its process ends
vouch start gpu --pci 0000:65:00.0            # as root: hands a GPU to a VM, gives it back on Ctrl-C
vouch model add NAME FILE.onnx --data ROWS    # a model of your own, for rows of the same format
vouch model add NAME FILE.onnx --data ROWS --terms FILE    # what may be asked of it, what answers hold
vouch vendor show                             # the key that signs your models: what clients pin
vouch model add NAME FILE.onnx --data ROWS --brokers 2/3   # any two of three key-brokers give its key back
vouch start broker --id broker-2              # one of them, here or where .vouch/broker/broker-2 was carried
vouch audit                                   # what key-brokers released and refused, each link checked
vouch creds auditor --id a1 --out DIR         # so that somebody elsewhere may read those records, and nothing else
vouch revoke w7                               # its credentials are void, at once on the running server
vouch pardon w7                               # it was convicted of a wrong result, and may work again
vouch setup --ptau FILE                       # the real ceremony path, with snarkjs
\`\`\`

Without a running Vouch, and offline:

\`\`\`sh
vouch verify receipt.cose --policy FILE --collateral DIR --at TIME   # all of a receipt: CPU, GPUs, model
vouch verify DIR                                         # every decision that vouch infer kept there
vouch verify receipt.cose --application ROW --answer A --salts FILE   # that it is of this application
vouch verify proof.json --test-set FILE                  # a proof, and the rows that it is about
vouch scenario run credit-risk                           # a model from a table to a verified proof, on this host
vouch model lint FILE.onnx --dictionary D --data ROWS    # every reason why it cannot be proved, or what it costs
vouch data seal ROWS --dictionary D --out FILE           # a root of a test set, for vouch vendor log --add, before the model
vouch verify proof.json --test-set FILE --manifest M --log LOG   # and whether these rows were fixed before the model
vouch verify QUOTE COLLATERAL... --at TIME               # raw evidence: SEV-SNP, TDX, SGX, NVIDIA GPU, TPM 2.0
vouch evidence --nonce HEX                               # what this host can attest to: its TEE, or SIMULATED
vouch collateral add FILE...                             # keep collateral, by digest
vouch collateral fetch EVIDENCE MANIFEST...              # ask vendors what they have revoked, and keep it
vouch policy init QUOTE COLLATERAL... --out FILE         # a strict policy that this evidence meets
vouch policy explain FILE                                # what it accepts, in plain words
vouch groth16 prove KEY.zkey WITNESS.wtns                # and fullprove, verify: as snarkjs's g16p, g16f, g16v
vouch groth16 prove KEY.zkey WITNESS.wtns --tables 768   # MiB of tables, kept: less time for later proofs
vouch groth16 prove KEY.zkey WITNESS.wtns --engine auto  # on the GPU and on threads at once; webgpu, wasm
vouch zkey export verificationkey KEY.zkey VK.json       # and solidityverifier, soliditycalldata: zkev, zkesv, zkesc
vouch wtns calculate CIRCUIT.wasm INPUT.json             # and check; vouch r1cs info: wc, wchk, ri
vouch plan --workers FILE --domain 2^22                  # MODELLED: what a proof would take on these machines
vouch zkey verify C.r1cs FILE.ptau KEY.zkey              # the whole key, against circuit and powers of tau
\`\`\`

- Evidence files are recognised by content, in any order: [EVIDENCE.md](EVIDENCE.md) has a table of platforms.
  \`--policy\` takes \`genuine\`, \`strict\` or a file everywhere; a policy is one JSON file ([policy.schema.json](policy.schema.json)). A required check that could not be made is a failure.
- \`--vendor\` takes a public key or fingerprint as \`vendor show\` prints them. Without it the vendor seen first under a model's
  name is remembered in \`.vouch/vendors.json\`; another one is refused until \`--vendor\` names it.
- \`infer\` keeps each decision in \`.vouch/receipts\` or \`--receipts\`, mode 0600: \`<id>.cose\` the receipt, \`<id>.json\` application,
  answer and nonces, \`<id>.salts\` the salts. \`verify DIR\` believes what lies there as your own. Deleting a salt erases the link between the receipt and the application.
- What a verdict could not compare is \`skipped\`, never \`pass\`, and named in its last line, \`not checked\`.
- \`--terms\` is JSON, whose members docs/PROTOCOL.md lists in section 10; what it leaves out is the default.
- \`infer\` reads lines of cells separated by commas or spaces, with or without a header and the label column, or JSON: an
  array of cells, an object by column name, or an array of such. All rows are checked before the first is sealed.
- \`creds\` writes NATS credentials, the policies by which that actor judges others, and a SIMULATED platform certified by this
  installation: whoever holds the folder can be that actor and make evidence that this installation accepts.
- \`audit FILE\` checks a broker's records offline, from \`--out\` or \`.vouch/audits\`; \`--head DIGEST\` demands that a record
  seen before is still among them.

The rest is what \`vouch COMMAND --help\` says, of every command (made by \`npm run commands\`, do not edit).
`;

/** The whole text of the reference. */
export async function reference(): Promise<string> {
  const program = new Command('vouch').helpCommand(false);
  await addCommands(program, () => true);
  return `${HEAD}\n${program.commands.flatMap((command) => sections(command, 'vouch')).join('\n')}`;
}

function sections(command: CommandUnknownOpts, parent: string): string[] {
  const name = `${parent} ${command.name()}`;
  command.configureHelp({ helpWidth: WIDTH }).helpCommand(false);
  const inner = command.commands.flatMap((sub) => sections(sub, name));
  const own = `${'#'.repeat(name.split(' ').length)} ${name}\n\n\`\`\`\n${command.helpInformation().trimEnd()}\n\`\`\`\n`;
  return [own, ...inner];
}

if (import.meta.main) {
  writeFileSync(REFERENCE, await reference());
  const schema = new URL('../../../docs/vouch.config.schema.json', import.meta.url);
  const now = configurationSchema();
  // What says the same stays as it was formatted.
  if (!isDeepStrictEqual(JSON.parse(readFileSync(schema, 'utf8')), JSON.parse(JSON.stringify(now))))
    writeFileSync(schema, `${JSON.stringify(now, null, 2)}\n`);
}
