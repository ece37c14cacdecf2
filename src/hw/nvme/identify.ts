/** The data structures of IDENTIFY (NVM Express 1.4, 5.15.2). */
import { eventRequests, maxNamespaces, maxTransferShift } from './nvme-codes.js';
import type { NvmeNamespace } from './nvme-namespace.js';

const structureBytes = 4096;
const vendorId = 0x1b36;
export const nvmeVersion = 0x00010400;
/** Kelvin: warning and critical temperature, and what it has. */
export const temperature = { warning: 0x157, critical: 0x175, now: 0x143 } as const;

export interface ControllerNames {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
}

function text(bytes: Uint8Array, at: number, length: number, value: string): void {
  for (let i = 0; i < length; i++) bytes[at + i] = i < value.length ? value.charCodeAt(i) & 0x7f : 0x20;
}

export function identifyController({ serial, model, firmware }: ControllerNames): Uint8Array {
  const bytes = new Uint8Array(structureBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, vendorId, true);
  view.setUint16(2, 0x1af4, true);
  text(bytes, 4, 20, serial);
  text(bytes, 24, 40, model);
  text(bytes, 64, 8, firmware);
  bytes[72] = 6; // arbitration burst
  bytes.set([0x00, 0x54, 0x52], 73); // IEEE OUI
  bytes[77] = maxTransferShift;
  view.setUint32(80, nvmeVersion, true);
  bytes[111] = 1; // an I/O controller
  bytes[258] = 3; // aborts at once, less one
  bytes[259] = eventRequests - 1;
  bytes[260] = (1 << 1) | 1; // one firmware slot, which is read-only
  bytes[261] = 0x06; // command effects log, offsets into logs
  view.setUint16(266, temperature.warning, true);
  view.setUint16(268, temperature.critical, true);
  bytes[512] = 0x66; // entries of 64 and of 16 bytes
  bytes[513] = 0x44;
  view.setUint32(516, maxNamespaces, true);
  // Compare, dataset management, write zeroes, timestamp.
  view.setUint16(520, 0x01 | 0x04 | 0x08 | 0x40, true);
  bytes[525] = 0x07; // a volatile write cache; flushes of all namespaces
  view.setUint32(536, 1, true); // scatter gather lists without alignment
  const name = `nqn.2019-08.org.qemu:${serial}`;
  for (let i = 0; i < name.length; i++) bytes[768 + i] = name.charCodeAt(i);
  view.setUint16(2048, 0x9c4, true); // power state 0: 25 W
  view.setUint32(2048 + 4, 0x10, true);
  view.setUint32(2048 + 8, 0x4, true);
  return bytes;
}

export function identifyNamespace(namespace: NvmeNamespace): Uint8Array {
  const bytes = new Uint8Array(structureBytes);
  const view = new DataView(bytes.buffer);
  const { blocks } = namespace;
  for (const at of [0, 8, 16]) {
    view.setUint32(at, blocks % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(blocks / 2 ** 32), true);
  }
  // Thin provisioning, deallocated blocks are an error to nobody; preferred sizes are told.
  bytes[24] = 0x01 | 0x10;
  bytes[30] = 1; // may be shared
  // Deallocated blocks read as zeroes; WRITE ZEROES may deallocate.
  bytes[33] = 0x09;
  const granularity = Math.max(1, 4096 / namespace.blockBytes) - 1;
  for (const at of [68, 70]) view.setUint16(at, granularity, true);
  if (namespace.isReadonly) bytes[99] = 1;
  view.setBigUint64(120, swapped(namespace.eui64), true);
  bytes[128 + 2] = Math.log2(namespace.blockBytes);
  return bytes;
}

/** Most significant byte first. */
function swapped(value: bigint): bigint {
  let out = 0n;
  for (let i = 0n; i < 8n; i++) out = (out << 8n) | ((value >> (8n * i)) & 0xffn);
  return out;
}

/** Namespaces above `after`, ascending. */
export function namespaceList(identifiers: Iterable<number>, after: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(structureBytes));
  const list = [...identifiers].filter((id) => id > after).sort((a, b) => a - b);
  for (const [i, id] of list.slice(0, 1024).entries()) view.setUint32(i * 4, id, true);
  return new Uint8Array(view.buffer);
}

/** Descriptors that tell a namespace apart: its EUI64. */
export function namespaceDescriptors({ eui64 }: NvmeNamespace): Uint8Array {
  const bytes = new Uint8Array(structureBytes);
  bytes.set([1, 8]);
  new DataView(bytes.buffer).setBigUint64(4, swapped(eui64), true);
  return bytes;
}
