/**
 * vring on a KVM of the hardware's kind: its test guests, firmware, Linux to /init, moves between accelerators, the tour. Run when
 * VRING_NESTED_BED says what: `1` all of it (twenty minutes on a host with nothing else to do), `brief` some of each, or parts by name,
 * as `boots,tour`. Not unasked: QEMU's translator with two processors may leave the bed's own kernel locked up for good.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { bedLacks, bootInner, kernelPackage, runInBed } from './nested-bed.js';

const BIOS = '/usr/share/seabios/bios-256k.bin';
const asked = process.env['VRING_NESTED_BED'];
const isBrief = asked === 'brief';
/** A guest in a guest gets little of a busy host. */
const LIMIT_MS = isBrief ? 1_800_000 : 3_400_000;

/** Where interrupt controllers lie. */
const places = isBrief ? ['on'] : ['on', 'split', 'off'];
const moves = isBrief ? { count: 11, how: ['1 on'] } : { count: 101, how: ['1 on', '1 split', '2 on', '2 split'] };
const filter = isBrief ? "--test-name-pattern='/^(?!.*hundred).*in the kernel|byte for byte/'" : '';

interface Part {
  readonly commands: readonly string[];
  /** `text`: what the part has written. */
  check(text: string): void;
}

const vring = 'node dist/cli/main.js';
const parts: Readonly<Record<string, Part>> = {
  doctor: {
    commands: [`${vring} doctor`],
    check: (text) => assert.match(text, /^KVM:/m, 'the bed has KVM'),
  },
  guests: {
    // On one processor: QEMU's translator performs an unaligned store to a page of code byte by byte, and while V8 directs a jump
    // to optimized code another processor sees half of the new target.
    commands: [
      `taskset 1 node --test-reporter=tap ${filter} dist/vmm/kvm-guests.test.js | awk '/^(not )?ok|error:|^# (pass|fail)/ && !/SKIP test name/ { print; fflush() }'`,
    ],
    check(text) {
      assert.doesNotMatch(text, /^not ok/m);
      const passed = Number(/^# pass (\d+)/m.exec(text)?.[1]);
      assert.ok(passed >= (isBrief ? 10 : 60), `${passed} test guests ran`);
      // QEMU's translator gives a guest's guest no breakpoints; nothing else is skipped.
      const skips = [...text.matchAll(/^ok .*# SKIP (.*)/gm)].map(([, why]) => why);
      assert.deepEqual(
        skips.filter((why) => !/no breakpoints/.test(why)),
        [],
      );
    },
  },
  firmware: {
    commands: places.map(
      (place) =>
        `timeout 300 ${vring} run -accel kvm,kernel-irqchip=${place} -bios /bios.bin -nographic -m 32 -boot reboot-timeout=1000 -no-reboot </dev/null | grep -a bootable`,
    ),
    check: (text) => assert.equal(text.match(/No bootable device/g)?.length, places.length),
  },
  boots: {
    commands: places.map((place) => bootInner(`-accel kvm,kernel-irqchip=${place}`)),
    check: (text) => assert.equal(text.match(/^inner: \/init, 6\./gm)?.length, places.length),
  },
  moves: {
    commands: moves.how.map(
      (how) => `taskset 1 node dist/dev/move-linux.js /boot/vmlinuz /boot/initramfs ${how} ${moves.count}`,
    ),
    check(text) {
      const moved =
        /moves: (\d+), \d+ ms on tcg, \d+ ms on kvm, all as before[\s\S]*?inner: (\d) processors[\s\S]*?moves: poweroff/g;
      assert.deepEqual(
        [...text.matchAll(moved)].map(([, count, cpus]) => `${cpus} ${count}`),
        moves.how.map((how) => `${how[0]} ${moves.count}`),
      );
    },
  },
  tour: {
    commands: [
      `${vring} tour --accel kvm </dev/null`,
      ...(isBrief ? [] : ['kvm', 'irqchip'].map((part) => `${vring} tour --without ${part} </dev/null`)),
    ],
    check(text) {
      assert.match(text, /ring -1 +what runs the guest: KVM/);
      assert.match(text, /^What if a part were not there\?/m);
      if (isBrief) return;
      assert.match(text, /^port 5000 +a write to a port( +[\d.]+ \S+){2} +[\d.]+$/m);
      assert.match(text, /^tick 100 +a tick .* exits \/ \d+ exits$/m);
    },
  },
};

const names = Object.keys(parts);
const chosen = isBrief || asked === '1' ? names : (asked?.split(',') ?? []);
const unknown = chosen.find((name) => !parts[name]);
if (unknown !== undefined) throw new Error(`VRING_NESTED_BED=${asked}: there are 1, brief, ${names.join(', ')}`);

const lacks = !asked
  ? 'VRING_NESTED_BED=1 runs it'
  : (bedLacks() ?? (existsSync(BIOS) ? undefined : "Debian's seabios is not installed"));

test('vring on the KVM of a processor with SVM', { skip: lacks ?? false, timeout: LIMIT_MS + 60_000 }, async (t) => {
  try {
    kernelPackage();
  } catch (error) {
    t.skip(`no kernel by apt: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
    return;
  }
  const text = await runInBed({
    timeoutMs: LIMIT_MS,
    files: { '/bios.bin': readFileSync(BIOS) },
    commands: chosen.flatMap((name) => [
      `echo; echo "bed: ${name}, after $(cut -d' ' -f1 /proc/uptime) s"`,
      ...parts[name].commands,
    ]),
    ...(isBrief ? {} : { onOutput: (part: string) => void process.stderr.write(part) }),
  });
  const written = new Map(
    text
      .replaceAll('\r', '')
      .split(/^bed: (?=\w+, after)/m)
      .slice(1)
      .map((each) => [/^\w+/.exec(each)?.[0], each]),
  );
  for (const name of chosen) parts[name].check(written.get(name) ?? '');
});
