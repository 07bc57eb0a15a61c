/** Models that answer in text, as the gateway's OpenAI paths ask for them: through verified sessions over NATS. */
import { fromBase64url } from '../../protocols/encoding.ts';
import { vendorFingerprint } from '../../protocols/manifest.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { filters, lastToken } from '../../protocols/subjects.ts';
import { textArchitecture } from '../../protocols/weights.ts';
import { chat } from '../client/chat.ts';
import { hasChanged, type Sessions } from '../client/sessions.ts';
import { readManifest } from '../models/obtain.ts';
import type { ChatBackend } from './openai.ts';

/** Of an installation; more are not listed. */
const MAX_MODELS = 256;

export const chatBackend = (
  sessions: Sessions,
  answered: ChatBackend['answered'] = async () => {},
): ChatBackend => ({
  async models() {
    const { bus } = sessions;
    const subjects = await bus.subjectsOf(STREAMS.models.name, filters.models);
    const names = [...subjects.keys()].map(lastToken).sort().slice(0, MAX_MODELS);
    // One that cannot be read, or whose signature does not hold, is none to be asked.
    const read = await Promise.all(names.map((name) => readManifest(bus, name).catch(() => undefined)));
    return read
      .filter((published) => published?.manifest.commitmentKind === 'hash')
      .map((published) => ({
        name: published!.manifest.name,
        vendor: vendorFingerprint(fromBase64url(published!.manifest.vendor, 'manifest.vendor')),
      }));
  },
  async defaults(model) {
    const { manifest } = await sessions.service(model);
    return textArchitecture(manifest).defaults;
  },
  chat: (options) => chat(sessions, options),
  changed(model, error) {
    if (!hasChanged(error)) return false;
    sessions.renew(model);
    return true;
  },
  answered,
});
