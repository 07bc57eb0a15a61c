/** Every command by name, in the order of the help, with what it is for and the file that declares it. */
import type { Command } from '@commander-js/extra-typings';

interface Entry {
  readonly name: string;
  readonly description: string;
  /** loads the command's file, which adds arguments, options and the action */
  load(): Promise<{ define(command: Command): unknown }>;
}

const COMMANDS: readonly Entry[] = [
  { name: 'demo', description: 'the main job, end to end (npm start)', load: () => import('./demo.ts') },
  {
    name: 'start',
    description: 'start actors on this host: enclave, gpu, runner, worker, coordinator, broker, monitor',
    load: () => import('./start.ts'),
  },
  {
    name: 'provision',
    description:
      'make the streams and buckets on a NATS server of your own, or the configuration to start one with',
    load: () => import('./provision.ts'),
  },
  {
    name: 'drain',
    description: 'let an actor finish what it has; it takes no more, and its process ends',
    load: () => import('./drain.ts'),
  },
  {
    name: 'status',
    description: 'who is there: actors, their states, and why one has failed',
    load: () => import('./status.ts'),
  },
  {
    name: 'doctor',
    description:
      'what is wrong with this host and its connection, and what to do; exit code 1 where something is',
    load: () => import('./doctor.ts'),
  },
  {
    name: 'completion',
    description: 'a script by which a shell completes commands and options: bash, zsh or fish',
    load: () => import('./completion.ts'),
  },
  {
    name: 'infer',
    description: 'seal applications to a model, print decisions and receipts',
    load: () => import('./infer.ts'),
  },
  {
    name: 'chat',
    description: 'talk with a model that answers in text: verifies first, streams, shows each receipt',
    load: () => import('./chat.ts'),
  },
  {
    name: 'gateway',
    description:
      "answer programs over HTTP (Open Inference Protocol, OpenAI's API): seals, verifies and keeps for them",
    load: () => import('./gateway.ts'),
  },
  {
    name: 'prove',
    description: 'demand a proof of the quality of a model',
    load: () => import('./prove.ts'),
  },
  {
    name: 'plan',
    description: 'what a proof would take on given machines, and what bounds it: a model, nothing is started',
    load: () => import('./plan.ts'),
  },
  {
    name: 'cancel',
    description: 'take back a proof that was demanded from here',
    load: () => import('./cancel.ts'),
  },
  {
    name: 'verify',
    description: 'verify whatever Vouch makes or reads, offline: a receipt, a proof, evidence',
    load: () => import('./verify.ts'),
  },
  {
    name: 'replay',
    description: 'ask what a kept answer in text was an answer to once more, and compare',
    load: () => import('./replay.ts'),
  },
  {
    name: 'evidence',
    description:
      "this host's own evidence: of its TEE through configfs-tsm, of its NVIDIA GPUs, or SIMULATED",
    load: () => import('./evidence.ts'),
  },
  {
    name: 'collateral',
    description: 'what vendors publish about their hardware, for offline verification',
    load: () => import('./collateral.ts'),
  },
  { name: 'policy', description: 'what is demanded of evidence', load: () => import('./policy.ts') },
  {
    name: 'data',
    description: 'tables of your own: a dictionary of their columns, and the features that models see',
    load: () => import('./data.ts'),
  },
  { name: 'model', description: 'models of your own', load: () => import('./model.ts') },
  {
    name: 'scenario',
    description: 'models for real questions, from a table to a verified proof, in folders to copy',
    load: () => import('./scenario.ts'),
  },
  {
    name: 'vendor',
    description: 'the key that signs your models, and by which clients know them',
    load: () => import('./vendor.ts'),
  },
  {
    name: 'setup',
    description:
      'make a key the ceremony way: from a public powers-of-tau file and a contribution, with snarkjs',
    load: () => import('./setup.ts'),
  },
  {
    name: 'groth16',
    description: "Groth16 with snarkjs's files, as its g16p, g16f, g16v and zkv",
    load: () => import('./groth16.ts'),
  },
  {
    name: 'zkey',
    description: "proving keys: verified, and exported as snarkjs's zkev, zkesv and zkesc do",
    load: async () => ({ define: (await import('./circuit-files.ts')).defineZkey }),
  },
  {
    name: 'wtns',
    description: "witnesses of circom's circuits, as snarkjs's wc and wchk",
    load: async () => ({ define: (await import('./circuit-files.ts')).defineWtns }),
  },
  {
    name: 'r1cs',
    description: "how large a circuit is, as snarkjs's ri",
    load: async () => ({ define: (await import('./circuit-files.ts')).defineR1cs }),
  },
  {
    name: 'audit',
    description: 'what key-brokers have released and refused: every record printed, every link checked',
    load: () => import('./audit.ts'),
  },
  {
    name: 'creds',
    description: 'make what actors on another host need: credentials, policies, a SIMULATED platform',
    load: () => import('./creds.ts'),
  },
  {
    name: 'invite',
    description: 'print a link by which a worker on another host joins',
    load: () => import('./invite.ts'),
  },
  {
    name: 'join',
    description: 'make this host a worker of the installation that a link is from',
    load: () => import('./join.ts'),
  },
  {
    name: 'revoke',
    description: 'void the credentials of an id, at once on a server that runs here',
    load: () => import('./revoke.ts'),
  },
  {
    name: 'pardon',
    description: 'take back that a worker was convicted of a wrong result',
    load: () => import('./pardon.ts'),
  },
];

/** Adds every command to `program`; those that are `wanted` with all that they take, the others for the list alone. */
export async function addCommands(program: Command, wanted: (name: string) => boolean): Promise<void> {
  for (const { name, description, load } of COMMANDS) {
    const command = program.command(name).description(description);
    if (wanted(name)) (await load()).define(command);
  }
}
