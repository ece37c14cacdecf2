import assert from 'node:assert/strict';
import test from 'node:test';
import { loopback4, loopback6 } from '../../net/index.js';
import { PingSocket } from './ping-socket.js';

for (const version of [4, 6] as const) {
  test(`an echo of this host over IPv${version}`, async (t) => {
    const socket = PingSocket.open(version);
    if (!socket) return t.skip('no ping sockets: net.ipv4.ping_group_range leaves this process out');
    const payload = (seed: number) => Uint8Array.from({ length: 56 + seed }, (_, i) => i * 3 + seed);
    const to = version === 4 ? loopback4 : loopback6;
    const keep = setTimeout(() => {}, 5000);
    const got = await Promise.all(
      [1, 2, 3].map((seed) => new Promise<Uint8Array>((resolve) => socket.echo(to, payload(seed), resolve))),
    );
    clearTimeout(keep);
    assert.deepEqual(got, [1, 2, 3].map(payload));
    socket.close();
  });
}
