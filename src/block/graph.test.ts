import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../host/node/block-host.js';
import { SparseBitmap } from './dirty-bitmap.js';
import { BlockGraph, blockdevRequest, combinePath, driveRequest } from './graph.js';
import { RequestFlag } from './node.js';
import { parseOptionString, parseSize } from './options.js';
import { memoryHost } from './testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);

test('-blockdev: JSON and key=value name the same graph', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'a,b', { size: 65536 });
  const json = '{"driver":"qcow2","node-name":"disk","file":{"driver":"file","filename":"a,b"}}';
  for (const text of [json, 'qcow2,node-name=disk,file.driver=file,file.filename=a,,b']) {
    const node = await graph.open(blockdevRequest(text));
    assert.equal(graph.find('disk'), node);
    assert.equal(node.length, 65536);
    await node.close();
    assert.equal(graph.find('disk'), undefined);
  }
});

test('-drive: image options apart from device options', () => {
  const { request, device, isTemporary } = driveRequest(
    'file=a.img,format=raw,if=virtio,id=d0,cache=none,readonly=on,snapshot=on,discard=unmap',
  );
  assert.deepEqual(device, { if: 'virtio', id: 'd0' });
  assert.equal(isTemporary, true);
  assert.equal(request.filename, 'a.img');
  assert.equal(request.format, 'raw');
  assert.deepEqual(request.options, { discard: 'unmap' });
  assert.deepEqual(request.flags, { direct: true, noFlush: false, writeThrough: false, readOnly: true });
  assert.throws(() => driveRequest('file=a,cache=some'), /invalid cache option/);
});

test('option strings and sizes read as QEMU reads them', () => {
  assert.deepEqual(parseOptionString('a.img,ro,nolock,x=1,,2', 'file'), {
    file: 'a.img',
    ro: 'on',
    lock: 'off',
    x: '1,2',
  });
  assert.equal(parseSize('1.5k'), 1536);
  assert.equal(parseSize('0x10'), 16);
  assert.equal(parseSize('16E'), 'range');
  assert.equal(parseSize('1x'), undefined);
  assert.equal(parseSize(''), undefined);
});

test('backing names are relative to the image that holds them', () => {
  assert.equal(combinePath('/a/b.qcow2', 'c.raw'), '/a/c.raw');
  assert.equal(combinePath('b.qcow2', 'c.raw'), 'c.raw');
  assert.equal(combinePath('/a/b', '/c'), '/c');
  assert.equal(combinePath('/a/b', 'nbd:host:1'), 'nbd:host:1');
});

test('a node with a user that refuses writers has one', async () => {
  const graph = new BlockGraph(memoryHost(real));
  const node = await graph.open({
    options: { driver: 'memory', size: 4096, 'node-name': 'm' },
    flags: { readOnly: false },
    shared: 1,
  });
  await assert.rejects(node.acquire('another', 2, 15), { code: 'EPERM' });
  const reader = await node.acquire('reader', 1, 15);
  await reader.release();
  await node.close();
});

test('a chain that names itself is refused', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'a', { size: 65536, backing_file: 'b', backing_fmt: 'qcow2' });
  await graph.create('qcow2', 'b', { size: 65536, backing_file: 'a', backing_fmt: 'qcow2' });
  await assert.rejects(graph.open({ filename: 'a', format: 'qcow2' }), /creates an infinite loop/);
});

test('reads and writes in place do what the others do, and stand back where something is in the way', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: '1M' });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } });
  const bytes = new Uint8Array(4096).fill(7);
  const back = new Uint8Array(4096);
  const isRead = (offset: number): boolean => node.readNow(offset, back);
  await node.read(0, back);
  assert.ok(isRead(0));
  assert.deepEqual(back, new Uint8Array(4096), 'nothing is there yet');
  assert.equal(node.writeNow(0, bytes), false, 'a new cluster is needed');
  await node.write(0, bytes);
  assert.equal(node.writeNow(8192, bytes), true);
  assert.ok(isRead(8192));
  assert.deepEqual(back, bytes);
  assert.equal(node.writeNow(65_536 - 2048, bytes), false, 'half of it lies in no cluster');
  assert.equal(isRead(2 ** 20 - 2048), false, 'past the end');
  assert.equal(node.writeNow(-1, bytes), false);
  const bitmap = new SparseBitmap('b', 65_536, 2 ** 20);
  bitmap.enabled = true;
  node.addBitmap(bitmap);
  assert.equal(node.writeNow(4096, bytes), true);
  assert.equal(bitmap.get(0), true, 'bitmaps hear of it');
  node.removeBitmap(bitmap);
  node.beforeWrite.push(() => undefined);
  assert.equal(node.writeNow(0, bytes), false, 'a backup wants to know first');
  node.beforeWrite.pop();
  // What a snapshot shares is not written in place.
  await node.instance.snapshots!.create({
    name: 's',
    vmStateBytes: 0,
    dateSeconds: 1,
    dateNanoseconds: 0,
    vmClockNs: 0,
  });
  assert.equal(node.writeNow(0, new Uint8Array(4096).fill(9)), false);
  await node.setReadOnly(true);
  assert.equal(node.writeNow(0, bytes), false);
  await node.close();
});

test('who hears of a write and takes itself away then keeps no other from hearing of it', async () => {
  const graph = new BlockGraph(memoryHost(real));
  const node = await graph.open({ options: { driver: 'null-co', size: 65536 }, flags: { readOnly: false } });
  const heard: string[] = [];
  const once = () => {
    heard.push('once');
    node.beforeWrite.splice(node.beforeWrite.indexOf(once), 1);
    return undefined;
  };
  const always = () => void heard.push('always');
  node.beforeWrite.push(once, always);
  await node.write(0, new Uint8Array(512));
  await node.write(0, new Uint8Array(512));
  assert.deepEqual(heard, ['once', 'always', 'always']);
  await node.close();
});

test('a flush is done again after somebody has written past the node', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: '1M' });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } });
  await node.write(0, new Uint8Array(4096).fill(7));
  const syncs = async () => {
    const before = host.files.log.filter(({ kind }) => kind === 'sync').length;
    await node.flush();
    return host.files.log.filter(({ kind }) => kind === 'sync').length - before;
  };
  assert.ok((await syncs()) > 0);
  assert.equal(await syncs(), 0);
  node.noteWritten();
  assert.ok((await syncs()) > 0);
  assert.equal(node.place(0, 4096), undefined, 'a file in memory has no place on the host');
  await node.close();
});

test('copy-on-read does not overwrite what was being written when it began', async () => {
  const graph = new BlockGraph(memoryHost(real));
  await graph.create('qcow2', 'base', { size: '1M' });
  const base = await graph.open({ filename: 'base', format: 'qcow2', flags: { readOnly: false } });
  await base.write(0, new Uint8Array(2 ** 20).fill(1));
  await base.close();
  await graph.create('qcow2', 'top', { size: '1M', backing_file: 'base', backing_fmt: 'qcow2' });
  const top = await graph.open({ filename: 'top', format: 'qcow2', flags: { readOnly: false } });
  const expected = new Uint8Array(65_536).fill(1).fill(9, 4096, 4608);
  const writing = top.write(4096, new Uint8Array(512).fill(9));
  const buffer = new Uint8Array(65_536);
  const flags = RequestFlag.copyOnRead | RequestFlag.prefetch;
  // The second one finds tracking begun, but the write still under way.
  await Promise.all([top.read(0, buffer, flags), top.read(0, new Uint8Array(65_536), flags)]);
  await writing;
  await top.read(0, buffer);
  assert.deepEqual(buffer, expected);
  await top.close();
});

test('a hole made past the end of a file does not cut off what a write under way puts behind it', async () => {
  const graph = new BlockGraph(memoryHost(real));
  await graph.create('raw', 'grown', { size: 0 });
  const node = await graph.open({
    options: { driver: 'file', filename: 'grown' },
    flags: { readOnly: false, unmap: true },
  });
  const written = new Uint8Array(4096).fill(7);
  await Promise.all([node.write(8192, written), node.writeZeroes(0, 4096, RequestFlag.mayUnmap)]);
  assert.equal(node.length, 12288);
  const found = new Uint8Array(4096);
  await node.read(8192, found);
  assert.deepEqual(found, written);
  await node.close();
});
