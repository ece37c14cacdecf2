import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { findArchitecture } from './architectures.js';
import { readKernel } from './kernel-images.js';

const directory = mkdtempSync(join(tmpdir(), 'vring kernel images '));
after(() => rmSync(directory, { recursive: true, force: true }));
const put = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(directory, name), bytes);
  return join(directory, name);
};
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();
const multiboot = new Uint8Array(Uint32Array.from([0x1badb002, 0, -0x1badb002 >>> 0, 0]).buffer);

test("a Multiboot kernel's initrd is a list of modules, another kernel's one file", async () => {
  const pc = findArchitecture('x86_64');
  const [one, two] = [put('one', Buffer.from('1')), put('a,b', Buffer.from('2'))];
  // The directory's own name has spaces, where a module's arguments begin.
  process.chdir(directory);
  const images = await readKernel(pc, {
    kernel: put('kernel', multiboot),
    initrd: 'one x=1,,2,a,,b',
    commandLine: 'y',
  });
  assert.deepEqual(
    images?.modules?.map(({ bytes, commandLine }) => [text(bytes), commandLine]),
    [
      ['1', 'one x=1,2'],
      ['2', 'a,b'],
    ],
  );
  assert.equal(images?.name, join(directory, 'kernel'));
  assert.equal(images?.initrd, undefined);
  assert.equal(images?.commandLine, 'y');

  const other = put('other', new Uint8Array(64));
  assert.equal(text((await readKernel(pc, { kernel: other, initrd: two, commandLine: '' }))?.initrd), '2');
  assert.equal((await readKernel(pc, { kernel: other, initrd: one, commandLine: '' }))?.modules, undefined);
  // Bytes are no list, and have no name.
  const bytes = await readKernel(pc, { kernel: multiboot, initrd: Buffer.from('3'), commandLine: '' });
  assert.deepEqual([text(bytes?.initrd), bytes?.name, bytes?.modules], ['3', undefined, undefined]);
  // Elsewhere Multiboot is not known.
  const riscv = findArchitecture('riscv64');
  assert.equal(text((await readKernel(riscv, { kernel: multiboot, initrd: 'a,b', commandLine: '' }))?.initrd), '2');

  await assert.rejects(readKernel(pc, { kernel: multiboot, initrd: 'one,gone', commandLine: '' }), /module 'gone'/);
  assert.equal(await readKernel(pc, { initrd: 'one', commandLine: '' }), undefined);
});
