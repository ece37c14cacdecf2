import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuid, featureRows, findFeature, qemuSpelling, signature } from './cpuid.js';
import { allModels, cpuHelp, parseCpuOption } from './models.js';
import { cr4 } from './system/bits.js';

const state = { cr4: 0, xcr0: 1n, xss: 0n, apicId: 0, apicEnabled: true, cpus: 1, tscHz: 1e9 };
const text = (...words: number[]): string =>
  words.map((word) => String.fromCharCode(word & 255, (word >> 8) & 255, (word >> 16) & 255, word >>> 24)).join('');

test('vendor, signature and brand of the default model are those of QEMU', () => {
  const model = parseCpuOption('qemu64');
  const zero = cpuid(model, 0, 0, state);
  assert.equal(text(zero.ebx, zero.edx, zero.ecx), 'AuthenticAMD');
  // QEMU 7.2 -cpu qemu64: CPUID.1:EAX = 00060FB1h
  assert.equal(signature(model), 0x60fb1);
  assert.equal(cpuid(model, 1, 0, state).eax, 0x60fb1);
  const brand = [2, 3, 4].map((n) => cpuid(model, 0x80000000 + n, 0, state));
  const name = brand
    .map((r) => text(r.eax, r.ebx, r.ecx, r.edx))
    .join('')
    .replace(/\0+$/, '');
  assert.equal(name, 'QEMU Virtual CPU version 2.5+');
});

test('x86-64-v2 is complete in the default model', () => {
  const { ecx, edx } = cpuid(parseCpuOption('qemu64'), 1, 0, state);
  // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT; FPU, CX8, CMOV, MMX, FXSR, SSE, SSE2
  assert.equal(ecx & 0x00982201, 0x00982201);
  assert.equal(edx & 0x07808101, 0x07808101);
  const extended = cpuid(parseCpuOption('qemu64'), 0x80000001, 0, state);
  // LAHF in long mode; SYSCALL, NX, LM
  assert.equal(extended.ecx & 1, 1);
  assert.equal(extended.edx & 0x20100800, 0x20100800);
});

test('OSXSAVE follows CR4; leaves without XSAVE are empty', () => {
  const max = parseCpuOption('max');
  assert.equal((cpuid(max, 1, 0, state).ecx >>> 27) & 1, 0);
  assert.equal((cpuid(max, 1, 0, { ...state, cr4: cr4.OSXSAVE }).ecx >>> 27) & 1, 1);
  assert.deepEqual(cpuid(max, 0xd, 0, state), { eax: 3, ebx: 576, ecx: 576, edx: 0 });
  assert.deepEqual(cpuid(parseCpuOption('max,-xsave'), 0xd, 0, state), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  assert.equal(parseCpuOption('max,-xsave').cr4Mask & cr4.OSXSAVE, 0);
  assert.equal(parseCpuOption('max,-xsave').features.has('xsaves'), false);
});

test('leaves out of range: zeros on AMD, the last basic leaf on Intel', () => {
  assert.deepEqual(cpuid(parseCpuOption('qemu64'), 0x20, 0, state), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  const nehalem = parseCpuOption('Nehalem');
  assert.deepEqual(cpuid(nehalem, 0x20, 0, state), cpuid(nehalem, 11, 0, state));
  assert.equal(cpuid(nehalem, 0, 0, state).eax, 11);
  assert.equal(signature(nehalem), 0x106a3);
});

test('flags of -cpu in all spellings', () => {
  const model = parseCpuOption('qemu64,+smap,-aes,sse4.2=off,rdtscp=on,lahf-lm=off,+xd');
  const has = (name: string) => model.features.has(name);
  assert.deepEqual(
    [has('smap'), has('aes'), has('sse4_2'), has('rdtscp'), has('lahf_lm'), has('nx')],
    [true, false, false, true, false, true],
  );
  assert.equal(model.cr4Mask & cr4.SMAP, cr4.SMAP);
  assert.equal(parseCpuOption('qemu64').cr4Mask & cr4.SMAP, 0);
  assert.equal(findFeature('sse4-1'), findFeature('SSE4.1'));
  assert.equal(findFeature('pni')?.name, 'sse3');
});

test('a feature that is not there may be switched off', () => {
  assert.deepEqual(parseCpuOption('qemu64,-svm,vmx=off,avx2=no'), parseCpuOption('qemu64'));
  assert.throws(() => parseCpuOption('qemu64,svm=on'), /'svm' is not supported yet/);
  assert.throws(() => parseCpuOption('qemu64,-svn'), /no CPU feature 'svn'/);
  assert.throws(() => parseCpuOption('qemu64,tcg-cpuid=off'), /'tcg-cpuid' is not supported yet/);
});

test('what is unknown is refused with the nearest word', () => {
  assert.throws(() => parseCpuOption('qemu46'), /no CPU model 'qemu46'; did you mean 'qemu64'/);
  assert.throws(() => parseCpuOption('max,+smpe'), /'smpe'; did you mean 'smep'/);
  assert.throws(() => parseCpuOption('max,avx512f=on'), /the CPU feature 'avx512f' is not supported yet/);
  for (const known of ['Haswell', 'EPYC-Milan-v1', 'SandyBridge-IBRS', 'phenom'])
    assert.throws(() => parseCpuOption(known), /is not supported yet/, known);
  for (const known of ['+vmx', 'hv-time', '+f16c'])
    assert.throws(() => parseCpuOption(`max,${known}`), /is not supported yet/, known);
  assert.deepEqual(parseCpuOption('host').features, parseCpuOption('max').features);
  assert.throws(() => parseCpuOption('max,aes=perhaps'), /on or off/);
  assert.throws(() => parseCpuOption('max,phys-bits=99'), /out of range/);
});

test("versions and QEMU's checks of a model", () => {
  assert.deepEqual(parseCpuOption('Penryn-v1,enforce,check'), parseCpuOption('Penryn'));
  const ofHosts = 'max,migratable=on,host-phys-bits=on,host-cache-info=off,l3-cache=on,kvm=off,pmu=off';
  assert.deepEqual(parseCpuOption(ofHosts), parseCpuOption('max'));
  assert.throws(() => parseCpuOption('max,kvm=perhaps'), /on or off/);
  assert.throws(() => parseCpuOption('max,pmu=on'), /'pmu' is not supported/);
  assert.throws(() => parseCpuOption('max-v1'), /no CPU model/);
});

test('every model names known features, and needs no feature that it lacks', () => {
  for (const row of allModels) {
    const named = row.features.split(' ').filter((name) => name !== '');
    for (const name of named) assert.ok(findFeature(name), `${row.name}: ${name}`);
    assert.deepEqual([...parseCpuOption(row.name).features].sort(), [...new Set(named)].sort(), row.name);
  }
});

test('no two features share a bit; help names each', () => {
  const places = featureRows.map((row) => `${row.leaf} ${row.bit}`);
  assert.equal(new Set(places).size, places.length);
  const words = new Set(cpuHelp().split(/\s+/));
  for (const row of featureRows) assert.ok(words.has(qemuSpelling(row.name)), row.name);
});

test('a local APIC that IA32_APIC_BASE has switched off is not told of (SDM vol. 3, 12.4.3)', () => {
  const apic = (model: string, apicEnabled: boolean): readonly boolean[] =>
    [1, 0x80000001].map(
      (leaf) => ((cpuid(parseCpuOption(model), leaf, 0, { ...state, apicEnabled }).edx >>> 9) & 1) === 1,
    );
  assert.deepEqual(apic('qemu64', true), [true, true]);
  assert.deepEqual(apic('qemu64', false), [false, false]);
  assert.deepEqual(apic('Nehalem', false), [false, false]);
});
