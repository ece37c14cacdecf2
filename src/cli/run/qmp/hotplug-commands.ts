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
    arguments: [
      { name: 'driver', type: 'str' },
      { name: 'bus', type: 'str', optional: true },
      { name: 'id', type: 'str', optional: true },
    ],
    takesMore: true,
    run: async (host, given) => {
      await addDevice(host, deviceValues('device_add', given));
      return nothing;
    },
  },
  {
    name: 'device_del',
    arguments: [{ name: 'id', type: 'str' }],
    run: ({ machine }, { id }) => deleteNamed(removeDevice(machine, String(id)), String(id)),
  },
  {
    name: 'blockdev-add',
    arguments: [
      { name: 'driver', type: 'str' },
      { name: 'node-name', type: 'str', optional: true },
    ],
    takesMore: true,
    run: async ({ machine }, given) => {
      await addBlockdev(machine, given);
      return nothing;
    },
  },
  {
    name: 'blockdev-del',
    arguments: [{ name: 'node-name', type: 'str' }],
    run: async ({ machine }, given) => {
      await machine.hotplug.removeBlockNode(String(given['node-name']));
      return nothing;
    },
  },
  {
    name: 'netdev_add',
    arguments: [
      { name: 'type', type: 'str' },
      { name: 'id', type: 'str' },
    ],
    takesMore: true,
    run: async ({ machine, descriptors }, given) => {
      await addNetwork(machine, JSON.stringify(given), descriptors);
      return nothing;
    },
  },
  {
    name: 'netdev_del',
    arguments: [{ name: 'id', type: 'str' }],
    run: ({ machine }, { id }) => deleteNamed(machine.hotplug.removeNetwork(String(id)), String(id)),
  },
];
