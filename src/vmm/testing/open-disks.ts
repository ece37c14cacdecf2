/** Disks with guest memory, as the vCPU's thread has them. */
import type { BlockFailure } from '../../hw/index.js';
import { MachineDisks } from '../disk-backend.js';
import type { DiskConfig, DiskWorkerConfig } from '../disk-protocol.js';
import { openDisks } from '../disks.js';
import { doorbellBytes } from '../worker-protocol.js';

const MEMORY_BYTES = 8 << 20;

export async function openDisksAt(disks: readonly DiskConfig[], more: Partial<DiskWorkerConfig> = {}) {
  const thread = openDisks({
    disks,
    blockNodes: [],
    secrets: {},
    objects: {},
    doorbell: new SharedArrayBuffer(doorbellBytes),
    ...more,
  });
  try {
    await thread.opened;
  } catch (error) {
    thread.config.port.close();
    await thread.close();
    throw error;
  }
  const failed: string[] = [];
  const machineDisks = new MachineDisks(thread.config, {
    synchronous: false,
    failed: ({ disk, action }) => {
      if (action === 'stop') failed.push(disks[disk].id);
    },
    quitting: () => false,
    trayMoved: () => {},
  });
  const memory = new SharedArrayBuffer(MEMORY_BYTES);
  machineDisks.attach(memory, [0]);
  const ended: (BlockFailure | 'ok')[] = [];
  const done = (failure?: BlockFailure) => ended.push(failure ?? 'ok');
  const ram = (at: number, length: number) => new Uint8Array(memory, at, length);
  const settle = () => {
    machineDisks.drain();
    return ended.splice(0);
  };
  return {
    disk: machineDisks.backend(0),
    disks: machineDisks,
    thread,
    failed,
    done,
    ram,
    settle,
    kicked: () => Atomics.load(new Int32Array(memory), 0),
    async [Symbol.asyncDispose]() {
      machineDisks.drain();
      thread.config.port.close();
      await thread.close();
    },
  };
}
