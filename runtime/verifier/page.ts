/**
 * The page of the verifier: files in, verdicts out, in the words of `vouch verify`. Everything from a file becomes a text
 * node without what changes how the rest is read, in a box of its own, and the word of a verdict stands where no file can
 * write. Nothing is fetched, sent or kept.
 */
import './plain-zod.ts';
import { type ComponentChild, h, render } from 'preact';
import { useRef, useState } from 'preact/hooks';
import type { NamedBytes } from '../../protocols/attestation/evidence-files.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { messageOf } from '../../protocols/errors.ts';
import { printable } from '../../protocols/printable.ts';
import { DropZone } from '../monitor/drop-zone.ts';
import { verifyWithSnarkjs } from '../prove/snarkjs.ts';
import { skippedChecks } from '../verdict/checks.ts';
import { circuitDigest, type JudgedFile, judgeFiles, type Verdicts } from './files.ts';

// snarkjs would start threads, which this page's own policy forbids; without the class it does without.
Reflect.deleteProperty(globalThis, 'Worker');

const FIELDS = [
  ['now', 'Judge as of', 'a time such as 2025-01-31T00:00:00Z; empty: now'],
  ['vendor', "The vendor's key or fingerprint", 'as the vendor says it elsewhere'],
  ['nonce', 'What the evidence was asked for with', '32 bytes or so, as hex'],
  ['job', 'The job that was asked for', 'of a proof'],
  ['trustKey', 'Verification key to trust', 'its digest, where nobody knows who made it'],
] as const;
type Field = (typeof FIELDS)[number][0];

/** A text of somebody else's. */
const theirs = (text: string): string => {
  const line = printable(text);
  return line.length > 2000 ? `${line.slice(0, 2000)}…` : line;
};

function Verifier(): ComponentChild {
  const [fields, setFields] = useState<Readonly<Record<Field, string>>>({
    now: '',
    vendor: '',
    nonce: '',
    job: '',
    trustKey: '',
  });
  const [policy, setPolicy] = useState<'strict' | 'genuine'>('strict');
  const [trivial, setTrivial] = useState(false);
  const [answer, setAnswer] = useState<Report | string>('Nothing was opened yet.');
  const files = useRef<NamedBytes[]>([]);
  /** so that whoever waits for an answer knows that there is a new one */
  const [answers, setAnswers] = useState(0);

  const verify = async (): Promise<void> => {
    if (files.current.length === 0) return;
    setAnswer('Checking…');
    try {
      const now = fields.now === '' ? new Date() : new Date(fields.now);
      if (Number.isNaN(now.getTime())) throw new Error('the time: expected one such as 2025-01-31T00:00:00Z');
      if (!/^([0-9a-fA-F]{2}){0,64}$/.test(fields.nonce))
        throw new Error('the nonce: expected 1 to 64 bytes as hex');
      const said = (name: Field) => fields[name].trim() || undefined;
      const asked = {
        now,
        policy: BUILT_IN[policy],
        nonce: said('nonce')?.toLowerCase(),
        vendor: said('vendor'),
        job: said('job'),
        trustKey: said('trustKey'),
        allowTrivial: trivial,
      };
      const verdicts = await judgeFiles(files.current, asked, { circuitDigest, second: verifyWithSnarkjs });
      const demands = [
        `judged as of ${now.toISOString()}`,
        `by the policy among the files, else ${policy}`,
        ...FIELDS.slice(1).flatMap(([name, label]) =>
          said(name) ? [`${label}: ${fields[name].trim()}`] : [],
        ),
        ...(trivial ? ['a trivial threshold accepted'] : []),
      ];
      setAnswer({ ...verdicts, demands: demands.join('; ') });
    } catch (error) {
      setAnswer(theirs(messageOf(error)));
    }
    setAnswers((count) => count + 1);
  };
  const open = async (chosen: Promise<NamedBytes[]>): Promise<void> => {
    setAnswer('Reading…');
    try {
      files.current = await chosen;
      await verify();
    } catch (error) {
      files.current = [];
      setAnswer(theirs(messageOf(error)));
      setAnswers((count) => count + 1);
    }
  };
  return h(
    'div',
    {},
    h(
      DropZone,
      {
        intro: h(
          'p',
          {},
          'Drop a receipt, a proof, evidence or a folder of them here, and with them what belongs to them: a policy, the model’s manifest, what was kept of a decision, the test set, your data dictionary, collateral.',
        ),
        choosers: [
          { label: 'Files', id: 'files' },
          { label: 'A folder', id: 'folder', folder: true },
        ],
        onFiles: open,
      },
      h(
        'details',
        {},
        h('summary', {}, 'What you know and demand'),
        h(
          'fieldset',
          {},
          h('legend', {}, 'Policy, where no file is one'),
          (['strict', 'genuine'] as const).map((name) =>
            h(
              'label',
              {},
              h('input', {
                type: 'radio',
                name: 'policy',
                value: name,
                checked: policy === name,
                onChange: () => setPolicy(name),
              }),
              ` ${name}`,
            ),
          ),
        ),
        FIELDS.map(([name, label, hint]) =>
          h(
            'label',
            {},
            `${label} (${hint})`,
            h('br', {}),
            h('input', {
              type: 'text',
              id: name,
              value: fields[name],
              spellcheck: false,
              autocomplete: 'off',
              onInput: ({ currentTarget }: { currentTarget: HTMLInputElement }) =>
                setFields({ ...fields, [name]: currentTarget.value }),
            }),
          ),
        ),
        h(
          'label',
          {},
          h('input', { type: 'checkbox', checked: trivial, onChange: () => setTrivial(!trivial) }),
          ' accept a threshold that a constant answer reaches',
        ),
        h('button', { type: 'button', id: 'again', onClick: () => void verify() }, 'Check again'),
      ),
    ),
    h(
      'div',
      { 'aria-live': 'polite', id: 'answer', 'data-answers': answers },
      typeof answer === 'string' ? h('p', { id: 'said', class: 'soft' }, answer) : results(answer),
    ),
  );
}

/** With what was demanded, so that a printed report says by what it was judged. */
interface Report extends Verdicts {
  readonly demands: string;
}

function results({ judged, used, unused, demands }: Report): ComponentChild {
  const accepted = judged.filter(({ judgement }) => judgement.accepted).length;
  const simulated = judged.some(({ judgement: { checks } }) =>
    checks.some(({ detail }) => /^SIMULATED\b/.test(detail)),
  );
  return h(
    'div',
    {},
    h(
      'p',
      { id: 'said' },
      judged.length === 0
        ? 'None of these files is a receipt, a proof or evidence: nothing was checked.'
        : `${accepted} of ${judged.length} accepted; ${demands}. `,
      judged.length === 0
        ? null
        : h('button', { type: 'button', onClick: () => print() }, 'Print or save this report'),
    ),
    simulated
      ? h(
          'p',
          { class: 'banner', id: 'simulated' },
          h('strong', {}, 'SIMULATED'),
          ' No hardware vouches for what is marked so.',
        )
      : null,
    judged.map(verdict),
    list(
      'Taken into account',
      used.map(({ name, as }) => [name, as]),
    ),
    list(
      'Not taken into account',
      unused.map(({ name, reason }) => [name, reason]),
    ),
  );
}

const KINDS = {
  receipt: 'Receipt',
  document: 'Evidence document',
  proof: 'Proof',
  evidence: 'Evidence',
} as const;

function verdict({ name, kind, judgement: { accepted, checks, proved } }: JudgedFile): ComponentChild {
  const word = accepted ? 'accept' : 'reject';
  return h(
    'section',
    { class: `verdict ${word}`, 'aria-label': `${KINDS[kind]}: ${word}` },
    h('p', { class: 'word', 'data-verdict': word }, `verdict: ${word}`),
    h('h2', {}, `${KINDS[kind]} `, h('bdi', {}, theirs(name).slice(0, 300))),
    proved === undefined ? null : h('p', { 'data-proved': '' }, theirs(proved)),
    h(
      'p',
      { 'data-not-checked': '' },
      `not checked: ${skippedChecks(checks).join(', ') || 'nothing was left out'}`,
    ),
    h(
      'div',
      { class: 'scroll', role: 'region', 'aria-label': 'Checks', tabIndex: 0 },
      h(
        'table',
        {},
        h('caption', {}, 'Every check, and what was compared'),
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            ['Came of it', 'Check', 'Detail'].map((title) => h('th', { scope: 'col' }, title)),
          ),
        ),
        h(
          'tbody',
          {},
          checks.map(({ id, status, detail }) =>
            h(
              'tr',
              { class: status, 'data-check': id },
              h('td', {}, status),
              h('th', { scope: 'row' }, id),
              h('td', {}, theirs(detail)),
            ),
          ),
        ),
      ),
    ),
  );
}

const list = (title: string, rows: readonly (readonly [string, string])[]): ComponentChild =>
  rows.length === 0
    ? null
    : h(
        'div',
        {},
        h('h2', {}, title),
        h(
          'ul',
          {},
          rows.map(([name, what]) =>
            h('li', {}, h('bdi', {}, theirs(name).slice(0, 300)), `: ${theirs(what)}`),
          ),
        ),
      );

render(h(Verifier, {}), document.getElementById('verifier')!);
