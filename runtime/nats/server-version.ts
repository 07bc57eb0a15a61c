/** What a version of nats-server can do, and whether rights hold on it. No Node here: a browser asks the same. */
import { VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';

/**
 * The first version of each line in which nobody gets around the rights of rights.ts, by the advisories as of 2026-11:
 * CVE-2025-30215 (JetStream's administration of other accounts; 2.10.27, 2.11.1), CVE-2026-33249 (a traced message is
 * published wherever its sender says; from 2.11.0 on, mended in 2.11.15 and 2.12.6). Those of June 2026 (2026-16 routes,
 * 2026-18 denied queue groups, 2026-26 MQTT) need what nats.conf and rights.ts do not use. Lines after the last are newer
 * than all of them. 2.10.20 to 2.10.22 could besides lose streams (Jepsen, NATS 2.12.1).
 */
export const SOUND: Readonly<Record<string, string>> = {
  '2.10': '2.10.27',
  '2.11': '2.11.15',
  '2.12': '2.12.6',
};
export const OLDEST_LINE = '2.10';
const SYNCS_ALWAYS = '2.10.0';

/** True when `version` (`major.minor.patch`, a suffix is ignored) is not older than `least`. */
export function atLeast(version: string, least: string): boolean {
  const parse = (text: string) => text.split('-')[0]!.split('.').map(Number);
  const [have, want] = [parse(version), parse(least)];
  for (let i = 0; i < 3; i++) {
    const difference = (have[i] ?? 0) - (want[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** Whether a server of this version can sync a stream's file before it acknowledges. */
export const syncsAlways = (version: string): boolean => atLeast(version, SYNCS_ALWAYS);

/** What a server of this version cannot do, as a sentence; undefined when nothing is missing. */
export function weakness(version: string): string | undefined {
  if (!syncsAlways(version)) {
    return `nats-server ${version} is older than ${SYNCS_ALWAYS} and cannot sync before it acknowledges: a proof or receipt acknowledged within the last two minutes before a power cut may be lost`;
  }
  return undefined;
}

/** Why the rights of roles do not hold on a server of this version, as a sentence; undefined when they do. */
export function vulnerability(version: string): string | undefined {
  const line = version.split('.').slice(0, 2).join('.');
  const sound = SOUND[line] ?? (atLeast(`${line}.0`, `${OLDEST_LINE}.0`) ? undefined : SOUND[OLDEST_LINE]!);
  if (sound === undefined || atLeast(version, sound)) return undefined;
  const cves = atLeast(version, '2.11.1') ? 'CVE-2026-33249' : 'CVE-2025-30215';
  return `nats-server ${version} lets a client do what it has no right to (${cves}): expected ${sound} or newer`;
}

/** Heard by this process and by those that it starts; what `--allow-vulnerable-server` sets. */
export const ALLOW_VULNERABLE = 'VOUCH_ALLOW_VULNERABLE_SERVER';

/** Throws `nats-feature` for a server on which rights do not hold, unless a person allows it: then it warns. */
export function demandSound(version: string, where: string, warn: Log): void {
  const why = vulnerability(version);
  if (why === undefined) return;
  if (globalThis.process?.env?.[ALLOW_VULNERABLE] === '1') warn(`WARNING: ${where}: ${why}`);
  else
    throw new VouchError(
      'nats-feature',
      `${where}: ${why}; update it, or use it all the same with --allow-vulnerable-server where you trust everybody who connects`,
    );
}
