/**
 * The archive's root index, `dists/SUITE/InRelease`: https://wiki.debian.org/DebianRepository/Format. Its text must already
 * be verified. Gives the hashes of the other indexes and says whether the file is still valid.
 */
import { VringError } from '../base/errors.js';
import { parseStanzas } from '../host/node/apt-config.js';

export interface IndexFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

export interface Release {
  readonly origin: string;
  readonly suite: string;
  readonly codename: string;
  /** Point release such as `13.7`; empty for suites that have none. */
  readonly version: string;
  readonly architectures: readonly string[];
  readonly acquireByHash: boolean;
  readonly dateMs: number;
  /** Undefined where the archive sets no limit, as for stable releases. */
  readonly validUntilMs: number | undefined;
  readonly files: ReadonlyMap<string, IndexFile>;
}

function damaged(what: string): VringError {
  return new VringError('archive-damaged', `The archive's Release file is damaged: ${what}.`);
}

export function parseRelease(text: string): Release {
  const stanza = parseStanzas(text)[0];
  if (stanza === undefined) throw damaged('it is empty');
  const field = (name: string): string => (stanza.get(name) ?? '').trim();
  const time = (name: string): number | undefined => {
    if (field(name) === '') return undefined;
    const ms = Date.parse(field(name));
    if (Number.isNaN(ms)) throw damaged(`its ${name} is not a date`);
    return ms;
  };
  const files = new Map<string, IndexFile>();
  for (const line of field('sha256').split('\n')) {
    if (line.trim() === '') continue;
    const match = /^\s*([0-9a-f]{64})\s+(\d{1,15})\s+([A-Za-z0-9][A-Za-z0-9+._/~-]*)\s*$/.exec(line);
    if (match === null || match[3]!.includes('..')) continue;
    files.set(match[3]!, { path: match[3]!, sizeBytes: Number(match[2]), sha256: match[1]! });
  }
  const dateMs = time('date');
  if (dateMs === undefined) throw damaged('it has no date');
  if (files.size === 0) throw damaged('it lists no SHA-256 hashes');
  return {
    origin: field('origin'),
    suite: field('suite'),
    codename: field('codename'),
    version: field('version'),
    architectures: field('architectures').split(/\s+/),
    acquireByHash: field('acquire-by-hash') === 'yes',
    dateMs,
    validUntilMs: time('valid-until'),
    files,
  };
}

/** Throws when the signed text is not Debian's index of the suite that was asked for: a mirror may hold others too. */
export function requireSuite(release: Release, suite: string, mirror: string): void {
  if (release.origin !== 'Debian') {
    throw new VringError('archive-foreign', `${mirror} holds the archive of '${release.origin}', not Debian's.`);
  }
  if (release.suite !== suite && release.codename !== suite) {
    const names = `${release.suite} (${release.codename})`;
    throw new VringError('archive-wrong-suite', `${mirror} gave the index of ${names} where ${suite} was asked for.`);
  }
}

/** A sentence when the index is past its Valid-Until, else undefined. */
export function staleness(release: Release, nowMs: number): string | undefined {
  if (release.validUntilMs === undefined || nowMs <= release.validUntilMs) return undefined;
  const date = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
  return (
    `The index of ${release.codename} was valid until ${date(release.validUntilMs)} and this machine's clock says ` +
    `${date(nowMs)}: the mirror is out of date, or the clock is wrong.`
  );
}
