/**
 * The evidence of each enclave that answers: asked for by the monitor with a nonce of its own, checked in this page. The viewer
 * believes the monitor that the nonce was fresh; whoever would not asks with his own: `vouch infer` does.
 */
import { type ComponentChild, h } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useAnswer } from '../asking.ts';
import { readFiles } from '../drop-zone.ts';
import { type Asked, type CertificateRow, type JudgedItem, judge, type OpenedFile } from '../judging.ts';
import type { FoundEvidence } from '../look-ups.ts';
import { coarse, dayTime, until } from '../words.ts';
import { actorHref, card, chip, empty, ofModels, row, type Seen, table } from './parts.ts';
import { checkTable, stamp, word } from './verdicts.ts';

const EVERY_MS = 60_000;
/** The name under which an answer is judged; a file of the viewer's is never taken for it. */
const OF_THE_MONITOR = 'evidence of the enclave';

export function EvidencePage({ seen }: { seen: Seen }): ComponentChild {
  const asked = useAnswer<readonly FoundEvidence[]>('/evidence.json', Math.floor(seen.now / EVERY_MS));
  const [policy, setPolicy] = useState<NonNullable<Asked['policy']>>('strict');
  const [own, setOwn] = useState<readonly OpenedFile[]>([]);
  const [trouble, setTrouble] = useState('');
  const open = (files: readonly File[]) => {
    readFiles(files).then(
      (read) => {
        setOwn(read);
        setTrouble('');
      },
      (failure: Error) => setTrouble(failure.message),
    );
  };
  return h(
    'div',
    { class: 'page' },
    h('h2', { id: 'title', tabIndex: -1 }, 'Evidence'),
    h(
      'div',
      { class: 'drop' },
      h(
        'label',
        {},
        'Judged by the policy ',
        h(
          'select',
          {
            value: policy,
            onChange: ({ currentTarget }: { currentTarget: HTMLSelectElement }) =>
              setPolicy(currentTarget.value === 'genuine' ? 'genuine' : 'strict'),
          },
          h('option', { value: 'strict' }, 'strict'),
          h('option', { value: 'genuine' }, 'genuine'),
        ),
      ),
      h(
        'label',
        {},
        'or by your own policy, with collateral ',
        h('input', {
          type: 'file',
          multiple: true,
          id: 'own',
          onChange: ({ currentTarget }: { currentTarget: HTMLInputElement }) =>
            open([...(currentTarget.files ?? [])]),
        }),
      ),
      h(
        'p',
        { class: 'soft small' },
        trouble ||
          'The monitor asks with a nonce of its own. Built-in policies pin no measurement, and hardware is not accepted without collateral: bring yours.',
      ),
    ),
    ofModels('Evidence', asked, (found) =>
      h(One, { key: `${found.model} ${found.enclave ?? ''}`, found, policy, own, seen }),
    ),
  );
}

interface OneProps {
  readonly found: FoundEvidence;
  readonly policy: NonNullable<Asked['policy']>;
  readonly own: readonly OpenedFile[];
  readonly seen: Seen;
}

function One({ found, policy, own, seen }: OneProps): ComponentChild {
  const { model, enclave, nonce, document } = found;
  const [item, setItem] = useState<JudgedItem | string>('Checking…');
  useEffect(() => {
    if (document === undefined) return;
    let over = false;
    const bytes = new TextEncoder().encode(JSON.stringify(document));
    judge([{ name: OF_THE_MONITOR, bytes }, ...own.filter(({ name }) => name !== OF_THE_MONITOR)], {
      policy,
      nonce,
      now: found.at,
    })
      .then(
        ({ judged }) =>
          !over &&
          setItem(
            judged.find(({ name }) => name === OF_THE_MONITOR) ?? 'The answer is no evidence document.',
          ),
      )
      .catch((error: Error) => !over && setItem(error.message));
    return () => {
      over = true;
    };
  }, [document, nonce, policy, own, found.at]);
  const title = `${model}${enclave ? `, enclave ${enclave}` : ''}`;
  if (document === undefined) return card(title, empty(found.error ?? 'Nobody answered.'));
  const actor = enclave === undefined ? undefined : seen.model.actors.get(`enclave/${enclave}`);
  return card(
    title,
    typeof item === 'string'
      ? empty(item)
      : h(
          'div',
          { 'data-evidence': enclave },
          h(
            'p',
            {},
            word(item.accepted),
            ' ',
            stamp(item.simulated),
            ' ',
            item.simulated ? 'No hardware vouches for this enclave.' : 'Its signatures come from hardware.',
          ),
          h('p', {}, counts(item)),
          h(
            'p',
            { class: 'soft small' },
            'Asked by the monitor ',
            `${coarse(seen.now - found.at)} ago, with nonce `,
            h('code', {}, nonce.slice(0, 16)),
            '…',
          ),
          actor
            ? h(
                'p',
                {},
                h('a', { href: actorHref(actor) }, 'its actor'),
                ` has attested ${actor.counts.attestations ?? 0} times; each lasts ${coarse(actor.counts.validMs ?? 0)}`,
              )
            : null,
          h('h3', {}, 'Certificates'),
          certificates(item.certificates ?? [], seen.now),
          h('h3', {}, 'Checks'),
          checkTable(item, `Checks of ${title}`),
        ),
  );
}

function counts({ checks }: JudgedItem): ComponentChild {
  const of = (status: string) => checks.filter((check) => check.status === status).length;
  return [
    chip('up', `${of('pass')} pass`),
    ' ',
    chip(of('fail') > 0 ? 'failed' : 'stopped', `${of('fail')} fail`),
    ' ',
    chip('stopped', `${of('skipped')} skipped`),
  ];
}

const CERTIFICATES = [
  { title: 'Of' },
  { title: 'Subject' },
  { title: 'Issuer', className: 'spare' },
  { title: 'From', className: 'nowrap spare' },
  { title: 'Until', className: 'nowrap' },
  { title: 'Ends', className: 'nowrap' },
];

function certificates(list: readonly CertificateRow[], now: number): ComponentChild {
  if (list.length === 0) return empty('It came with none: what signs it is pinned, or it is simulated.');
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  const first = list.reduce((soonest, one) => (one.notAfter < soonest.notAfter ? one : soonest));
  return h(
    'div',
    {},
    h(
      'p',
      { 'data-expiry': '' },
      first.notAfter <= now
        ? `The certificate of ${first.subject} is over since ${dayTime(first.notAfter)}.`
        : `The first of them ends ${until(first.notAfter - now)}.`,
    ),
    table(
      'Certificates',
      CERTIFICATES,
      list.map((one, index) =>
        row(String(index), CERTIFICATES, [
          one.of,
          h('bdi', {}, one.subject),
          h('bdi', {}, one.issuer),
          day(one.notBefore),
          day(one.notAfter),
          one.notAfter <= now ? chip('failed', 'over') : until(one.notAfter - now),
        ]),
      ),
    ),
  );
}
