/** QMP's commands for what comes and goes while the machine runs (QEMU's qapi/qdev.json, qapi/block-core.json). */
import { addBlockdev, addDevice, deviceValues } from '../hotplug.js';
import { type QmpCommand, QmpError, type QmpHost } from './qmp-command.js';

const nothing = {};

async function deleteDevice(host: QmpHost, id: string): Promise<object> {
  try {
    await host.machine.hotplug.unplug(id);
  } catch (error) {
    if ((error as { code?: string }).code === 'no-such-device')
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
    run: (host, given) => deleteDevice(host, String(given['id'])),
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
];
