/**
 * What depmod(8) makes of a set of kernel modules: modules.dep, modules.alias, modules.softdep for busybox's modprobe. A
 * Debian kernel package does not hold them, they are made at installation. Dependencies and aliases stand in each module's
 * `.modinfo` section, `key=value` strings ended by NUL: include/linux/module.h of Linux; ELF: gABI chapter 4.
 */
import { VringError } from '../base/errors.js';
import { type Compression, decompressAll } from './decompress.js';

export interface KernelModule {
  readonly name: string;
  /** Below lib/modules/VERSION, uncompressed: `kernel/fs/ext4/ext4.ko`. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly depends: readonly string[];
  readonly aliases: readonly string[];
  /** Names or aliases to load before, as `softdep` says. */
  readonly softDependencies: readonly string[];
}

const moduleLimitBytes = 64 << 20;

function damaged(path: string, what: string): VringError {
  return new VringError('archive-damaged', `The kernel module ${path} is damaged: ${what}.`);
}

/** `virtio-rng` of `kernel/…/virtio-rng.ko.xz` as the kernel calls it, or undefined for another file. */
export function moduleName(path: string): string | undefined {
  return /([^/]+)\.ko(?:\.(?:xz|zst|gz))?$/.exec(path)?.[1]?.replaceAll('-', '_');
}

/** The strings of the `.modinfo` section, in order. */
export function readModinfo(elf: Uint8Array, path: string): [key: string, value: string][] {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.length);
  try {
    if (view.getUint32(0) !== 0x7f454c46) throw damaged(path, 'it is no ELF file');
    const wide = elf[4] === 2;
    const little = elf[5] === 1;
    const word = (at: number): number => {
      if (!wide) return view.getUint32(at, little);
      const value = Number(view.getBigUint64(at, little));
      if (value > elf.length) throw new RangeError();
      return value;
    };
    const table = word(wide ? 0x28 : 0x20);
    const entryBytes = view.getUint16(wide ? 0x3a : 0x2e, little);
    const count = view.getUint16(wide ? 0x3c : 0x30, little);
    const namesIndex = view.getUint16(wide ? 0x3e : 0x32, little);
    const section = (index: number): { name: number; offset: number; size: number } => {
      const at = table + index * entryBytes;
      const offset = word(at + (wide ? 0x18 : 0x10));
      return { name: view.getUint32(at, little), offset, size: word(at + (wide ? 0x20 : 0x14)) };
    };
    const names = section(namesIndex);
    for (let index = 0; index < count; index++) {
      const { name, offset, size } = section(index);
      const start = names.offset + name;
      const wanted = '.modinfo\0';
      if (Buffer.from(elf.subarray(start, start + wanted.length)).toString('latin1') !== wanted) continue;
      if (offset + size > elf.length) throw new RangeError();
      return Buffer.from(elf.subarray(offset, offset + size))
        .toString('latin1')
        .split('\0')
        .filter((line) => line.includes('='))
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
    }
  } catch (error) {
    if (error instanceof VringError) throw error;
    throw damaged(path, 'its section table is malformed');
  }
  throw damaged(path, 'it has no .modinfo section');
}

/** Uncompresses a module of a package. `path` is below lib/modules/VERSION. */
export async function parseModule(path: string, packed: Uint8Array): Promise<KernelModule> {
  const suffix = /\.ko(?:\.(xz|zst|gz))?$/.exec(path)?.[1] as Compression | undefined;
  const content = suffix === undefined ? packed : await decompressAll(suffix, packed, moduleLimitBytes);
  const plainPath = suffix === undefined ? path : path.slice(0, -suffix.length - 1);
  const depends: string[] = [];
  const aliases: string[] = [];
  const softDependencies: string[] = [];
  for (const [key, value] of readModinfo(content, path)) {
    // A value goes into a line of a text file.
    if (/[\s\0]/.test(value) && key === 'alias') continue;
    if (key === 'depends') depends.push(...value.split(',').filter((name) => /^[\w-]+$/.test(name)));
    else if (key === 'alias') aliases.push(value);
    else if (key === 'softdep') {
      let before = false;
      for (const word of value.split(/\s+/)) {
        if (word.endsWith(':')) before = word === 'pre:';
        else if (before && /^[\w.:-]+$/.test(word)) softDependencies.push(word);
      }
    }
  }
  return {
    name: moduleName(path) ?? path,
    path: plainPath,
    content,
    depends: depends.map((name) => name.replaceAll('-', '_')),
    aliases,
    softDependencies,
  };
}

/** Names that the modules depend on and that are not among them. */
export function missingDependencies(modules: ReadonlyMap<string, KernelModule>): Set<string> {
  const missing = new Set<string>();
  for (const { depends } of modules.values()) for (const name of depends) if (!modules.has(name)) missing.add(name);
  return missing;
}

/** Every module that `name` needs, nearest first; undefined when one is not there. */
function closure(name: string, modules: ReadonlyMap<string, KernelModule>): KernelModule[] | undefined {
  const order: KernelModule[] = [];
  const seen = new Set<string>([name]);
  const visit = (current: KernelModule): boolean => {
    for (const next of current.depends) {
      if (seen.has(next)) continue;
      seen.add(next);
      const found = modules.get(next);
      if (found === undefined || !visit(found)) return false;
      order.push(found);
    }
    return true;
  };
  const self = modules.get(name);
  return self !== undefined && visit(self) ? order.reverse() : undefined;
}

export interface ModuleIndex {
  /** Modules whose dependencies are all there, by path. */
  readonly modules: readonly KernelModule[];
  readonly dep: string;
  readonly alias: string;
  readonly softdep: string;
}

/** The index files. Modules that lack a dependency are left out. */
export function indexModules(all: ReadonlyMap<string, KernelModule>): ModuleIndex {
  const dep: string[] = [];
  const alias: string[] = [];
  const softdep: string[] = [];
  const modules: KernelModule[] = [];
  for (const module of [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const needs = closure(module.name, all);
    if (needs === undefined) continue;
    modules.push(module);
    dep.push(`${module.path}:${needs.map(({ path }) => ` ${path}`).join('')}\n`);
    for (const each of module.aliases) alias.push(`alias ${each} ${module.name}\n`);
    if (module.softDependencies.length > 0)
      softdep.push(`softdep ${module.name} pre: ${module.softDependencies.join(' ')}\n`);
  }
  return { modules, dep: dep.join(''), alias: alias.join(''), softdep: softdep.join('') };
}
