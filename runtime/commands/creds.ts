/** `vouch creds`: what actors on another host need. */
import type { Command } from '@commander-js/extra-typings';
import { writeKit } from '../installation/credentials.ts';
import { whole } from './declaration.ts';
import { print } from './terminal.ts';

export const define = (command: Command) =>
  command
    .argument('<roles...>', 'for example: worker, or: enclave gpu runner, or: client')
    .requiredOption('--id <id>', "the actors' id")
    .option('--out <folder>', 'where the files go; whoever has them can be these actors', '.')
    .option('--days <n>', 'how long they are good', whole(1, 3650), 30)
    .action(async (roles, options) => {
      for (const file of await writeKit(roles, options)) print(file);
    });
