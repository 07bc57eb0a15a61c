/** The generated table of SECURITY.md: who may ask, read and hear what, as runtime/nats/rights.ts grants it. */
import { PREFIX, ROLES, type Role } from '../../protocols/subjects.ts';
import { rightsOf } from '../../runtime/nats/rights.ts';
import { code, table } from './document-schema.ts';

const GET = '$JS.API.DIRECT.GET.';
const OWN = '{{name()}}';

/** A filter without the prefix that all share; its owner's place is named. */
const short = (subject: string): string =>
  code(subject.replace(`${PREFIX}.`, '').replaceAll(OWN, '<own id>'));

/** Stored messages: a stream in whole, or the subjects that are the reader's own. */
function readable(publish: readonly string[]): string[] {
  const found = publish
    .filter((subject) => subject.startsWith(GET) && !subject.startsWith(`${GET}KV_`))
    .map((subject) => subject.slice(GET.length));
  if (found.includes('>')) return ['every stream'];
  return found
    .filter((place) => !place.endsWith('.>'))
    .map((place) => {
      const [stream, ...own] = place.split('.');
      return own.length === 0 ? `all of ${code(stream!)}` : short(own.join('.'));
    });
}

function row(role: Role): string[] {
  const { publish, subscribe } = rightsOf(role);
  const ours = (subjects: readonly string[]) =>
    subjects.filter((subject) => subject.startsWith(PREFIX)).map(short);
  const list = (items: readonly string[]) => items.join(' ') || '-';
  return [role, list(ours(publish)), list(readable(publish)), list(ours(subscribe))];
}

export const rightsTable = (): string =>
  table(['role', 'may say and ask', 'may read of what is stored', 'may hear'], ROLES.map(row));
