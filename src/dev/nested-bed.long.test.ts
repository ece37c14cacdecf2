/** vring on a KVM of the hardware's kind: its test guests, the moves between accelerators, firmware, and Linux to /init. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { bedLacks, bootInner, runInBed } from './nested-bed.js';

// Under load the guest in the guest is starved until its watchdogs bark: only where the host has nothing else to do.
const lacks = bedLacks() ?? (process.env['VRING_NESTED_BED'] ? undefined : 'VRING_NESTED_BED=1 runs it');

/** Where interrupt controllers lie. */
const places = ['on', 'split', 'off'];

test('vring on the KVM of a processor with SVM', { skip: lacks ?? false, timeout: 3_000_000 }, async () => {
  const bios = '/usr/share/seabios/bios-256k.bin';
  const text = await runInBed({
    timeoutMs: 2_900_000,
    files: { '/bios.bin': readFileSync(bios) },
    commands: [
      'node dist/cli/main.js doctor',
      // On one processor: QEMU's translator performs an unaligned store to a page of code byte by byte, and while V8 directs a jump
      // to optimized code another processor sees half of the new target.
      `taskset 1 node --test-reporter=tap dist/vmm/kvm-guests.test.js | awk '/^(not )?ok|error:|^# (pass|fail)/ { print; fflush() }'`,
      ...places.map(
        (place) =>
          `timeout 60 node dist/cli/main.js run -accel kvm,kernel-irqchip=${place} -bios /bios.bin -nographic -m 32 </dev/null | grep -a bootable`,
      ),
      'echo; echo "bed: boot"',
      ...places.map((place) => bootInner(`-accel kvm,kernel-irqchip=${place}`)),
      ...['1 on', '1 split', '2 on', '2 split'].map(
        (how) => `taskset 1 node dist/dev/move-linux.js /boot/vmlinuz /boot/initramfs ${how}`,
      ),
      'echo; echo "bed: tour"',
      'node dist/cli/main.js tour --accel kvm </dev/null',
      'node dist/cli/main.js tour --without kvm </dev/null',
    ],
    onOutput: (part) => process.stderr.write(part),
  });
  assert.match(text, /^KVM:/m, 'the bed has KVM');
  assert.doesNotMatch(text, /^not ok/m);
  const passed = Number(/^# pass (\d+)/m.exec(text)?.[1]);
  assert.ok(passed >= 20, `${passed} test guests ran`);
  // QEMU's translator gives a guest's guest no breakpoints; nothing else is skipped.
  const skips = [...text.matchAll(/^ok .*# SKIP (.*)/gm)].map(([, why]) => why);
  assert.deepEqual(
    skips.filter((why) => !/no breakpoints/.test(why)),
    [],
  );
  assert.equal(text.match(/No bootable device/g)?.length, places.length);
  const boots = text.slice(text.indexOf('bed: boot'), text.indexOf('moves: '));
  assert.ok((boots.match(/inner: \/init, 6\./g)?.length ?? 0) >= places.length);
  const moved =
    /moves: 101, \d+ ms on tcg, \d+ ms on kvm, all as before[\s\S]*?inner: (\d) processors[\s\S]*?moves: poweroff/g;
  assert.deepEqual(
    [...text.matchAll(moved)].map(([, cpus]) => cpus),
    ['1', '1', '2', '2'],
  );
  assert.match(text.slice(text.indexOf('bed: tour')), /ring -1 +what runs the guest: .*KVM/);
});
