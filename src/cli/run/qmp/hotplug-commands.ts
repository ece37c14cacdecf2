/** QMP's commands for what comes and goes while the machine runs (QEMU's qapi/qdev.json, qapi/block-core.json). */
import { addBlockdev, addDevice, addNetwork, deviceValues, removeDevice } from '../hotplug.js';
import { type QmpCommand, QmpError } from './qmp-command.js';

const nothing = {};

/** `work` about a device or network by its name. */
async function deleteNamed(work: Promise<void>, id: string): Promise<object> {
  try {
    await work;
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'no-such-device' || code === 'no-such-network')
      throw new QmpError('DeviceNotFound', `Device '${id}' not found`);
    throw error;
  }
  return nothing;
}

export const hotPlugCommands: readonly QmpCommand[] = [
  {
    name: 'device_add',
    takesMore: true,
    run: async (host, given) => {
      await addDevice(host, deviceValues('device_add', given));
      return nothing;
    },
  },
  {
    name: 'device_del',
    run: ({ machine }, { id }) => deleteNamed(removeDevice(machine, String(id)), String(id)),
  },
  {
    name: 'blockdev-add',
    takesMore: true,
    run: async ({ machine }, given) => {
      await addBlockdev(machine, given);
      return nothing;
    },
  },
  {
    name: 'blockdev-del',
    run: async ({ machine }, given) => {
      await machine.hotplug.removeBlockNode(String(given['node-name']));
      return nothing;
    },
  },
  {
    name: 'netdev_add',
    run: async ({ machine, descriptors }, given) => {
      await addNetwork(machine, JSON.stringify(given), descriptors);
      return nothing;
    },
  },
  {
    name: 'netdev_del',
    run: ({ machine }, { id }) => deleteNamed(machine.hotplug.removeNetwork(String(id)), String(id)),
  },
];
