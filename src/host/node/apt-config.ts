/**
 * What the host's apt is told: apt.conf(5) (options, with scopes and lists), sources.list(5) (one-line and deb822 style) and
 * apt_auth.conf(5). Only what is needed to reach an archive is kept. A host without apt gives an empty configuration; a file
 * that cannot be read or a line that cannot be understood is passed over with a sentence in `notices`.
 *
 * Left out: `#include` of apt.conf, `Acquire::*::Proxy-Auto-Detect` (a program to run; named in `notices` when it is set),
 * and variables in sources but $(ARCH).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Empty when every architecture is meant. */
  readonly architectures: readonly string[];
  /** Paths of keyrings, or armoured keys themselves. */
  readonly signedBy: readonly string[];
  readonly checkValidUntil: boolean | undefined;
}

export interface AptLogin {
  /** Host, with path prefix if any, as after `machine`. */
  readonly machine: string;
  readonly login: string;
  readonly password: string;
}

export interface AptConfiguration {
  readonly sources: readonly AptSource[];
  /** Full names in lower case, such as `acquire::http::proxy`; the last value that was set. */
  readonly options: ReadonlyMap<string, string>;
  readonly logins: readonly AptLogin[];
  readonly notices: readonly string[];
}

const fileLimitBytes = 1 << 20;

/** Options of one apt.conf file, in order, into `options`. */
export function parseAptOptions(text: string, options: Map<string, string>): void {
  // Comments end at the line; a # starts one unless it is a directive.
  const token =
    /\s+|\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|#(?!clear\b|include\b)[^\n]*|"((?:[^"\\]|\\.)*)"|[{};]|[^\s{};"]+/g;
  const scopes: string[] = [];
  let words: string[] = [];
  let quoted: boolean[] = [];
  const fullName = (name: string): string => [...scopes.filter((scope) => scope !== ''), name].join('::').toLowerCase();
  for (const match of text.matchAll(token)) {
    const part = match[0];
    if (/^\s/.test(part) || part.startsWith('//') || part.startsWith('/*')) continue;
    if (part.startsWith('#') && part !== '#clear') continue;
    if (part === '{') {
      scopes.push(words[0] ?? '');
      [words, quoted] = [[], []];
    } else if (part === ';' || part === '}') {
      if (words[0] === '#clear' && words[1] !== undefined) {
        const prefix = fullName(words[1]);
        for (const name of options.keys()) if (name === prefix || name.startsWith(`${prefix}::`)) options.delete(name);
      } else if (words.length >= 2 && !quoted[0]) options.set(fullName(words[0]!.replace(/::$/, '')), words[1]!);
      [words, quoted] = [[], []];
      if (part === '}') scopes.pop();
    } else {
      words.push(match[1] ?? part);
      quoted.push(match[1] !== undefined);
    }
  }
}

function truth(value: string | undefined): boolean | undefined {
  if (value === undefined) return undefined;
  if (/^(yes|true|with|on|enable|1)$/i.test(value)) return true;
  if (/^(no|false|without|off|disable|0)$/i.test(value)) return false;
  return undefined;
}

/** One-line style: `deb [option=value …] URI SUITE COMPONENT…`. */
export function parseOneLineSources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)((?:\s+[^\s#]\S*)*)\s*(?:#.*)?$/.exec(line);
    if (match === null) continue;
    const options = new Map<string, string>();
    for (const option of (match[1] ?? '').split(/\s+/)) {
      const equals = option.indexOf('=');
      if (equals > 0) options.set(option.slice(0, equals).replace(/[+-]$/, '').toLowerCase(), option.slice(equals + 1));
    }
    sources.push({
      uri: match[2]!.replace(/^"|"$/g, ''),
      suite: match[3]!,
      components: (match[4] ?? '').split(/\s+/).filter((word) => word !== ''),
      architectures: (options.get('arch') ?? '').split(',').filter((word) => word !== ''),
      signedBy: (options.get('signed-by') ?? '').split(',').filter((word) => word !== ''),
      checkValidUntil: truth(options.get('check-valid-until')),
    });
  }
  return sources;
}

/** Stanzas of `Field: value` with continuation lines: deb822(5). Field names in lower case. */
export function parseStanzas(text: string): Map<string, string>[] {
  const stanzas: Map<string, string>[] = [];
  let stanza: Map<string, string> | undefined;
  let field: string | undefined;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    if (line.trim() === '') {
      [stanza, field] = [undefined, undefined];
      continue;
    }
    if (line.startsWith(' ') || line.startsWith('\t')) {
      if (stanza !== undefined && field !== undefined) stanza.set(field, `${stanza.get(field)}\n${line.slice(1)}`);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon <= 0) {
      field = undefined;
      continue;
    }
    if (stanza === undefined) stanzas.push((stanza = new Map()));
    field = line.slice(0, colon).toLowerCase();
    stanza.set(field, line.slice(colon + 1).trim());
  }
  return stanzas;
}

/** The deb822 style of *.sources. */
export function parseDeb822Sources(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of parseStanzas(text)) {
    const words = (field: string): string[] => (stanza.get(field) ?? '').split(/\s+/).filter((word) => word !== '');
    if (truth(stanza.get('enabled')) === false || !words('types').includes('deb')) continue;
    const signedBy = stanza.get('signed-by') ?? '';
    // In an inline key, a line of a lone dot stands for an empty one.
    const inline = signedBy.includes('-----BEGIN PGP')
      ? [signedBy.replace(/^[ \t]*\.[ \t]*$/gm, '').trim()]
      : undefined;
    for (const uri of words('uris')) {
      for (const suite of words('suites')) {
        sources.push({
          uri,
          suite,
          components: words('components'),
          architectures: words('architectures'),
          signedBy: inline ?? signedBy.split(/[\s,]+/).filter((word) => word !== ''),
          checkValidUntil: truth(stanza.get('check-valid-until')),
        });
      }
    }
  }
  return sources;
}

/** netrc style: `machine HOST login USER password WORD`, words by any white space. */
export function parseLogins(text: string): AptLogin[] {
  const words = text
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .join(' ')
    .split(/\s+/);
  const logins: AptLogin[] = [];
  let current: { machine: string; login: string; password: string } | undefined;
  for (let at = 0; at + 1 < words.length; at++) {
    const value = words[at + 1]!;
    if (words[at] === 'machine') logins.push((current = { machine: value, login: '', password: '' }));
    else if (words[at] === 'login' && current !== undefined) current.login = value;
    else if (words[at] === 'password' && current !== undefined) current.password = value;
    else continue;
    at++;
  }
  return logins;
}

/** The login for a URL: the host must match, and the path must start as the entry's does. */
export function findLogin(logins: readonly AptLogin[], url: URL): AptLogin | undefined {
  return logins.find(({ machine }) => {
    const [, scheme, rest] = /^(?:([a-z]+):\/\/)?(.*)$/.exec(machine)!;
    // A password goes over an unencrypted connection only when its entry says so.
    if (scheme === undefined ? url.protocol !== 'https:' : url.protocol !== `${scheme}:`) return false;
    const slash = rest!.indexOf('/');
    const host = slash < 0 ? rest! : rest!.slice(0, slash);
    return (
      (host === url.host || host === url.hostname) && url.pathname.startsWith(slash < 0 ? '/' : rest!.slice(slash))
    );
  });
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/**
 * Reads the configuration under `directory`. `aptConfigFile` is the environment's APT_CONFIG, read first as apt does.
 */
export async function readAptConfiguration(
  directory = '/etc/apt',
  aptConfigFile?: string | undefined,
): Promise<AptConfiguration> {
  const notices: string[] = [];
  const read = async (path: string): Promise<string> => {
    try {
      const bytes = await readFile(path);
      if (bytes.length <= fileLimitBytes) return bytes.toString('utf8');
      notices.push(`${path} is passed over: it is larger than 1 MiB.`);
    } catch (error) {
      if (!isAbsent(error)) notices.push(`${path} is passed over: ${(error as Error).message}.`);
    }
    return '';
  };
  const list = async (folder: string, pattern: RegExp): Promise<string[]> => {
    try {
      const names = await readdir(join(directory, folder));
      return names
        .filter((name) => pattern.test(name))
        .sort()
        .map((name) => join(directory, folder, name));
    } catch (error) {
      if (!isAbsent(error)) notices.push(`${join(directory, folder)} is passed over: ${(error as Error).message}.`);
      return [];
    }
  };

  const options = new Map<string, string>();
  // run-parts names, with or without .conf.
  const parts = await list('apt.conf.d', /^[A-Za-z0-9_-]+(\.conf)?$/);
  for (const path of [...(aptConfigFile ? [aptConfigFile] : []), ...parts, join(directory, 'apt.conf')]) {
    parseAptOptions(await read(path), options);
  }
  if ([...options.keys()].some((name) => /^acquire::https?::proxy-?auto-?detect$/.test(name))) {
    notices.push("apt's Proxy-Auto-Detect is not followed: set HTTP_PROXY where a proxy is needed.");
  }

  const sources = parseOneLineSources(await read(join(directory, 'sources.list')));
  for (const path of await list('sources.list.d', /^[A-Za-z0-9_.-]+\.(list|sources)$/)) {
    const text = await read(path);
    sources.push(...(path.endsWith('.list') ? parseOneLineSources(text) : parseDeb822Sources(text)));
  }
  const logins: AptLogin[] = [];
  for (const path of [join(directory, 'auth.conf'), ...(await list('auth.conf.d', /^[A-Za-z0-9_-]+\.conf$/))]) {
    // Mostly root's alone: that another user cannot read it is no news.
    logins.push(...parseLogins(await readFile(path, 'utf8').catch(() => '')));
  }
  return { sources, options, logins, notices };
}
