/** Debian's own drivers on the user-mode network: an address by DHCP, a file each way with equal hashes. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openDebian, runCommand } from './debian.js';

const script = (inPort: number, outPort: number) => `
ip link set eth0 up
mkdir -p /tmp
cat > /tmp/bound <<'X'
#!/bin/sh
case "$1" in bound) ip addr add $ip/$mask dev $interface; ip route add default via $router; echo "lease $ip $router $dns";; esac
X
chmod +x /tmp/bound
busybox udhcpc -i eth0 -q -n -s /tmp/bound 2>/dev/null
busybox nc 10.0.2.2 ${inPort} < /dev/null > /tmp/blob
sha256sum < /tmp/blob
busybox nc 10.0.2.2 ${outPort} < /tmp/blob
`;

async function listening(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as net.AddressInfo).port;
}

for (const { type, flavour, mebibytes } of [
  { type: 'virtio-net', flavour: undefined, mebibytes: 64 },
  { type: 'e1000', flavour: 'amd64', mebibytes: 64 },
  { type: 'rtl8139', flavour: 'amd64', mebibytes: 32 },
  // Word by word through a port.
  { type: 'ne2k_pci', flavour: 'amd64', mebibytes: 2 },
] as const) {
  test(`${type}: DHCP and ${mebibytes} MiB both ways`, { timeout: 300_000 }, async () => {
    const bytes = randomBytes(mebibytes << 20);
    const hash = createHash('sha256').update(bytes).digest('hex');
    const back = createHash('sha256');
    const giver = net.createServer((socket) => void socket.end(bytes));
    const taker = net.createServer((socket) => void socket.on('data', (piece) => back.update(piece)));
    try {
      const text = script(await listening(giver), await listening(taker));
      const { status, stdout, stderr } = await runCommand(
        {
          flavour,
          machine: {
            ramBytes: 512 << 20,
            networks: [{ id: 'n', kind: 'user' }],
            devices: [{ type, network: 'n' }],
          },
        },
        ['sh', '-c', text],
        { timeoutMs: 280_000 },
      );
      const said = new TextDecoder().decode(stdout);
      assert.equal(status, 0, new TextDecoder().decode(stderr));
      assert.match(said, /^lease 10\.0\.2\.15 10\.0\.2\.2 10\.0\.2\.3$/m);
      assert.ok(said.includes(hash), said);
      assert.equal(back.digest('hex'), hash);
    } finally {
      giver.close();
      taker.close();
    }
  });
}

for (const { type, flavour } of [
  { type: 'virtio-net', flavour: undefined },
  { type: 'rtl8139', flavour: 'amd64' },
] as const) {
  test(`${type}: a cable that is pulled and plugged in again`, { timeout: 300_000 }, async () => {
    await using session = await openDebian({
      flavour,
      command: [
        'sh',
        '-c',
        `ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; last=
         while :; do
           now=$(cat /sys/class/net/eth0/carrier)
           [ "$now" = "$last" ] || { last=$now; echo "carrier $now"; [ "$now" = 0 ] || busybox ping -c 1 -w 20 10.0.2.2; }
           sleep 0.2
         done`,
      ],
      machine: {
        ramBytes: 512 << 20,
        networks: [{ id: 'n', kind: 'user' }],
        devices: [{ type, network: 'n' }],
      },
    });
    const out = session.stream('stdout');
    await session.start();
    const wait = { timeoutMs: 120_000 };
    await out.waitForText('carrier 1', wait);
    await out.waitForText('1 packets received', wait);
    await session.machine.setLink('n', false);
    await out.waitForText('carrier 0', wait);
    await session.machine.setLink('n', true);
    await out.waitForText('carrier 1', wait);
    await out.waitForText('1 packets received', wait);
  });
}

test('virtio-net: what is captured is as on a wire, complete and with its checksums', {
  timeout: 300_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-capture-'));
  const path = join(folder, 'n.pcap');
  const bytes = randomBytes(300_000);
  const giver = net.createServer((socket) => void socket.end(bytes));
  const taker = net.createServer((socket) => void socket.resume());
  try {
    const text = script(await listening(giver), await listening(taker));
    const { status } = await runCommand(
      {
        machine: {
          ramBytes: 512 << 20,
          networks: [{ id: 'n', kind: 'user', captures: [{ path }] }],
          devices: [{ type: 'virtio-net', network: 'n' }],
        },
      },
      ['sh', '-c', text],
      { timeoutMs: 280_000 },
    );
    assert.equal(status, 0);
    const file = readFileSync(path);
    const payload = [0, 0];
    for (let at = 24; at < file.length; ) {
      const length = file.readUInt32LE(at + 8);
      const frame = file.subarray(at + 16, at + 16 + length);
      assert.equal(file.readUInt32LE(at + 12), length);
      assert.ok(length <= 1514, `a frame of ${length} bytes`);
      at += 16 + length;
      if (frame.readUInt16BE(12) !== 0x0800 || frame[23] !== 6) continue;
      const segment = frame.subarray(34, 14 + frame.readUInt16BE(16));
      // The pseudo header: both addresses, the protocol, the length (RFC 9293, 3.1).
      let sum = 6 + segment.length;
      for (let i = 26; i < 34; i += 2) sum += frame.readUInt16BE(i);
      for (let i = 0; i < segment.length; i += 2) sum += (segment[i] << 8) | (segment[i + 1] ?? 0);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      assert.equal(sum, 0xffff, 'a checksum of TCP');
      payload[frame[29] === 2 ? 0 : 1] += segment.length - (segment[12] >> 4) * 4;
    }
    assert.ok(payload.every((count) => count >= bytes.length));
  } finally {
    giver.close();
    taker.close();
    rmSync(folder, { recursive: true });
  }
});
