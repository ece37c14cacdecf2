/**
 * ACPI Machine Language (ACPI 6.4 chapter 20): a term is its bytes; every function here makes a term from terms. Only what
 * vring's own tables use is here.
 */
import { assert } from '../../base/index.js';

export type Term = readonly number[];

const op = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  stringPrefix: 0x0d,
  qwordPrefix: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualNamePrefix: 0x2e,
  multiNamePrefix: 0x2f,
  ext: 0x5b,
  local0: 0x60,
  arg0: 0x68,
  store: 0x70,
  and: 0x7b,
  or: 0x7d,
  notify: 0x86,
  createDwordField: 0x8a,
  lnot: 0x92,
  lequal: 0x93,
  lless: 0x95,
  if: 0xa0,
  else: 0xa1,
  return: 0xa4,
} as const;

const extOp = { opRegion: 0x80, field: 0x81, device: 0x82 } as const;

/** Operation region spaces. */
export const regionSpace = { systemMemory: 0, systemIo: 1, pciConfig: 2 } as const;

const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));

function nameSegment(segment: string): number[] {
  assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), `an AML name segment has at most four letters: ${segment}`);
  return ascii(segment.padEnd(4, '_'));
}

/** A path such as `\_SB.PCI0`, `^PRQ0` or `LNKA`. */
export function path(text: string): Term {
  const prefix = /^(\\|\^*)/.exec(text)![0];
  const rest = text.slice(prefix.length);
  const segments = rest === '' ? [] : rest.split('.');
  const bytes = ascii(prefix);
  if (segments.length === 0) bytes.push(0);
  else if (segments.length === 2) bytes.push(op.dualNamePrefix);
  else if (segments.length > 2) bytes.push(op.multiNamePrefix, segments.length);
  for (const segment of segments) bytes.push(...nameSegment(segment));
  return bytes;
}

/** PkgLength counts itself: 1 byte up to 63, else 2 to 4 bytes of 4 + 8n bits (20.2.4). */
function packageLength(contentBytes: number): number[] {
  if (contentBytes + 1 < 0x40) return [contentBytes + 1];
  for (let extra = 1; extra <= 3; extra++) {
    const total = contentBytes + 1 + extra;
    if (total >= 1 << (4 + 8 * extra)) continue;
    const bytes = [(extra << 6) | (total & 0xf)];
    for (let i = 0; i < extra; i++) bytes.push((total >> (4 + 8 * i)) & 0xff);
    return bytes;
  }
  throw new Error('vring invariant broken: an AML package below 2^28 bytes');
}

function sized(opcode: readonly number[], content: readonly number[]): Term {
  return [...opcode, ...packageLength(content.length), ...content];
}

export function integer(value: number): Term {
  if (value === 0) return [op.zero];
  if (value === 1) return [op.one];
  if (value <= 0xff) return [op.bytePrefix, value];
  if (value <= 0xffff) return [op.wordPrefix, ...le(value, 2)];
  if (value <= 0xffffffff) return [op.dwordPrefix, ...le(value, 4)];
  return [op.qwordPrefix, ...le(value, 8)];
}

/** Little-endian bytes of a number below 2^53. */
export function le(value: number, bytes: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (let i = 0; i < bytes; i++) {
    out.push(rest % 256);
    rest = Math.floor(rest / 256);
  }
  return out;
}

export const string = (text: string): Term => [op.stringPrefix, ...ascii(text), 0];

/** A compressed EISA id such as PNP0A03 (ACPI 19.6.36). */
export function eisaId(id: string): Term {
  const match = /^([A-Z])([A-Z])([A-Z])([0-9A-F]{4})$/.exec(id);
  assert(match !== null, `an EISA id: ${id}`);
  const letter = (i: number) => match[i]!.charCodeAt(0) - 0x40;
  const maker = (letter(1) << 10) | (letter(2) << 5) | letter(3);
  const product = Number.parseInt(match[4]!, 16);
  return [op.dwordPrefix, maker >> 8, maker & 0xff, product >> 8, product & 0xff];
}

export const name = (id: string, value: Term): Term => [op.name, ...path(id), ...value];
export const scope = (id: string, ...terms: Term[]): Term => sized([op.scope], [...path(id), ...terms.flat()]);
export const device = (id: string, ...terms: Term[]): Term =>
  sized([op.ext, extOp.device], [...path(id), ...terms.flat()]);

/** `serialized` methods run one at a time: needed where a method creates named objects. */
export const method = (id: string, args: number, serialized: boolean, ...terms: Term[]): Term =>
  sized([op.method], [...path(id), args | (serialized ? 8 : 0), ...terms.flat()]);

export const packageOf = (...elements: Term[]): Term => sized([op.package], [elements.length, ...elements.flat()]);
export const buffer = (bytes: readonly number[]): Term => sized([op.buffer], [...integer(bytes.length), ...bytes]);

export const operationRegion = (id: string, space: number, offset: number, length: number): Term => [
  op.ext,
  extOp.opRegion,
  ...path(id),
  space,
  ...integer(offset),
  ...integer(length),
];

const byteAccess = 1;
/** Fields of whole bytes, one after the other from offset 0 of `region`. */
export function byteFields(region: string, fields: readonly string[]): Term {
  const list = fields.flatMap((field) => [...nameSegment(field), 8]);
  return sized([op.ext, extOp.field], [...path(region), byteAccess, ...list]);
}

const dwordAccess = 3;
/** Fields of 32 bits. */
export function dwordFields(region: string, fields: readonly string[]): Term {
  const list = fields.flatMap((field) => [...nameSegment(field), 32]);
  return sized([op.ext, extOp.field], [...path(region), dwordAccess, ...list]);
}
export const notify = (target: Term, value: Term): Term => [op.notify, ...target, ...value];

export const arg = (index: number): Term => [op.arg0 + index];
export const local = (index: number): Term => [op.local0 + index];
export const store = (value: Term, target: Term): Term => [op.store, ...value, ...target];
export const and = (a: Term, b: Term): Term => [op.and, ...a, ...b, 0];
export const or = (a: Term, b: Term, target: Term): Term => [op.or, ...a, ...b, ...target];
export const andInto = (a: Term, b: Term, target: Term): Term => [op.and, ...a, ...b, ...target];
export const less = (a: Term, b: Term): Term => [op.lless, ...a, ...b];
export const equal = (a: Term, b: Term): Term => [op.lequal, ...a, ...b];
export const not = (a: Term): Term => [op.lnot, ...a];
export const when = (condition: Term, ...terms: Term[]): Term => sized([op.if], [...condition, ...terms.flat()]);
export const otherwise = (...terms: Term[]): Term => sized([op.else], terms.flat());
export const returns = (value: Term): Term => [op.return, ...value];
export const createDwordField = (source: Term, byteIndex: number, id: string): Term => [
  op.createDwordField,
  ...source,
  ...integer(byteIndex),
  ...path(id),
];
