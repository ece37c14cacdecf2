import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { BlockGraph } from '../../block/graph.js';
import { RequestFlag } from '../../block/node.js';
import { NodeBlockHost } from './block-host.js';

const hasQemuIo = spawnSync('qemu-io', ['--version']).status === 0;

function withDirectory(run: (directory: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-block-'));
    try {
      await run(directory);
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  };
}

const silent = new NodeBlockHost(() => undefined);

test(
  'raw file: write, read, zero, holes, resize',
  withDirectory(async (directory) => {
    const name = path.join(directory, 'a.raw');
    const graph = new BlockGraph(silent);
    await graph.create('raw', name, { size: '4M' });
    assert.equal(fs.statSync(name).size, 4 << 20);
    const node = await graph.open({ filename: name, format: 'raw', flags: { readOnly: false, unmap: true } });
    await node.write(1 << 20, new Uint8Array(300_000).fill(7));
    const back = new Uint8Array(10);
    await node.read((1 << 20) + 299_995, back);
    assert.deepEqual([...back], [7, 7, 7, 7, 7, 0, 0, 0, 0, 0]);
    // Creation writes the first block, as qemu-img does.
    const hole = await node.blockStatus(4096, 4 << 20);
    const tellsHoles = !silent.files.missing.has('seek-hole');
    assert.equal(hole.zero, tellsHoles);
    if (tellsHoles) assert.equal(hole.length, (1 << 20) - 4096);
    const data = await node.blockStatus(1 << 20, 4 << 20);
    assert.equal(data.data && !data.zero, true);
    await node.writeZeroes(1 << 20, 65536, RequestFlag.mayUnmap);
    assert.equal((await node.blockStatus(1 << 20, 65536)).zero, tellsHoles);
    await node.read(1 << 20, back);
    assert.deepEqual([...back], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    await node.resize(8 << 20);
    assert.equal(node.length, 8 << 20);
    await node.close();
    assert.equal(fs.statSync(name).size, 8 << 20);
  }),
);

test(
  'a second writer is refused, in this process and against qemu-io',
  { skip: silent.files.missing.has('ofd-locks') ? 'locks need koffi' : false },
  withDirectory(async (directory) => {
    const name = path.join(directory, 'a.raw');
    const graph = new BlockGraph(silent);
    await graph.create('raw', name, { size: '1M' });
    // Raw lets others write unless the user refuses it: as a format's storage would.
    const first = await graph.open({ filename: name, format: 'raw', flags: { readOnly: false }, shared: 1 });
    await assert.rejects(
      new BlockGraph(silent).open({ filename: name, format: 'raw', flags: { readOnly: false } }),
      /Failed to get "write" lock/,
    );
    const reader = await new BlockGraph(silent).open({ filename: name, format: 'raw' });
    await reader.close();
    if (hasQemuIo) {
      const io = spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', name], { encoding: 'utf8' });
      assert.equal(io.status, 1);
      assert.match(io.stderr, /Failed to get "write" lock/);
    }
    await first.close();
  }),
);

test(
  'a raw image that was guessed cannot become another format',
  withDirectory(async (directory) => {
    const name = path.join(directory, 'a.img');
    fs.writeFileSync(name, new Uint8Array(1 << 20));
    const graph = new BlockGraph(silent);
    const node = await graph.open({ filename: name, flags: { readOnly: false } });
    assert.equal(node.driver.name, 'raw');
    const header = new Uint8Array(512);
    header.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
    await assert.rejects(node.write(0, header), { code: 'EPERM' });
    await assert.rejects(node.write(0, header.subarray(0, 8)), { code: 'EPERM' });
    await node.write(0, new Uint8Array(512).fill(1));
    await node.write(512, header);
    await node.close();
  }),
);

test('options: commas doubled, dotted keys, JSON', async () => {
  const graph = new BlockGraph(silent);
  const node = await graph.open({
    filename: 'json:{"driver":"raw","size":1024,"offset":512,"file":{"driver":"memory","size":4096}}',
  });
  assert.equal(node.length, 1024);
  assert.equal(node.filename.startsWith('json:{'), true);
  await node.close();
  await assert.rejects(graph.open({ filename: 'nosuch:x' }), /Unknown protocol 'nosuch'/);
  await assert.rejects(
    graph.open({ filename: '/nonexistent/x' }),
    /Could not open '\/nonexistent\/x': No such file or directory/,
  );
  await assert.rejects(
    graph.open({ options: { driver: 'raw', 'file.driver': 'memory', bogus: 1 } }),
    /Block format 'raw' does not support the option 'bogus'/,
  );
});

test(
  'the host copies between files where it can; elsewhere nothing is touched',
  withDirectory(async (directory) => {
    const [from, to] = [path.join(directory, 'from.raw'), path.join(directory, 'to.raw')];
    const contents = Buffer.alloc(300_000, 'what is copied ');
    fs.writeFileSync(from, contents);
    fs.writeFileSync(to, Buffer.alloc(200_000, 1));
    const graph = new BlockGraph(silent);
    const source = await graph.open({ filename: from, format: 'raw' });
    const target = await graph.open({ filename: to, format: 'raw', flags: { readOnly: false } });
    const { file, offset } = await source.chainStatus(10_000, 250_000);
    const isDone = await target.copyRange(5000, file!, offset!, 250_000);
    const written = fs.readFileSync(to);
    if (isDone) {
      assert.ok(written.subarray(5000, 255_000).equals(contents.subarray(10_000, 260_000)));
      assert.equal(written.length, 255_000, 'the file has grown');
      assert.equal(target.length, 255_488, 'to the end of a sector');
      assert.ok(written.subarray(0, 5000).equals(Buffer.alloc(5000, 1)));
    } else assert.ok(silent.files.missing.has('copy-range'), 'without the FFI only');
    assert.equal(await target.copyRange(0, file!, 299_000, 2000), false, 'past the end of the source');
    await graph.create('qcow2', path.join(directory, 'q'), { size: '1M' });
    const other = await graph.open({
      filename: path.join(directory, 'q'),
      format: 'qcow2',
      flags: { readOnly: false },
    });
    assert.equal(await other.copyRange(0, file!, 0, 4096), false, 'a format that does not know how');
    await target.setReadOnly(true);
    await assert.rejects(target.copyRange(0, file!, 0, 4096), { code: 'EPERM' });
    for (const node of [source, target, other]) await node.close();
  }),
);
