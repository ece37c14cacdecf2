/** Linux's own drivers (modules of Debian's kernel) tell of a crash by pvpanic, and let a watchdog run out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DeviceOptions, type MachineOptions, openDebian, VringError } from './index.js';

const limitMs = 300_000;

interface Case {
  readonly name: string;
  readonly machine: Partial<MachineOptions> & { readonly devices: DeviceOptions[] };
  readonly command: string;
  readonly told: readonly string[];
  readonly end: object;
}

const cases: readonly Case[] = [
  {
    // Debian's kernel has no driver for it, but finds it.
    name: 'pvpanic at a port',
    machine: { devices: [{ type: 'pvpanic' }] },
    command: '[ -e /sys/bus/acpi/devices/QEMU0001:00 ] && printf "\\\\001" | dd of=/dev/port bs=1 seek=1285; sleep 200',
    told: ['panicked poweroff'],
    end: { why: 'panic' },
  },
  {
    name: 'pvpanic-pci on q35',
    machine: { machine: 'q35', devices: [{ type: 'pvpanic-pci' }] },
    command: 'modprobe pvpanic-pci && echo c > /proc/sysrq-trigger',
    told: ['panicked poweroff'],
    end: { why: 'panic' },
  },
  {
    name: 'i6300esb',
    machine: { devices: [{ type: 'i6300esb' }], onWatchdog: 'poweroff' },
    command: 'modprobe i6300esb heartbeat=4 && exec 3> /dev/watchdog && echo opened; sleep 200',
    told: ['watchdog poweroff'],
    end: { why: 'poweroff' },
  },
];

for (const { name, machine, command, told, end } of cases)
  test(`Linux and ${name}`, { timeout: limitMs }, async (t) => {
    let session: Awaited<ReturnType<typeof openDebian>>;
    try {
      session = await openDebian({
        suite: 'bookworm',
        flavour: 'amd64',
        machine: { accelerators: ['tcg'], ...machine },
        command: ['sh', '-c', command],
      });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    await using running = session;
    running.exited.catch(() => {});
    const heard: string[] = [];
    running.machine.on('panicked', (action) => heard.push(`panicked ${action}`));
    running.machine.on('watchdog', (action) => heard.push(`watchdog ${action}`));
    await running.start();
    assert.deepEqual(await running.machine.ended, end, running.kernelLog);
    assert.deepEqual(heard, told);
  });
