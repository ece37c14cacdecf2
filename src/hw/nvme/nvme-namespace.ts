/** A namespace: a disk, and its I/O commands (NVM Express 1.4, clause 6). */
import { type BlockFailure, type DriveBackend, type ScatterList, transfer } from '../disk/index.js';
import { Comparer } from './comparer.js';
import { ioOpcode, nvmeStatus } from './nvme-codes.js';
import type { NvmeCommand } from './nvme-command.js';
import type { NvmeRegisters } from './nvme-state.js';

export interface NvmeNamespaceOptions {
  readonly backend: DriveBackend;
  readonly identifier: number;
  /** Bytes of a logical block. */
  readonly blockBytes?: number | undefined;
  readonly eui64?: bigint | undefined;
}

/** What a namespace asks of its controller. */
export interface NamespaceHost {
  readonly state: NvmeRegisters;
  /** Guest memory for a command's data; undefined: it has been refused. */
  data(command: NvmeCommand, length: number, intoGuest: boolean): ScatterList | undefined;
  end(command: NvmeCommand, status: number): void;
}

const rangeBytes = 16;
const deallocate = 4;
const forceUnit = 2 ** 30;
const zeroesDeallocate = 2 ** 25;
/** Largest transfer. */
export const maxDataBytes = 0x80000;
const eui64Default = 0x5254000000000000n;

export class NvmeNamespace {
  readonly identifier: number;
  readonly backend: DriveBackend;
  readonly blockBytes: number;
  readonly eui64: bigint;
  readonly #comparer: Comparer;

  constructor({ backend, identifier, blockBytes = 512, eui64 }: NvmeNamespaceOptions) {
    this.identifier = identifier;
    this.backend = backend;
    this.blockBytes = blockBytes;
    this.eui64 = eui64 ?? eui64Default + BigInt(identifier);
    this.#comparer = new Comparer(backend);
  }

  get blocks(): number {
    return Math.floor(this.backend.sizeBytes / this.blockBytes);
  }
  get isReadonly(): boolean {
    return this.backend.readonly;
  }

  execute(host: NamespaceHost, command: NvmeCommand): void {
    switch (command.opcode) {
      case ioOpcode.flush:
        this.backend.flush((failure) => host.end(command, failure === undefined ? 0 : nvmeStatus.writeFault));
        return;
      case ioOpcode.read:
      case ioOpcode.write:
      case ioOpcode.compare:
        this.#transfer(host, command);
        return;
      case ioOpcode.writeZeroes:
        this.#writeZeroes(host, command);
        return;
      case ioOpcode.datasetManagement:
        this.#manage(host, command);
        return;
      default:
        host.end(command, nvmeStatus.invalidOpcode);
    }
  }

  /** Where a command's blocks lie, in bytes; undefined: it has been refused. */
  #range(host: NamespaceHost, command: NvmeCommand, writes: boolean): { offset: number; length: number } | undefined {
    const lba = command.dword(10) + command.dword(11) * 2 ** 32;
    const blocks = (command.dword(12) & 0xffff) + 1;
    if (lba + blocks > this.blocks) host.end(command, nvmeStatus.lbaRange);
    else if (writes && this.isReadonly) host.end(command, nvmeStatus.readOnly);
    else return { offset: lba * this.blockBytes, length: blocks * this.blockBytes };
    return undefined;
  }

  #transfer(host: NamespaceHost, command: NvmeCommand): void {
    const { opcode } = command;
    const writes = opcode === ioOpcode.write;
    // A transfer that is too large is told of before its place is looked at.
    if (((command.dword(12) & 0xffff) + 1) * this.blockBytes > maxDataBytes) {
      host.end(command, nvmeStatus.invalidField);
      return;
    }
    const range = this.#range(host, command, writes);
    if (!range) return;
    const { offset, length } = range;
    const list = host.data(command, length, opcode === ioOpcode.read);
    if (!list) return;
    const forced = (command.dword(12) & forceUnit) !== 0;
    const { state } = host;
    switch (opcode) {
      case ioOpcode.read:
        transfer(this.backend, false, offset, list.pieces, length, (failure) => {
          list.publish();
          state.bytesRead += length;
          state.readCommands++;
          host.end(command, failure === undefined ? 0 : nvmeStatus.unrecoveredRead);
        });
        return;
      case ioOpcode.write:
        transfer(this.backend, true, offset, list.pieces, length, (failure) => {
          state.bytesWritten += length;
          state.writeCommands++;
          this.#written(host, command, failure, forced);
        });
        return;
      default:
        this.#comparer.compare(offset, list.pieces, length, (outcome) => {
          state.bytesRead += length;
          state.readCommands++;
          const status = { same: 0, different: nvmeStatus.compareFailure, failed: nvmeStatus.unrecoveredRead };
          host.end(command, status[outcome]);
        });
    }
  }

  /** Without a write cache, and where it is asked for, what was written is on the medium when the command ends. */
  #written(host: NamespaceHost, command: NvmeCommand, failure: BlockFailure | undefined, forced: boolean): void {
    if (failure !== undefined) host.end(command, nvmeStatus.writeFault);
    else if (!forced && host.state.writeCache) host.end(command, 0);
    else this.backend.flush((flushed) => host.end(command, flushed === undefined ? 0 : nvmeStatus.writeFault));
  }

  #writeZeroes(host: NamespaceHost, command: NvmeCommand): void {
    const range = this.#range(host, command, true);
    if (!range) return;
    const { writeZeroes } = this.backend;
    if (!writeZeroes) {
      host.end(command, nvmeStatus.invalidOpcode);
      return;
    }
    const flags = command.dword(12);
    writeZeroes.call(this.backend, range.offset, range.length, (flags & zeroesDeallocate) !== 0, (failure) =>
      this.#written(host, command, failure, (flags & forceUnit) !== 0),
    );
  }

  /** Of the hints that there are, deallocation alone has an effect. */
  #manage(host: NamespaceHost, command: NvmeCommand): void {
    const count = (command.dword(10) & 0xff) + 1;
    if ((command.dword(11) & deallocate) === 0) {
      host.end(command, 0);
      return;
    }
    if (this.isReadonly) {
      host.end(command, nvmeStatus.readOnly);
      return;
    }
    const list = host.data(command, count * rangeBytes, false);
    if (!list) return;
    const bytes = new Uint8Array(count * rangeBytes);
    list.take(bytes);
    const view = new DataView(bytes.buffer);
    const ranges: { offset: number; length: number }[] = [];
    for (let at = 0; at < bytes.length; at += rangeBytes) {
      const blocks = view.getUint32(at + 4, true);
      const lba = view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * 2 ** 32;
      if (blocks === 0) continue;
      if (lba + blocks > this.blocks) {
        host.end(command, nvmeStatus.lbaRange);
        return;
      }
      ranges.push({ offset: lba * this.blockBytes, length: blocks * this.blockBytes });
    }
    this.#discard(host, command, ranges);
  }

  #discard(host: NamespaceHost, command: NvmeCommand, ranges: { offset: number; length: number }[]): void {
    const { backend } = this;
    const next = ranges.shift();
    if (!next || !backend.discard) {
      host.end(command, 0);
      return;
    }
    backend.discard(next.offset, next.length, (failure) => {
      // It is a hint.
      if (failure === undefined || failure === 'unsupported') this.#discard(host, command, ranges);
      else host.end(command, nvmeStatus.writeFault);
    });
  }
}
