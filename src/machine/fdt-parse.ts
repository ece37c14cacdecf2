/** Reads a flattened device tree (Devicetree Specification 0.4, chapter 5) that a person has given. The file is hostile. */
import { VringError } from '../base/index.js';
import { type FdtNode, type FdtValue, fdtMagic, token } from './fdt.js';

const OLDEST_VERSION = 16;
const MOST_DEPTH = 64;
const NOP = 4;
const header = { totalSize: 4, structure: 8, strings: 12, reservations: 16, lastCompatible: 24, bytes: 40 } as const;

const damaged = (what: string): VringError => new VringError('boot-tree', `The device tree is damaged: ${what}.`);

export interface ParsedTree {
  readonly root: FdtNode;
  /** Memory that is reserved: address and size of each range. */
  readonly reservations: readonly (readonly [bigint, bigint])[];
}

type Building = { [name: string]: Building | FdtValue };

/** Properties as bytes. Throws VringError `boot-tree`. */
export function parseTree(file: Uint8Array): ParsedTree {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  if (file.length < header.bytes || view.getUint32(0) !== fdtMagic)
    throw new VringError('boot-tree', 'The device tree is no flattened device tree (a .dtb file).');
  const size = view.getUint32(header.totalSize);
  if (size < header.bytes || size > file.length) throw damaged(`it says that it has ${size} bytes`);
  if (view.getUint32(header.lastCompatible) > OLDEST_VERSION + 1) throw damaged('its version is not known');
  const word = (at: number): number => {
    if (at + 4 > size) throw damaged('it ends too early');
    return view.getUint32(at);
  };
  /** A name, and how many bytes it has. */
  const text = (at: number): { readonly name: string; readonly length: number } => {
    const end = file.subarray(0, size).indexOf(0, at);
    if (at >= size || end < 0) throw damaged('a name does not end');
    return { name: new TextDecoder().decode(file.slice(at, end)), length: end - at };
  };
  const align = (at: number): number => (at + 3) & ~3;
  const strings = view.getUint32(header.strings);
  let at = view.getUint32(header.structure);
  const open: Building[] = [];
  let root: Building | undefined;
  for (;;) {
    const kind = word(at);
    at += 4;
    const current = open.at(-1);
    if (kind === NOP) continue;
    if (kind === token.beginNode) {
      const { name, length } = text(at);
      at = align(at + length + 1);
      const node = Object.create(null) as Building;
      if (current) current[name] = node;
      else if (root) throw damaged('it has two roots');
      else root = node;
      if (open.push(node) > MOST_DEPTH) throw damaged(`its nodes lie deeper than ${MOST_DEPTH}`);
    } else if (kind === token.property) {
      const length = word(at);
      const { name } = text(strings + word(at + 4));
      if (!current || at + 8 + length > size) throw damaged('a property lies outside');
      current[name] = file.slice(at + 8, at + 8 + length);
      at = align(at + 8 + length);
    } else if (kind === token.endNode) {
      if (!open.pop()) throw damaged('a node ends that has not begun');
    } else if (kind === token.end && root && open.length === 0) break;
    else throw damaged(`${kind} is no token`);
  }
  const reservations: [bigint, bigint][] = [];
  for (let entry = view.getUint32(header.reservations); ; entry += 16) {
    if (entry + 16 > size) throw damaged('its reservations do not end');
    const range: [bigint, bigint] = [view.getBigUint64(entry), view.getBigUint64(entry + 8)];
    if (range[0] === 0n && range[1] === 0n) break;
    reservations.push(range);
  }
  return { root, reservations };
}

/** The tree that was given, with what the machine says of its kernel: `chosen`, and RAM where no node tells of it. */
export function completeTree(given: FdtNode, own: FdtNode): FdtNode {
  const ownChosen = own['chosen'] as FdtNode;
  const { bootargs, 'linux,initrd-start': start, 'linux,initrd-end': end, 'rng-seed': seed } = ownChosen;
  const set = Object.entries({ bootargs, 'linux,initrd-start': start, 'linux,initrd-end': end, 'rng-seed': seed });
  const chosen = {
    ...(given['chosen'] as FdtNode | undefined),
    ...Object.fromEntries(set.filter(([, value]) => value !== undefined)),
  };
  const isMemory = (name: string) => /^memory(@|$)/.test(name);
  const memory = Object.keys(given).some(isMemory) ? [] : Object.entries(own).filter(([name]) => isMemory(name));
  return { ...given, ...Object.fromEntries(memory), chosen };
}
