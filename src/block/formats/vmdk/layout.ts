/**
 * The fixed parts of VMDK: sparse extent headers and the text descriptor. After VMware's "Virtual Disk Format 5.0" (hosted sparse
 * extents, stream-optimized extents) and, for what it leaves open, what QEMU writes and accepts. All fields are little-endian.
 */
import { BlockError } from '../../errors.js';

export const sectorBytes = 512;
/** `KDMV` and `COWD` as the first four bytes of a file, read big-endian. */
export const hostedMagic = 0x4b444d56;
export const cowdMagic = 0x434f5744;

export const HeaderFlag = {
  newLineTest: 1,
  redundantTable: 2,
  zeroGrain: 4,
  compressed: 0x10000,
  markers: 0x20000,
} as const;

/** Types of the markers in a stream-optimized extent. */
const marker = { endOfStream: 0, footer: 3 } as const;
/** Grain table entry that reads as zero, in extents with `HeaderFlag.zeroGrain`. */
export const zeroedEntry = 1;
export const entriesPerTable = 512;
/** Sectors of an embedded descriptor, and where it starts. */
export const descriptorSectors = 20;
export const descriptorOffset = sectorBytes;
/** Descriptors are read this far and no further. */
export const maxDescriptorBytes = 2 ** 20 - 1;
export const maxDirectoryEntries = 2 ** 25;
/** Grain table entries are 32 bits of sectors. */
export const maxExtentSectors = 2 ** 32;
/** An extent file of the `twoGbMaxExtent…` kinds covers this much. */
export const splitBytes = 2 ** 31;

export interface SparseHeader {
  readonly version: number;
  readonly flags: number;
  readonly capacitySectors: number;
  readonly grainSectors: number;
  readonly descriptorSector: number;
  readonly tableEntries: number;
  readonly redundantSector: number | undefined;
  readonly directorySector: number;
  readonly directoryEntries: number;
  readonly overheadSectors: number;
  readonly isCompressed: boolean;
  /** The header that counts stands at the end of the file. */
  readonly isAtEnd: boolean;
}

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

function get64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

function set64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Is the directory's place in the header the mark that says "see the footer"? */
export function isDirectoryAtEnd(bytes: Uint8Array): boolean {
  return bytes.subarray(56, 64).every((byte) => byte === 0xff);
}

/** Capacity and place of the embedded descriptor: a header without capacity only carries a descriptor. */
export function peekHeader(bytes: Uint8Array): { readonly capacitySectors: number; readonly descriptorSector: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { capacitySectors: get64(view, 12), descriptorSector: get64(view, 28) };
}

/** The header out of the last three sectors: footer marker, footer, end-of-stream marker. */
export function headerOfFooter(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isValid =
    view.getUint32(sectorBytes) === hostedMagic &&
    view.getUint32(8, true) === 0 &&
    view.getUint32(12, true) === marker.footer &&
    get64(view, 2 * sectorBytes) === 0 &&
    view.getUint32(2 * sectorBytes + 8, true) === 0 &&
    view.getUint32(2 * sectorBytes + 12, true) === marker.endOfStream;
  if (!isValid) fail('Invalid footer');
  return bytes.subarray(sectorBytes, 2 * sectorBytes);
}

/** Checks every field that later arithmetic or allocation depends on. `fileSectors`: size of the file. */
export function parseHostedHeader(bytes: Uint8Array, fileSectors: number, isAtEnd: boolean): SparseHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint32(4, true);
  const flags = view.getUint32(8, true);
  const capacitySectors = get64(view, 12);
  const grainSectors = get64(view, 20);
  const tableEntries = view.getUint32(44, true);
  if (version > 3) fail(`Unsupported VMDK version ${version}`, 'ENOTSUP');
  if (tableEntries > entriesPerTable) fail('L2 table size too big');
  const span = tableEntries * grainSectors;
  if (span === 0) fail('L1 entry size is invalid');
  const directoryEntries = Math.ceil(capacitySectors / span);
  const overheadSectors = get64(view, 64);
  if (fileSectors < overheadSectors) fail(`File truncated, expecting at least ${BigInt(overheadSectors) * 512n} bytes`);
  checkGeometry(grainSectors, directoryEntries, capacitySectors);
  const directorySector = get64(view, 56);
  const redundantSector = flags & HeaderFlag.redundantTable ? get64(view, 48) : undefined;
  const isCompressed = view.getUint16(77, true) === 1;
  return {
    version,
    flags,
    capacitySectors,
    grainSectors,
    descriptorSector: get64(view, 28),
    tableEntries,
    redundantSector,
    directorySector,
    directoryEntries,
    overheadSectors,
    isCompressed,
    isAtEnd,
  };
}

/** The older `COWD` header of ESX server (extent type VMFSSPARSE). */
export function parseCowdHeader(bytes: Uint8Array): SparseHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const capacitySectors = view.getUint32(12, true);
  const grainSectors = view.getUint32(16, true);
  const directoryEntries = view.getUint32(24, true);
  checkGeometry(grainSectors, directoryEntries, capacitySectors);
  if (grainSectors === 0) fail('Invalid granularity, image may be corrupt', 'EFBIG');
  return {
    version: view.getUint32(4, true),
    flags: 0,
    capacitySectors,
    grainSectors,
    descriptorSector: 0,
    tableEntries: 4096,
    redundantSector: undefined,
    directorySector: view.getUint32(20, true),
    directoryEntries,
    overheadSectors: 0,
    isCompressed: false,
    isAtEnd: false,
  };
}

function checkGeometry(grainSectors: number, directoryEntries: number, capacitySectors: number): void {
  if (grainSectors > 0x200000) fail('Invalid granularity, image may be corrupt', 'EFBIG');
  if (directoryEntries > maxDirectoryEntries || capacitySectors * sectorBytes > Number.MAX_SAFE_INTEGER)
    fail('L1 size too big', 'EFBIG');
}

export interface ExtentPlan {
  readonly capacitySectors: number;
  readonly isCompressed: boolean;
  readonly hasZeroGrain: boolean;
}

/** Where the tables of a new extent lie; everything in sectors. */
export function planExtent(plan: ExtentPlan) {
  const grainSectors = 128;
  const tableSectors = (entriesPerTable * 4) / sectorBytes;
  const tables = Math.ceil(Math.ceil(plan.capacitySectors / grainSectors) / entriesPerTable);
  const directorySectors = Math.ceil((tables * 4) / sectorBytes);
  const redundantSector = 1 + descriptorSectors;
  const directorySector = redundantSector + directorySectors + tableSectors * tables;
  const overhead = directorySector + directorySectors + tableSectors * tables;
  return {
    grainSectors,
    tables,
    tableSectors,
    directorySectors,
    redundantSector,
    directorySector,
    overheadSectors: Math.ceil(overhead / grainSectors) * grainSectors,
  };
}

export function serializeHeader(plan: ExtentPlan): Uint8Array {
  const layout = planExtent(plan);
  const bytes = new Uint8Array(sectorBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, hostedMagic);
  view.setUint32(4, plan.isCompressed ? 3 : plan.hasZeroGrain ? 2 : 1, true);
  view.setUint32(
    8,
    HeaderFlag.newLineTest |
      HeaderFlag.redundantTable |
      (plan.isCompressed ? HeaderFlag.compressed | HeaderFlag.markers : 0) |
      (plan.hasZeroGrain ? HeaderFlag.zeroGrain : 0),
    true,
  );
  set64(view, 12, plan.capacitySectors);
  set64(view, 20, layout.grainSectors);
  set64(view, 28, 1);
  set64(view, 36, descriptorSectors);
  view.setUint32(44, entriesPerTable, true);
  set64(view, 48, layout.redundantSector);
  set64(view, 56, layout.directorySector);
  set64(view, 64, layout.overheadSectors);
  // What a transfer in text mode would have changed.
  bytes.set([0x0a, 0x20, 0x0d, 0x0a], 73);
  view.setUint16(77, plan.isCompressed ? 1 : 0, true);
  return bytes;
}

// ---- the descriptor

/** Contents up to the first NUL. Byte for byte, so that positions are offsets in the file. */
export function descriptorText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder('latin1').decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** What stands in quotes after `name=`. */
export function quotedValue(text: string, name: string): string | undefined {
  const at = text.indexOf(name);
  if (at < 0) return undefined;
  const start = at + name.length + 2;
  const end = text.indexOf('"', start);
  return start > text.length || end < 0 ? undefined : text.slice(start, end);
}

/** Names are UTF-8 in a text that was decoded byte for byte. */
export function decodeName(raw: string): string {
  return new TextDecoder().decode(Uint8Array.from(raw, (character) => windows1252(character)));
}

/** TextDecoder's `latin1` is windows-1252: the bytes 0x80 to 0x9f come as other characters. */
const highCharacters = new TextDecoder('latin1').decode(
  Uint8Array.from({ length: 32 }, (_unused, index) => 128 + index),
);

function windows1252(character: string): number {
  const code = character.charCodeAt(0);
  return code < 256 ? code : 128 + highCharacters.indexOf(character);
}

export interface ContentId {
  readonly value: number;
  /** Where its digits stand in the text. */
  readonly at: number;
  readonly digits: number;
}

/** The image's content id, or that of its parent. */
export function findContentId(text: string, isParent: boolean): ContentId {
  const name = isParent ? 'parentCID' : 'CID';
  const own = isParent ? -1 : text.search(/(?<=^|\n)CID=/);
  const found = own >= 0 ? own : text.indexOf(name);
  if (found < 0) throw new BlockError('EINVAL');
  const start = found + name.length + 1;
  const match = /^\s*(?:0[xX])?([0-9a-fA-F]+)/.exec(text.slice(start, start + 64));
  if (!match) throw new BlockError('EINVAL');
  const digits = match[1]!;
  return {
    value: Number.parseInt(digits.slice(-8), 16),
    at: start + match[0].length - digits.length,
    digits: digits.length,
  };
}

export interface ExtentLine {
  readonly type: string;
  readonly sectors: number;
  readonly name: string;
  readonly flatSector: number;
}

const knownTypes = ['FLAT', 'SPARSE', 'VMFS', 'VMFSSPARSE', 'SESPARSE'];

/** `RW 2048 SPARSE "name"`, `RW 2048 FLAT "name" 0`, …; other lines are skipped as QEMU does. */
export function parseExtentLines(text: string): ExtentLine[] {
  const lines: ExtentLine[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*(\S{1,10})\s+([+-]?\d+)\s+(\S{1,10})\s*"([^\r"]{1,511})"?(?:\s*([+-]?\d+))?/.exec(line);
    if (match?.[1] !== 'RW') continue;
    const type = match[3]!;
    const sectors = Number(match[2]);
    let flatSector = match[5] === undefined ? undefined : Number(match[5]);
    const isInvalid = type === 'FLAT' ? flatSector === undefined || flatSector < 0 : flatSector !== undefined;
    if (isInvalid) fail(`Invalid extent line: ${decodeName(line)}`);
    flatSector ??= 0;
    if (sectors <= 0 || !knownTypes.includes(type)) continue;
    if (
      sectors * sectorBytes > Number.MAX_SAFE_INTEGER ||
      (flatSector + sectors) * sectorBytes > Number.MAX_SAFE_INTEGER
    )
      fail('Image is too big', 'EFBIG');
    lines.push({ type, sectors, name: decodeName(match[4]!), flatSector });
  }
  return lines;
}

export interface DescriptorContents {
  readonly contentId: number;
  readonly parentId: number;
  readonly createType: string;
  readonly parentName: string | undefined;
  readonly extentLines: readonly string[];
  readonly hardwareVersion: string;
  readonly sizeBytes: number;
  readonly adapterType: string;
  readonly toolsVersion: string;
}

export function formatDescriptor(contents: DescriptorContents): Uint8Array {
  // BIOS geometry of an IDE disk has 16 heads, of a SCSI disk 255.
  const heads = contents.adapterType === 'ide' ? 16 : 255;
  const hint = contents.parentName === undefined ? '' : `parentFileNameHint="${contents.parentName}"`;
  return new TextEncoder().encode(`# Disk DescriptorFile
version=1
CID=${contents.contentId.toString(16).padStart(8, '0')}
parentCID=${contents.parentId.toString(16).padStart(8, '0')}
createType="${contents.createType}"
${hint}
# Extent description
${contents.extentLines.map((line) => `${line}\n`).join('')}
# The Disk Data Base
#DDB

ddb.virtualHWVersion = "${contents.hardwareVersion}"
ddb.geometry.cylinders = "${Math.floor(contents.sizeBytes / (heads * 63 * sectorBytes))}"
ddb.geometry.heads = "${heads}"
ddb.geometry.sectors = "63"
ddb.adapterType = "${contents.adapterType}"
ddb.toolsVersion = "${contents.toolsVersion}"
`);
}
