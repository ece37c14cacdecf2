/**
 * The drivers by name. A row is all that is loaded at start: a probe over the first bytes and how to import the rest, so that a
 * tool that handles raw files never loads qcow2.
 */
import { BlockError } from './errors.js';
import type { BlockDriver } from './node.js';

export interface RegistryRow {
  readonly name: string;
  readonly kind: 'protocol' | 'format' | 'filter';
  /** Filename prefixes (before the colon). */
  readonly protocols?: readonly string[];
  /** 0 to 100: how sure the first 512 bytes (fewer in a shorter file) make it. `filename` is absent when checking a write. */
  probe?(bytes: Uint8Array, filename: string | undefined): number;
  load(): Promise<BlockDriver>;
}

/** Big-endian 32-bit number at `offset`, or -1 past the end. */
export function be32(bytes: Uint8Array, offset: number): number {
  if (offset + 4 > bytes.length) return -1;
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0;
}

/** `KDMV`, `COWD`, or a descriptor: comments and empty lines, then `version=`. */
function probeVmdk(bytes: Uint8Array): number {
  const magic = be32(bytes, 0);
  if (magic === 0x4b444d56 || magic === 0x434f5744) return 100;
  return /^(?:#[^\n]*\n| *\r?\n)*version=[123]\r?\n/.test(String.fromCharCode(...bytes)) ? 100 : 0;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return bytes.length >= text.length && [...text].every((letter, index) => bytes[index] === letter.charCodeAt(0));
}

/** Rows in QEMU's order of registration matter only between equal scores. */
export const registryRows: RegistryRow[] = [
  {
    name: 'file',
    kind: 'protocol',
    protocols: ['file'],
    load: async () => (await import('./protocols/file.js')).fileDriver,
  },
  {
    name: 'host_device',
    kind: 'protocol',
    protocols: ['host_device'],
    load: async () => (await import('./protocols/file.js')).hostDeviceDriver,
  },
  {
    name: 'null-co',
    kind: 'protocol',
    protocols: ['null-co'],
    load: async () => (await import('./protocols/null.js')).nullCoDriver,
  },
  {
    name: 'null-aio',
    kind: 'protocol',
    protocols: ['null-aio'],
    load: async () => (await import('./protocols/null.js')).nullAioDriver,
  },
  {
    name: 'memory',
    kind: 'protocol',
    protocols: ['memory'],
    load: async () => (await import('./protocols/memory.js')).memoryDriver,
  },
  {
    name: 'http',
    kind: 'protocol',
    protocols: ['http'],
    load: async () => (await import('./protocols/http.js')).httpDriver,
  },
  {
    name: 'https',
    kind: 'protocol',
    protocols: ['https'],
    load: async () => (await import('./protocols/http.js')).httpsDriver,
  },
  {
    name: 'nbd',
    kind: 'protocol',
    protocols: ['nbd', 'nbd+tcp', 'nbd+unix', 'nbds', 'nbds+tcp', 'nbds+unix'],
    load: async () => (await import('./protocols/nbd/driver.js')).nbdDriver,
  },
  { name: 'raw', kind: 'format', probe: () => 1, load: async () => (await import('./formats/raw/raw.js')).rawDriver },
  {
    name: 'luks',
    kind: 'format',
    probe: (bytes) => (be32(bytes, 0) === 0x4c554b53 && be32(bytes, 4) === 0xbabe0001 ? 100 : 0),
    load: async () => (await import('./formats/luks/driver.js')).luksDriver,
  },
  {
    name: 'qed',
    kind: 'format',
    probe: (bytes) => (be32(bytes, 0) === 0x51454400 ? 100 : 0),
    load: async () => (await import('./formats/qed/driver.js')).qedDriver,
  },
  {
    name: 'vhdx',
    kind: 'format',
    probe: (bytes) => (be32(bytes, 0) === 0x76686478 && be32(bytes, 4) === 0x66696c65 ? 100 : 0),
    load: async () => (await import('./formats/vhdx/driver.js')).vhdxDriver,
  },
  {
    name: 'qcow',
    kind: 'format',
    probe: (bytes) => (be32(bytes, 0) === 0x514649fb && be32(bytes, 4) === 1 ? 100 : 0),
    load: async () => (await import('./formats/qcow/driver.js')).qcowDriver,
  },
  {
    name: 'dmg',
    kind: 'format',
    // The header is at the end: only the name tells.
    probe: (_bytes, filename) => (filename?.endsWith('.dmg') ? 2 : 0),
    load: async () => (await import('./formats/dmg/driver.js')).dmgDriver,
  },
  {
    name: 'cloop',
    kind: 'format',
    probe: (bytes) =>
      startsWith(bytes, '#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 ') ? 2 : 0,
    load: async () => (await import('./formats/cloop/driver.js')).cloopDriver,
  },
  {
    name: 'bochs',
    kind: 'format',
    probe: (bytes) => (startsWith(bytes, 'Bochs Virtual HD Image\0') ? 100 : 0),
    load: async () => (await import('./formats/bochs/driver.js')).bochsDriver,
  },
  {
    name: 'qcow2',
    kind: 'format',
    probe: (bytes) => (be32(bytes, 0) === 0x514649fb && be32(bytes, 4) >= 2 ? 100 : 0),
    load: async () => (await import('./formats/qcow2/driver.js')).qcow2Driver,
  },
  {
    name: 'vdi',
    kind: 'format',
    // 7f 10 da be at 0x40.
    probe: (bytes) => (bytes.length >= 512 && be32(bytes, 64) === 0x7f10dabe ? 100 : 0),
    load: async () => (await import('./formats/vdi/driver.js')).vdiDriver,
  },
  {
    name: 'vmdk',
    kind: 'format',
    probe: probeVmdk,
    load: async () => (await import('./formats/vmdk/driver.js')).vmdkDriver,
  },
  {
    name: 'vpc',
    kind: 'format',
    // `conectix`; a fixed image has it at its end only, and must be named.
    probe: (bytes) => (be32(bytes, 0) === 0x636f6e65 && be32(bytes, 4) === 0x63746978 ? 100 : 0),
    load: async () => (await import('./formats/vpc/driver.js')).vpcDriver,
  },
  {
    name: 'parallels',
    kind: 'format',
    probe: (bytes) =>
      bytes.length >= 64 &&
      bytes[16] === 2 &&
      /^Withou(tFreeSpace|FreSpacExt)/.test(String.fromCharCode(...bytes.subarray(0, 16)))
        ? 100
        : 0,
    load: async () => (await import('./formats/parallels/driver.js')).parallelsDriver,
  },
  {
    name: 'blkdebug',
    kind: 'filter',
    protocols: ['blkdebug'],
    load: async () => (await import('./filters/blkdebug.js')).blkdebugDriver,
  },
  {
    name: 'blkverify',
    kind: 'filter',
    protocols: ['blkverify'],
    load: async () => (await import('./filters/blkverify.js')).blkverifyDriver,
  },
  { name: 'compress', kind: 'filter', load: async () => (await import('./filters/compress.js')).compressDriver },
  {
    name: 'copy-on-read',
    kind: 'filter',
    load: async () => (await import('./filters/copy-on-read.js')).copyOnReadDriver,
  },
  { name: 'throttle', kind: 'filter', load: async () => (await import('./filters/throttle.js')).throttleDriver },
];

export function findRow(name: string): RegistryRow | undefined {
  return registryRows.find((row) => row.name === name);
}

export async function loadDriver(name: string): Promise<BlockDriver> {
  const row = findRow(name);
  if (!row) throw new BlockError('EINVAL', `Unknown driver '${name}'`);
  return row.load();
}

/** The format whose probe scores highest; `raw` when nothing else claims the bytes. */
export function probeFormat(bytes: Uint8Array, filename: string | undefined): string {
  let best = 'raw';
  let bestScore = 0;
  for (const row of registryRows) {
    const score = row.probe?.(bytes, filename) ?? 0;
    if (score > bestScore) {
      bestScore = score;
      best = row.name;
    }
  }
  return best;
}

/** Has the name a `protocol:` prefix (a colon before any slash)? */
export function hasProtocol(filename: string): boolean {
  return /^[^/:]*:/.test(filename);
}

/** Name of the protocol driver for a filename: by prefix, else by what kind of file it is. */
export function findProtocol(filename: string, isDevice: boolean): string {
  if (!hasProtocol(filename)) return isDevice ? 'host_device' : 'file';
  const prefix = filename.slice(0, filename.indexOf(':'));
  const row = registryRows.find((candidate) => candidate.protocols?.includes(prefix));
  if (!row) throw new BlockError('EINVAL', `Unknown protocol '${prefix}'`);
  return row.name;
}
