/** PCI devices that come and go under Linux (Debian's kernel): ACPI on `pc`, a root port's own hot-plug on `q35`. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type DeviceOptions, openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring hotplug '));
after(() => rmSync(folder, { recursive: true }));

const content = Buffer.alloc(2 << 20);
for (let i = 0; i < content.length; i += 4) content.writeUInt32LE(Math.imul(i + 7, 2654435761) >>> 0, i);
const hash = createHash('sha256').update(content).digest('hex');

/** Devices one after the other: what finds the disk, or the card. */
const kinds = [
  { name: 'virtio', node: '/dev/vda' },
  { name: 'nvme', node: '/dev/nvme0n1' },
] as const;

const script = (node: string, name: string) => [
  `echo == plug ${name}`,
  `for try in $(seq 1 40); do [ -b ${node} ] && break; sleep 0.5; done`,
  `echo ${name} $(sha256sum < ${node})`,
  `echo == unplug ${name}`,
  `for try in $(seq 1 60); do [ -b ${node} ] || break; sleep 0.5; done; [ -b ${node} ] || echo gone ${name}`,
  // A line comes when the machine's owner has heard of it: the slot is free then.
  'read line',
];

for (const machine of ['pc', 'q35'] as const) {
  test(`PCI devices come and go on ${machine}`, { timeout: limitMs }, async (t) => {
    const path = join(folder, machine);
    writeFileSync(path, content);
    const isExpress = machine === 'q35';
    const slot = isExpress ? 'port1' : undefined;
    const ports: DeviceOptions[] = isExpress ? [{ type: 'pcie-root-port', id: 'port1' }] : [];
    let session: Awaited<ReturnType<typeof openDebian>>;
    try {
      session = await openDebian({
        suite: 'bookworm',
        flavour: 'amd64',
        machine: {
          machine,
          // A disk of its own thread is there from the start.
          devices: [...ports, { type: 'ide', media: 'cdrom', image: { path, format: 'raw' } }],
          networks: [{ id: 'net1', kind: 'user' }],
        },
        command: [
          'sh',
          '-c',
          [
            'modprobe -a virtio_blk virtio_net nvme',
            ...kinds.flatMap(({ name, node }) => script(node, name)),
            'echo == plug card; for try in $(seq 1 40); do [ -e /sys/class/net/*/device/driver/virtio* ] && break; sleep 0.5; done',
            'echo card $(cat /sys/class/net/e*/address); echo == unplug card',
            'for try in $(seq 1 60); do [ -e /sys/class/net/e*/address ] || break; sleep 0.5; done; echo cards $(ls /sys/class/net); cat > /dev/null',
            'true',
          ].join('\n'),
        ],
      });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    await using running = session;
    const { hotplug } = running.machine;
    const gone: string[] = [];
    running.machine.on('unplugged', (device) => {
      gone.push(device);
      if (device === 'card') running.stream('stdin').endInput();
      else void running.stream('stdin').write('\n');
    });
    const image = { path, format: 'raw', readonly: true } as const;
    const plug: Readonly<Record<string, DeviceOptions>> = {
      virtio: { type: 'virtio-blk', slot, image },
      nvme: { type: 'nvme', slot, serial: 'N1', namespaces: [{ image }] },
      card: { type: 'virtio-net', slot, network: 'net1', mac: '52:54:00:aa:bb:cc' },
    };
    const failures: unknown[] = [];
    let text = '';
    let seen = 0;
    running.stream('stdout').onData((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
      const steps = [...text.matchAll(/^== (plug|unplug) (\w+)\n/gm)];
      for (const [, what, name] of steps.slice(seen)) {
        const work = what === 'plug' ? hotplug.plug(name, plug[name!]!) : hotplug.unplug(name!);
        work.catch((error: unknown) => failures.push(error));
      }
      seen = steps.length;
    });
    await running.start();
    assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
    await running.machine.ended;
    t.diagnostic(text.replaceAll('\n', ' | '));
    assert.deepEqual(failures, []);
    for (const { name } of kinds)
      assert.match(text, new RegExp(`^${name} ${hash}[^]*^gone ${name}$`, 'm'), running.kernelLog);
    assert.match(text, /^card 52:54:00:aa:bb:cc$/m);
    assert.match(text, /^cards lo$/m);
    assert.deepEqual(gone, ['virtio', 'nvme', 'card']);
  });
}
