/**
 * Where Debian's archive is fetched from: the mirrors that the host's apt names for Debian (sources.list(5)), then Debian's
 * public one. A mirror's `Signed-By` keys are trusted for it beside the keys that come with vring, so that a suite newer than
 * the host can be verified too.
 *
 * Read: http, https, file and copy URIs, and `mirror+file:` lists as Debian's cloud images have them. Left out: cdrom, ftp,
 * tor and mirror lists over the network; such entries are passed over.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { VringError } from '../base/errors.js';
import type { AptConfiguration, AptSource } from '../host/node/apt-config.js';
import { printableUrl } from '../host/node/download.js';
import { joinKeyrings, type Keyring, parseKeyring } from './openpgp/keyring.js';

export interface Mirror {
  /** Root of the archive, without a trailing slash; may hold a password. */
  readonly root: string;
  /** For messages: without a password. */
  readonly name: string;
  readonly keyring: Keyring;
  readonly checkValidUntil: boolean;
}

const publicRoots = ['https://deb.debian.org/debian', 'http://deb.debian.org/debian'];
const aptMirrorLimit = 3;

const debianSuites = new Set([
  ...['stable', 'oldstable', 'oldoldstable', 'testing', 'unstable', 'sid'],
  ...['buster', 'bullseye', 'bookworm', 'trixie', 'forky', 'duke'],
]);

/** Whether an apt entry means Debian's own archive: others use the same suite names, so its path must say so too. */
function isDebian(source: AptSource, path: string): boolean {
  if (!debianSuites.has(source.suite) || !source.components.includes('main')) return false;
  const keys = source.signedBy.some((each) => each.includes('debian-archive'));
  return keys || /(^|\/)debian$/.test(path);
}

async function expandMirrorList(uri: string): Promise<string[]> {
  try {
    const text = await readFile(
      fileURLToPath(uri.slice('mirror+'.length).replace(/^file:(?!\/\/)/, 'file://')),
      'utf8',
    );
    return text
      .split('\n')
      .map((line) => line.replace(/#.*/, '').trim().split(/\s+/)[0]!)
      .filter((word) => word !== '');
  } catch {
    return [];
  }
}

async function readSignedBy(
  source: AptSource,
  nowMs: number,
  onNotice: (sentence: string) => void,
): Promise<Keyring[]> {
  const keyrings: Keyring[] = [];
  for (const each of source.signedBy) {
    const inline = each.includes('-----BEGIN PGP');
    // A bare fingerprint picks among keys that are already known.
    if (!inline && !each.startsWith('/')) continue;
    try {
      keyrings.push(parseKeyring(inline ? Buffer.from(each, 'utf8') : await readFile(each), nowMs));
    } catch (error) {
      onNotice(`apt's key ${inline ? 'in its sources' : each} is passed over: ${(error as Error).message}`);
    }
  }
  return keyrings;
}

/** An archive root from a person or from apt; undefined when it is of a kind that vring does not fetch from. */
function parseRoot(uri: string): URL | undefined {
  const trimmed = uri.replace(/^copy:/, 'file:').replace(/^file:(?=\/(?!\/))/, 'file://');
  if (!URL.canParse(trimmed)) return undefined;
  const url = new URL(trimmed);
  return ['http:', 'https:', 'file:'].includes(url.protocol) ? url : undefined;
}

export interface MirrorChoice {
  readonly apt: AptConfiguration;
  readonly suite: string;
  readonly architecture: string;
  readonly shippedKeys: Keyring;
  /** When set, the only one to use. */
  readonly given?: string | undefined;
  readonly nowMs: number;
  readonly onNotice: (sentence: string) => void;
}

/** The mirrors to try, best first; never empty. */
export async function chooseMirrors(choice: MirrorChoice): Promise<Mirror[]> {
  const { apt, shippedKeys, nowMs, onNotice } = choice;
  const checkByDefault = !/^(no|false|0|off)$/i.test(apt.options.get('acquire::check-valid-until') ?? '');
  const mirror = (url: URL, keyring: Keyring, check: boolean | undefined): Mirror => {
    const root = url.href.replace(/\/+$/, '');
    return { root, name: printableUrl(url).replace(/\/+$/, ''), keyring, checkValidUntil: check ?? checkByDefault };
  };
  if (choice.given !== undefined) {
    const url = parseRoot(choice.given);
    if (url === undefined) {
      throw new VringError('mirror-invalid', `The mirror '${choice.given}' is not an http, https or file URL.`);
    }
    return [mirror(url, shippedKeys, undefined)];
  }

  const found: { mirror: Mirror; rank: number }[] = [];
  for (const source of apt.sources) {
    const uris = source.uri.startsWith('mirror+file:') ? await expandMirrorList(source.uri) : [source.uri];
    for (const uri of uris) {
      const url = parseRoot(uri.replaceAll('$(ARCH)', choice.architecture));
      if (url === undefined || !isDebian(source, url.pathname.replace(/\/+$/, ''))) continue;
      const known = found.find((each) => each.mirror.root === url.href.replace(/\/+$/, ''));
      const lacksArchitecture = source.architectures.length > 0 && !source.architectures.includes(choice.architecture);
      const rank = (source.suite === choice.suite ? 0 : 1) + (lacksArchitecture ? 2 : 0);
      if (known !== undefined) {
        known.rank = Math.min(known.rank, rank);
        continue;
      }
      const keyring = joinKeyrings([shippedKeys, ...(await readSignedBy(source, nowMs, onNotice))]);
      found.push({ mirror: mirror(url, keyring, source.checkValidUntil), rank });
    }
  }
  const fromApt = found
    .sort((a, b) => a.rank - b.rank)
    .slice(0, aptMirrorLimit)
    .map((each) => each.mirror);
  const known = new Set(fromApt.map(({ root }) => root));
  const others = publicRoots.filter((root) => !known.has(root));
  return [...fromApt, ...others.map((root) => mirror(new URL(root), shippedKeys, undefined))];
}
