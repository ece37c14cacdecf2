import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VringError } from '../../base/index.js';
import { parseLine } from '../options/parse.js';

import { planRun } from './configure.js';
import { runCommand, unsupportedRunOptions } from './options.js';

const plan = (...argv: string[]) =>
  planRun(parseLine(runCommand, ['-kernel', 'k', ...argv], { unsupported: unsupportedRunOptions }).given, {
    system: false,
    nowMs: 0,
  });

test('folders are shared by -virtfs, and by -fsdev with a device', () => {
  const shared = (...argv: string[]) => plan(...argv).machine.devices?.filter(({ type }) => type === 'virtio-9p');
  const folder = { type: 'virtio-9p', path: '/a b', tag: 't', security: 'none', readonly: true };
  const words = 'local,path=/a b,security_model=none,readonly=on';
  assert.deepEqual(shared('-virtfs', `${words},mount_tag=t`), [folder]);
  assert.deepEqual(shared('-virtfs', `${words},mount_tag=t,id=x,multidevs=remap`), [folder]);
  const [device] = shared('-fsdev', `${words},id=f`, '-device', 'virtio-9p-pci,fsdev=f,mount_tag=t,addr=5') ?? [];
  assert.ok(device?.type === 'virtio-9p' && device.slot === 5);
  assert.deepEqual([device.path, device.readonly, device.security, device.tag], ['/a b', true, 'none', 't']);
  for (const [argv, sentence] of [
    [['-virtfs', 'local,path=/a,mount_tag=t'], /security_model= is missing/],
    [['-virtfs', 'proxy,path=/a,mount_tag=t,security_model=none'], /'proxy' is not supported/],
    [['-virtfs', 'local,path=/a,security_model=none'], /mount_tag/],
    [['-fsdev', `${words},id=f`, '-fsdev', `${words},id=f`], /'f' already/],
    [['-device', 'virtio-9p-pci,fsdev=f,mount_tag=t'], /no folder 'f'/],
  ] as const)
    assert.throws(
      () => plan(...argv),
      (error) => error instanceof VringError && sentence.test(error.message),
      argv.join(' '),
    );
});
