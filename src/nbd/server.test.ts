/** The server against the client in every header form, and either against a peer that breaks the protocol at random. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { BlockError } from '../block/errors.js';
import { BlockGraph } from '../block/graph.js';
import type { ByteStream } from '../block/host.js';
import { NbdConnection } from '../block/protocols/nbd/client.js';
import { listNbdExports } from '../block/protocols/nbd/handshake.js';
import {
  Command,
  CommandFlag,
  magic,
  Option,
  OptionReply,
  pack,
  packOption,
  packRequest,
  TransmissionFlag,
  viewOf,
} from '../block/protocols/nbd/wire.js';
import { randomFrom } from '../block/testing/memory-host.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { NbdServer } from './server.js';
import { streamPair } from './testing/stream-pair.js';

const sizeBytes = 4 * 2 ** 20;

async function makeServer(extra: { resizable?: boolean; readOnly?: boolean } = {}) {
  const graph = new BlockGraph(new NodeBlockHost());
  const node = await graph.open({
    options: { driver: 'memory', size: sizeBytes },
    flags: { readOnly: false, unmap: true },
  });
  const server = new NbdServer();
  await server.addExport({ node, name: 'disk', description: 'a disk', allocationDepth: true, ...extra });
  await node.close();
  const connect = async (): Promise<ByteStream> => {
    const [near, far] = streamPair();
    void server.serve(far);
    return near;
  };
  return { server, node, network: { connect }, address: { type: 'unix', path: 'memory' } as const };
}

function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(promise, (error) => error instanceof BlockError && error.code === code);
}

for (const headers of ['simple', 'structured', 'extended'] as const) {
  test(`reads, writes, zeroes, trims and flushes with ${headers} headers`, async () => {
    const { server, network, address } = await makeServer();
    const client = await NbdConnection.open({
      network,
      address,
      headers,
      exportName: 'disk',
      contexts: ['base:allocation', 'qemu:allocation-depth'],
    });
    assert.equal(client.mode, headers);
    assert.equal(client.info.lengthBytes, sizeBytes);
    const pattern = Uint8Array.from({ length: 300_000 }, (_, index) => index % 251);
    await client.write(65_000, pattern, true);
    const back = new Uint8Array(sizeBytes).fill(0xee);
    await client.read(0, back);
    assert.deepEqual(back.subarray(65_000, 365_000), pattern);
    assert.ok(back.subarray(0, 65_000).every((byte) => byte === 0));
    assert.ok(back.subarray(365_000).every((byte) => byte === 0));
    await client.writeZeroes(70_000, 1000, CommandFlag.fastZero);
    await client.trim(131_072, 65_536);
    await client.flush();
    await client.cache(0, sizeBytes);
    await client.read(0, back);
    assert.ok(back.subarray(70_000, 71_000).every((byte) => byte === 0));
    assert.equal(back[71_000], pattern[6000]);
    assert.ok(back.subarray(131_072, 196_608).every((byte) => byte === 0));
    if (headers === 'simple') await rejects(client.blockStatus(0, 4096), 'EINVAL');
    else {
      // Pages of 64 KiB: written from the one that 65000 lies in, less the trimmed one.
      const extents = await client.blockStatus(0, sizeBytes);
      const allocation = extents.get(client.contextId('base:allocation')!)!;
      assert.deepEqual(allocation, [
        { length: 131_072, flags: 0 },
        { length: 65_536, flags: 3 },
        { length: 196_608, flags: 0 },
        { length: sizeBytes - 393_216, flags: 3 },
      ]);
      const one = await client.blockStatus(131_072, 1000, true);
      assert.deepEqual(one.get(client.contextId('base:allocation')!), [{ length: 1000, flags: 3 }]);
      assert.deepEqual(one.get(client.contextId('qemu:allocation-depth')!), [{ length: 1000, flags: 1 }]);
    }
    await rejects(client.read(sizeBytes - 1, new Uint8Array(2)), 'EINVAL');
    await rejects(client.write(sizeBytes, new Uint8Array(1)), 'ENOSPC');
    await rejects(client.resize(1000), 'ENOTSUP');
    // Errors leave the connection as it was.
    await client.flush();
    await client.close();
    await server.close();
  });
}

test('a read-only export refuses what changes it, and tells so', async () => {
  const { server, network, address } = await makeServer({ readOnly: true });
  const client = await NbdConnection.open({ network, address, exportName: 'disk' });
  assert.ok(client.readOnly);
  assert.ok(!client.can(TransmissionFlag.sendTrim | TransmissionFlag.sendWriteZeroes));
  await rejects(client.write(0, new Uint8Array(512)), 'EPERM');
  await rejects(client.writeZeroes(0, 512), 'EPERM');
  await rejects(client.trim(0, 512), 'EPERM');
  await client.close();
  await server.close();
});

test('resizes where that is allowed', async () => {
  const { server, node, network, address } = await makeServer({ resizable: true });
  const client = await NbdConnection.open({ network, address, exportName: 'disk' });
  assert.ok(client.can(TransmissionFlag.sendResize));
  await client.resize(2 * sizeBytes);
  assert.equal(node.length, 2 * sizeBytes);
  await client.write(2 * sizeBytes - 1, Uint8Array.of(7));
  await client.close();
  await server.close();
});

test('lists exports; unknown names and late options are refused in words', async () => {
  const { server, network, address } = await makeServer();
  const [entry, ...rest] = await listNbdExports({ network, address });
  assert.equal(rest.length, 0);
  assert.equal(entry?.name, 'disk');
  assert.equal(entry?.description, 'a disk');
  assert.deepEqual(
    entry?.contexts.map(({ name }) => name),
    ['base:allocation', 'qemu:allocation-depth'],
  );
  await assert.rejects(
    NbdConnection.open({ network, address, exportName: 'other' }),
    /Requested export not available\nserver reported: export 'other' not present/,
  );
  await server.close();
});

test('removing an export ends its connections', async () => {
  const { server, network, address } = await makeServer();
  const client = await NbdConnection.open({ network, address, exportName: 'disk' });
  await server.removeExport('disk');
  await rejects(client.read(0, new Uint8Array(1)), 'EIO');
  assert.equal(server.connectionCount, 0);
  await client.close();
});

test('block-status payloads choose contexts, by the specification’s form', async () => {
  const { server, network, address } = await makeServer();
  const stream = await network.connect();
  const received = collect(stream);
  await stream.write(
    pack(['u32', 3]),
    packOption(Option.extendedHeaders),
    packOption(Option.setMetaContext, metaQuery('disk', ['base:allocation', 'qemu:allocation-depth'])),
    packOption(Option.go, pack(['u32', 4], ['bytes', new TextEncoder().encode('disk')], ['u16', 0])),
    packRequest(
      {
        flags: CommandFlag.payloadLength,
        command: Command.blockStatus,
        cookieHigh: 1,
        cookieLow: 2,
        offset: 0,
        length: 12,
      },
      true,
    ),
    pack(['u64', sizeBytes], ['u32', 1]),
    packRequest({ flags: 0, command: Command.disconnect, cookieHigh: 0, cookieLow: 0, offset: 0, length: 0 }, true),
  );
  const bytes = await received;
  // The last 32 + 24 bytes: one chunk of type 6, done, with context 1 and one extent.
  const view = viewOf(bytes.subarray(bytes.length - 56));
  assert.equal(view.getUint32(0), magic.extendedReply);
  assert.deepEqual([view.getUint16(4), view.getUint16(6)], [1, 6]);
  assert.deepEqual([view.getUint32(8), view.getUint32(12)], [1, 2]);
  assert.equal(view.getUint32(28), 24);
  assert.deepEqual([view.getUint32(32), view.getUint32(36)], [1, 1]);
  assert.equal(view.getUint32(44), sizeBytes);
  assert.equal(view.getUint32(52), 1);
  assert.equal(address.path, 'memory');
  await server.close();
});

function metaQuery(name: string, queries: readonly string[]): Uint8Array {
  const encoder = new TextEncoder();
  const text = encoder.encode(name);
  return pack(
    ['u32', text.length],
    ['bytes', text],
    ['u32', queries.length],
    ...queries.flatMap((query) => [['u32', query.length] as const, ['bytes', encoder.encode(query)] as const]),
  );
}

async function collect(stream: ByteStream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = await stream.read(1 << 20).catch(() => new Uint8Array(0));
    if (part.length === 0) return Buffer.concat(parts);
    parts.push(part);
  }
}

/** A conversation that is right in the whole, with a few bytes changed: everything of it must end, and the server live on. */
test('a server outlives clients that break the protocol (seeded)', async () => {
  const { server, node, network, address } = await makeServer();
  const random = randomFrom(20261120);
  const name = new TextEncoder().encode('disk');
  for (let round = 0; round < 400; round++) {
    const isExtended = random(2) === 1;
    const parts: Uint8Array[] = [
      pack(['u32', random(20) === 0 ? random(2 ** 32) : 3]),
      packOption(isExtended ? Option.extendedHeaders : Option.structuredReply),
      packOption(Option.list),
      packOption(Option.setMetaContext, metaQuery('disk', ['base:allocation'])),
      packOption(random(3) === 0 ? random(20) : Option.info, pack(['u32', 4], ['bytes', name], ['u16', 1], ['u16', 3])),
      packOption(Option.go, pack(['u32', 4], ['bytes', name], ['u16', 0])),
    ];
    for (let index = 0; index < 10; index++) {
      const command = random(9);
      const length = random(4) === 0 ? random(2 ** 31) : random(8192);
      const isWrite = command === Command.write;
      const flags = (isWrite && isExtended ? CommandFlag.payloadLength : 0) | (random(4) === 0 ? random(64) : 0);
      const size = isWrite ? random(4096) : length;
      parts.push(
        packRequest(
          { flags, command, cookieHigh: index, cookieLow: round, offset: random(sizeBytes), length: size },
          isExtended,
        ),
      );
      if (isWrite) parts.push(new Uint8Array(size).fill(index));
    }
    const bytes = Buffer.concat(parts);
    const isMangled = random(4) !== 0;
    for (let change = random(6); isMangled && change > 0; change--) bytes[random(bytes.length)] = random(256);
    const stream = await network.connect();
    const received = collect(stream);
    // In pieces, cut off anywhere.
    const end = random(3) === 0 ? random(bytes.length) : bytes.length;
    for (let at = 0; at < end; ) {
      const size = Math.min(end - at, 1 + random(500));
      await stream.write(bytes.subarray(at, at + size)).catch(() => undefined);
      at += size;
    }
    await stream.end();
    const answer = await received;
    assert.ok(answer.length >= 18, 'the server greets');
    assert.ok(answer.length < 64 * 2 ** 20);
    stream.destroy();
  }
  assert.equal(node.length, sizeBytes);
  const client = await NbdConnection.open({ network, address, exportName: 'disk' });
  await client.read(0, new Uint8Array(sizeBytes));
  await client.close();
  await server.close();
});

test('a client outlives servers that break the protocol (seeded)', async () => {
  const random = randomFrom(77);
  const { server, network } = await makeServer();
  let [failed, passed] = [0, 0];
  for (let round = 0; round < 400; round++) {
    const headers = (['simple', 'structured', 'extended'] as const)[random(3)]!;
    // A man in the middle who changes bytes of what the server says, mostly after some of it was right.
    const after = random(1200);
    const connect = async (): Promise<ByteStream> => {
      const upstream = await network.connect();
      const [near, far] = streamPair();
      void (async () => {
        let seen = 0;
        for (;;) {
          const part = (await upstream.read(4096)).slice();
          if (part.length === 0) break;
          if (random(2) === 0 && seen + part.length > after) part[random(part.length)] = random(256);
          seen += part.length;
          await far.write(part);
        }
        far.destroy();
      })().catch(() => far.destroy());
      void (async () => {
        for (;;) {
          const part = await far.read(65536);
          if (part.length === 0) break;
          await upstream.write(part);
        }
        upstream.destroy();
      })().catch(() => upstream.destroy());
      return near;
    };
    let client: NbdConnection | undefined;
    try {
      client = await within(
        NbdConnection.open({
          network: { connect },
          address: { type: 'unix', path: '' },
          headers,
          exportName: 'disk',
          contexts: ['base:allocation'],
        }),
      );
      await within(client.write(4096, new Uint8Array(2048).fill(round)));
      await within(client.read(0, new Uint8Array(16384)));
      if (headers !== 'simple') await within(client.blockStatus(0, 1 << 20));
      await within(client.flush());
      passed++;
    } catch (error) {
      // Waiting for an answer whose cookie or length was changed is right; everything else is a typed error.
      if (error !== stuck) assert.ok(error instanceof BlockError, String(error));
      failed++;
    }
    await client?.close();
  }
  assert.ok(failed > 50 && passed > 10, `${failed} failed, ${passed} passed`);
  await server.close();
});

const stuck = new Error('no answer');

/** In memory nothing takes time: what has no answer soon never will. */
function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(stuck), 100);
  });
  promise.catch(() => undefined);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

test('option replies of a server are bounded', async () => {
  const connect = async (): Promise<ByteStream> => {
    const [near, far] = streamPair();
    void (async () => {
      await far.write(
        pack(
          ['u32', magic.init[0]],
          ['u32', magic.init[1]],
          ['u32', magic.option[0]],
          ['u32', magic.option[1]],
          ['u16', 3],
        ),
      );
      // An info reply that claims 2 GiB.
      await far.write(
        pack(
          ['u32', magic.optionReply[0]],
          ['u32', magic.optionReply[1]],
          ['u32', Option.extendedHeaders],
          ['u32', OptionReply.ack],
          ['u32', 2 ** 31],
        ),
      );
    })();
    return near;
  };
  await assert.rejects(NbdConnection.open({ network: { connect }, address: { type: 'unix', path: '' } }), /too long/);
});
