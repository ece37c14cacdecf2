/** `-drive` and `-blockdev`: raw disks, for now. */
import { closeSync, openSync, readSync } from 'node:fs';
import { KeyValues } from '../options/key-values.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';

export interface Drive {
  readonly id: string;
  readonly path: string;
  readonly readonly: boolean;
  /** Plugged in as a virtio-blk-pci of its own. */
  readonly automatic: boolean;
}

const driveFormats = [
  'qcow2',
  'vmdk',
  'vdi',
  'vhdx',
  'vpc',
  'qed',
  'luks',
  'qcow',
  'parallels',
  'bochs',
  'cloop',
  'dmg',
];
const interfaces = ['ide', 'scsi', 'floppy', 'pflash', 'sd', 'mtd', 'xen'];

/** First bytes of image formats, by which a disk that is no raw one is known. */
const magics: readonly (readonly [magic: string, format: string])[] = [
  ['QFI\xfb', 'qcow2'],
  ['KDMV', 'vmdk'],
  ['COWD', 'vmdk'],
  ['# Disk DescriptorFile', 'vmdk'],
  ['<<< ', 'vdi'],
  ['vhdxfile', 'vhdx'],
  ['conectix', 'vpc'],
  ['QED\0', 'qed'],
  ['LUKS\xba\xbe', 'luks'],
];

function detectFormat(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const bytes = Buffer.alloc(32);
    readSync(fd, bytes, 0, bytes.length, 0);
    const text = bytes.toString('latin1');
    return magics.find(([magic]) => text.startsWith(magic))?.[1];
  } catch {
    // Whoever opens it for good says why it cannot be opened.
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

const convert = 'a machine takes raw images, for now; `vring img convert -O raw` makes one';

/** Throws UsageError. `warn` hears what a person should know. */
export function parseDrive(text: string, index: number, warn: (sentence: string) => void): Drive {
  const option = `-drive ${text}`;
  const values = KeyValues.parse(option, text, 'file');
  const type = values.text('if') ?? 'ide';
  if (type !== 'virtio' && type !== 'none') {
    if (interfaces.includes(type)) {
      throw new UsageError(
        `${option}: if=${type}${values.has('if') ? '' : ' (the default)'} is not supported yet; there is if=virtio`,
      );
    }
    throw new UsageError(`${option}: there is no if=${type}${didYouMean(type, ['virtio', 'none', ...interfaces])}`);
  }
  const path = values.need('file').replace(/^file:(\/\/)?/, '');
  const format = values.text('format');
  if (format !== undefined && format !== 'raw') {
    if (driveFormats.includes(format))
      throw new UsageError(`${option}: format=${format} is not supported yet: ${convert}`);
    throw new UsageError(`${option}: there is no format=${format}${didYouMean(format, ['raw', ...driveFormats])}`);
  }
  if (format === undefined) {
    const found = detectFormat(path);
    if (found !== undefined) throw new UsageError(`${option}: this is a ${found} image: ${convert}`);
    warn(`The format of '${path}' was not given, and it is taken for raw; format=raw says so.`);
  }
  if (values.choice('media', ['disk', 'cdrom']) === 'cdrom')
    throw new UsageError(`${option}: media=cdrom is not supported yet`);
  const cache = values.text('cache');
  if (cache !== undefined && !['writeback', 'none', 'unsafe'].includes(cache)) {
    throw new UsageError(
      `${option}: cache=${cache} is not supported yet; there are writeback, none and unsafe, which here are the same`,
    );
  }
  values.choice('aio', ['threads', 'native', 'io_uring']);
  values.number('index', 0, 31);
  const drive = {
    id: values.text('id') ?? `${type}${index}`,
    path,
    readonly: values.flag('readonly') ?? values.flag('read-only') ?? false,
    automatic: type === 'virtio',
  };
  values.finish([
    'snapshot',
    'bus',
    'unit',
    'discard',
    'detect-zeroes',
    'werror',
    'rerror',
    'copy-on-read',
    'serial',
    'throttling',
    'file.locking',
    'locking',
  ]);
  return drive;
}

/** `-blockdev`: a protocol node (file, host_device), or a raw node over one. `known` are the nodes given before. */
export function parseBlockdev(text: string, known: ReadonlyMap<string, Drive>): Drive {
  const option = `-blockdev ${text}`;
  const values = text.startsWith('{') ? new KeyValues(option, flatten(option, text)) : KeyValues.parse(option, text);
  const driver = values.need('driver');
  const id = values.need('node-name');
  const readonly = values.flag('read-only');
  values.flag('auto-read-only');
  values.flag('cache.direct');
  values.flag('cache.no-flush');
  let drive: Drive;
  if (driver === 'file' || driver === 'host_device') {
    drive = { id, path: values.need('filename'), readonly: readonly ?? false, automatic: false };
    values.choice('aio', ['threads', 'native', 'io_uring']);
  } else if (driver === 'raw') {
    const below = values.text('file');
    if (below !== undefined) {
      const node = known.get(below);
      if (!node) throw new UsageError(`${option}: there is no node '${below}'${didYouMean(below, known.keys())}`);
      drive = { ...node, id, readonly: readonly ?? node.readonly };
    } else {
      const protocol = values.need('file.driver');
      if (protocol !== 'file' && protocol !== 'host_device')
        throw new UsageError(`${option}: file.driver=${protocol} is not supported yet`);
      drive = {
        id,
        path: values.need('file.filename'),
        readonly: readonly ?? values.flag('file.read-only') ?? false,
        automatic: false,
      };
    }
  } else {
    throw new UsageError(`${option}: driver=${driver} is not supported yet: ${convert}`);
  }
  values.finish(['discard', 'detect-zeroes', 'locking', 'file.locking', 'offset', 'size', 'force-share']);
  return drive;
}

function flatten(option: string, text: string): [string, string][] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError(`${option}: this is no JSON`);
  }
  const pairs: [string, string][] = [];
  const add = (prefix: string, each: unknown): void => {
    if (typeof each === 'object' && each !== null) {
      for (const [key, inner] of Object.entries(each)) add(prefix === '' ? key : `${prefix}.${key}`, inner);
    } else pairs.push([prefix, typeof each === 'boolean' ? (each ? 'on' : 'off') : String(each)]);
  };
  add('', value);
  return pairs;
}

export { flatten as flattenJson };
