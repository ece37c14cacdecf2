/**
 * The archive's package index, `main/binary-ARCH/Packages`: stanzas of control fields (deb-src-control(5)), some 60 MB of
 * text. It is read as it streams by and only the packages that vring can need are kept.
 */
import { VringError } from '../base/errors.js';
import { parseStanzas } from '../host/node/apt-config.js';
import { compareDebianVersions } from './debian-version.js';

export interface PackageEntry {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly depends: string;
  /** Below the mirror's root. */
  readonly filename: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

const stanzaLimitBytes = 1 << 20;
const nameField = Buffer.from('Package: ');

/** Kernels, their metapackages and the userland; not the kernels' debugging symbols and unsigned twins. */
export function isNeeded(name: string): boolean {
  if (name === 'busybox-static') return true;
  return /^linux-(image|binary|modules|base)-/.test(name) && !/-dbg$|-signed-template$|-unsigned\b/.test(name);
}

function parseEntry(stanza: string): PackageEntry | undefined {
  const fields = parseStanzas(stanza)[0];
  const field = (name: string): string => (fields?.get(name) ?? '').trim();
  const [filename, size, sha256] = [field('filename'), field('size'), field('sha256')];
  if (!/^[A-Za-z0-9][A-Za-z0-9+._/~%-]*\.deb$/.test(filename) || filename.includes('..')) return undefined;
  if (!/^\d{1,12}$/.test(size) || !/^[0-9a-f]{64}$/.test(sha256) || field('version') === '') return undefined;
  return {
    name: field('package'),
    version: field('version'),
    architecture: field('architecture'),
    depends: field('depends').replace(/\s+/g, ' '),
    filename,
    sizeBytes: Number(size),
    sha256,
  };
}

/** The entries that `want` accepts by name, in the index's order. Malformed entries are left out. */
export async function readPackages(
  chunks: AsyncIterable<Uint8Array>,
  want: (name: string) => boolean = isNeeded,
): Promise<PackageEntry[]> {
  const entries: PackageEntry[] = [];
  const take = (stanza: Buffer): void => {
    // Nearly every stanza is another package's: look at its name alone before anything else is done with it.
    const start = stanza[0] === 0x0a ? 1 : 0;
    if (stanza.compare(nameField, 0, nameField.length, start, Math.min(start + nameField.length, stanza.length)) !== 0)
      return;
    const nameStart = start + nameField.length;
    const lineEnd = stanza.indexOf(0x0a, nameStart);
    if (!want(stanza.toString('latin1', nameStart, lineEnd < 0 ? stanza.length : lineEnd).trim())) return;
    const entry = parseEntry(stanza.toString('utf8', start));
    if (entry !== undefined) entries.push(entry);
  };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    const bytes =
      rest.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length) : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const end = bytes.indexOf('\n\n', at, 'latin1');
      if (end < 0) break;
      take(bytes.subarray(at, end));
      at = end + 2;
    }
    rest = bytes.subarray(at);
    if (rest.length > stanzaLimitBytes)
      throw new VringError('archive-damaged', 'The package index has an entry of more than 1 MiB.');
    // A view would keep the whole chunk alive and, for a reused buffer, change under us.
    rest = Buffer.from(rest);
  }
  if (rest.length > 0) take(rest);
  return entries;
}

/** The newest version of a package, or undefined. */
export function findPackage(entries: readonly PackageEntry[], name: string): PackageEntry | undefined {
  return entries
    .filter((entry) => entry.name === name)
    .reduce<PackageEntry | undefined>(
      (best, entry) => (best === undefined || compareDebianVersions(entry.version, best.version) > 0 ? entry : best),
      undefined,
    );
}

const kernelPart = /^linux-(image|binary|modules|base)-\d/;

/**
 * The packages of the kernel that a metapackage such as `linux-image-cloud-amd64` stands for: one, or since Linux 7 several
 * (image, binary, modules, base), by the dependencies among them. Undefined when there is no such kernel.
 */
export function resolveKernel(entries: readonly PackageEntry[], metapackage: string): PackageEntry[] | undefined {
  const meta = findPackage(entries, metapackage);
  if (meta === undefined) return undefined;
  const parts = new Map<string, PackageEntry>();
  const visit = (entry: PackageEntry): void => {
    if (parts.has(entry.name)) return;
    if (kernelPart.test(entry.name)) parts.set(entry.name, entry);
    for (const clause of entry.depends.split(',')) {
      const match = /^\s*([a-z0-9][A-Za-z0-9.+~-]*)(?::\w+)?\s*(?:\(\s*=\s*([^\s)]+)\s*\))?\s*$/.exec(clause);
      if (match === null || !kernelPart.test(match[1]!)) continue;
      const exact = entries.find(({ name, version }) => name === match[1] && version === match[2]);
      const found = exact ?? findPackage(entries, match[1]!);
      if (found !== undefined) visit(found);
    }
  };
  visit(meta);
  return [...parts.keys()].some((name) => name.startsWith('linux-image-')) ? [...parts.values()] : undefined;
}
