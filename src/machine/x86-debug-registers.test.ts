import assert from 'node:assert/strict';
import test from 'node:test';
import { TestPc } from './testing/test-pc.js';

test("a vCPU without long mode has gdb's 32-bit registers, in the order that gdb has them without a description", () => {
  const { architecture, registers } = new TestPc({ cpu: 'qemu32' }).pc.debug;
  assert.equal(architecture, 'i386');
  const names = registers.map(({ name }) => name);
  // gdb's i386-32bit-core.xml and -sse.xml
  const segments = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'];
  const general = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip', 'eflags', ...segments];
  assert.deepEqual(names.slice(0, 16), general);
  assert.deepEqual(names.slice(16, 32), [
    ...Array.from({ length: 8 }, (_, i) => `st${i}`),
    ...['fctrl', 'fstat', 'ftag', 'fiseg', 'fioff', 'foseg', 'fooff', 'fop'],
  ]);
  assert.deepEqual(
    names.filter((name) => /^xmm|mxcsr/.test(name)),
    [...Array.from({ length: 8 }, (_, i) => `xmm${i}`), 'mxcsr'],
  );
  assert.deepEqual(
    registers.filter(({ name, bits }) => bits === 64 || /^r/.test(name)).map(({ name }) => name),
    [],
  );
  const ebx = registers.find(({ name }) => name === 'ebx');
  ebx?.write?.(0, 0x89abcdefn);
  assert.equal(ebx?.read(0), 0x89abcdefn);
  assert.equal(new TestPc({ cpu: 'qemu64' }).pc.debug.architecture, 'i386:x86-64');
});
