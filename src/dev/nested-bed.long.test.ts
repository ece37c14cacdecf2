/**
 * vring on a KVM of the hardware's kind: its test guests, firmware, Linux to /init, moves between accelerators, an idle guest, the tour.
 * Each long run has a short form, some of each. VRING_NESTED_BED says otherwise: `1` all of it (twenty minutes on a host with nothing else
 * to do), or parts by name, as `boots,tour`.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { BedLockedUp } from './bed-machine.js';
import { bedLacks, bootInner, debianFiles, kernelPackage, runInBed } from './nested-bed.js';

const BIOS = '/usr/share/seabios/bios-256k.bin';
const asked = process.env['VRING_NESTED_BED'] || 'brief';
const isBrief = asked === 'brief';
/** A guest in a guest gets little of a busy host. Less than the test runner's limit, so that it is told how far it came. */
const LIMIT_MS = isBrief ? 1_800_000 : 3_400_000;

/** Where interrupt controllers lie. */
const places = isBrief ? ['on'] : ['on', 'split', 'off'];
const moves = isBrief ? { count: 11, how: ['1 on'] } : { count: 101, how: ['1 on', '1 split', '2 on', '2 split'] };
/** A character on the serial port is an exit. */
const quiet = isBrief ? 'quiet' : '';
const filter = isBrief ? "--test-name-pattern='/^(?!.*hundred).*(on kvm|port 0x80)/'" : '';

interface Part {
  readonly commands: readonly string[];
  /** `text`: what the part has written. */
  check(text: string): void;
}

const vring = 'node dist/cli/main.js';
/** The built-in guest with what it is to be told; nothing in what it prints depends on time. */
const builtIn = ['run', '-nographic', '-device', 'virtio-rng-pci', '-device', 'virtio-balloon-pci'];
const lines = `help
rings
mem
page
pci
syscall 50
fault 20
gp 3
tick 2
work 1
walk 5
port 9
mmio 4
pio 1
random 3
balloon 2
crash
nonsense
poweroff
`.replaceAll('\n', '\r');

/** What it prints on this host's translator. */
function printedByTcg(): Buffer {
  const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));
  return execFileSync(process.execPath, [main, ...builtIn, '-accel', 'tcg'], {
    input: lines,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
}

const parts: Readonly<Record<string, Part>> = {
  doctor: {
    commands: [`${vring} doctor`],
    check: (text) => assert.match(text, /^KVM:/m, 'the bed has KVM'),
  },
  guests: {
    commands: [
      `node --test-reporter=tap ${filter} dist/vmm/kvm-guests.test.js | awk '/error:/ { more = 4 } (/^(not )?ok|^# (pass|fail)/ && !/SKIP test name/) || more-- > 0 { print; fflush() }'`,
    ],
    check(text) {
      assert.doesNotMatch(text, /^not ok/m);
      const passed = Number(/^# pass (\d+)/m.exec(text)?.[1]);
      assert.ok(passed >= (isBrief ? 45 : 60), `${passed} test guests ran`);
      // QEMU's translator gives a guest's guest no breakpoints and steps; nothing else is skipped.
      const skips = [...text.matchAll(/^ok .*# SKIP (.*)/gm)].map(([, why]) => why);
      assert.deepEqual(
        skips.filter((why) => !/no (break|watch)points/.test(why)),
        [],
      );
    },
  },
  printed: {
    commands: places.map(
      (place) =>
        `${vring} ${builtIn.join(' ')} -accel kvm,kernel-irqchip=${place} </lines | cmp - /printed && echo 'printed: the same'`,
    ),
    check: (text) => assert.equal(text.match(/^printed: the same$/gm)?.length, places.length),
  },
  lens: {
    // Page faults and system calls are counted by breakpoints, which a guest's guest does not have here: the lens has to say so.
    commands: [
      `node --test-reporter=tap --test-name-pattern='/(port writes|times|faults).*on kvm/' dist/vmm/lens.test.js | grep -E '^(not )?ok|error:|^# pass'`,
    ],
    check(text) {
      assert.doesNotMatch(text, /^not ok/m);
      assert.equal(text.match(/^ok(?!.*SKIP)/gm)?.length, 7);
    },
  },
  idle: {
    commands: [
      `VRING_IDLE_PERCENT=5 node --test-reporter=tap --test-name-pattern='${isBrief ? '2, on kvm, irqchip' : 'on kvm'}' dist/vmm/idle.test.js | grep -E '^(not )?ok|error:|^# pass'`,
    ],
    check(text) {
      assert.doesNotMatch(text, /^not ok/m);
      const ran = text.match(/^ok(?!.*SKIP)/gm)?.length;
      assert.equal(ran, isBrief ? 1 : 5);
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
    commands: places.map((place) => bootInner(`-accel kvm,kernel-irqchip=${place}`, quiet)),
    check: (text) => assert.equal(text.match(/^inner: \/init, 6\./gm)?.length, places.length),
  },
  debian: {
    // Once in a few boots the flags that QEMU's SVM saves for this kernel are no flags (seen: EFLAGS 01c6c687, c1c86686), whoever runs it:
    // QEMU's own KVM guests in the bed end like that too (EFLAGS c1965246).
    commands: [`for i in 1 2 3; do ${vring} run -accel kvm debian --offline -- uname -sr && break; done`],
    check: (text) => assert.match(text, /^Linux \d+\.\S*-cloud-amd64$/m),
  },
  moves: {
    commands: moves.how.map(
      (how) => `node dist/dev/move-linux.js /boot/vmlinuz /boot/initramfs ${how} ${moves.count} ${quiet}`,
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
      ...['kvm', 'irqchip'].map((part) => `${vring} tour --without ${part} </dev/null`),
    ],
    check(text) {
      assert.match(text, /ring -1 +what runs the guest: KVM/);
      assert.match(text, /^What if a part were not there\?/m);
      assert.match(text, /^port 5000 +a write to a port( +[\d.]+ \S+){2} +[\d.]+$/m);
      assert.match(text, /^tick 100 +a tick .* exits \/ \d+ exits$/m);
    },
  },
};

const names = Object.keys(parts);
/** What takes long and shows little that the others do not. */
const onlyInAll = ['tour', 'debian'];
const chosen = isBrief ? names.filter((name) => !onlyInAll.includes(name)) : asked === '1' ? names : asked.split(',');
const unknown = chosen.find((name) => !parts[name]);
if (unknown !== undefined) throw new Error(`VRING_NESTED_BED=${asked}: there are 1, brief, ${names.join(', ')}`);

const lacks = bedLacks() ?? (existsSync(BIOS) ? undefined : "Debian's seabios is not installed");

/** Why there is no kernel for it, or undefined. */
function noKernel(): string | undefined {
  try {
    kernelPackage();
    return undefined;
  } catch (error) {
    return `no kernel by apt: ${error instanceof Error ? error.message.split('\n')[0] : error}`;
  }
}

const skip = lacks ?? noKernel() ?? false;

/** What each of these parts has written. */
async function runParts(names: readonly string[], end: number): Promise<Map<string, string>> {
  const options = {
    files: {
      '/bios.bin': readFileSync(BIOS),
      '/lines': Buffer.from(lines),
      '/printed': printedByTcg(),
      ...(names.includes('debian') ? await debianFiles() : {}),
    },
    commands: names.flatMap((name) => [
      `echo; echo "bed: ${name}, after $(cut -d' ' -f1 /proc/uptime) s"`,
      ...parts[name].commands,
    ]),
    ...(isBrief ? {} : { onOutput: (part: string) => void process.stderr.write(part) }),
  };
  const run = () => runInBed({ ...options, timeoutMs: end - performance.now() });
  const text = await run().catch((error) => {
    // Once: it is QEMU's doing, and is told.
    if (!(error instanceof BedLockedUp)) throw error;
    process.stderr.write(`nested bed: begun anew. ${error.message}\n`);
    return run();
  });
  const written = text
    .replaceAll('\r', '')
    .split(/^bed: (?=\w+, after)/m)
    .slice(1);
  return new Map(written.map((each) => [/^\w+/.exec(each)?.[0] ?? '', each]));
}

/** Names of the test guests that failed. */
const failuresIn = (text: string): Set<string> =>
  new Set([...text.matchAll(/^not ok \d+ - (.*)$/gm)].map(([, name]) => name));

/** Beds that a part may take. QEMU's SVM loses an interrupt or spoils a guest's flags now and then: a fault of vring's is in each of them. */
const BEDS = 3;

test('vring on the KVM of a processor with SVM', { skip, timeout: LIMIT_MS + 60_000 }, async () => {
  const end = performance.now() + LIMIT_MS;
  /** Of the parts that failed: the test guests that have failed in each bed. */
  let failed = new Map<string, Set<string> | undefined>(chosen.map((name) => [name, undefined]));
  for (let bed = 1; failed.size > 0; bed++) {
    const written = await runParts([...failed.keys()], end);
    const again = new Map<string, Set<string> | undefined>();
    for (const [name, before] of failed) {
      const text = (written.get(name) ?? '').replace(/^not ok (\d+ - (.*))$/gm, (line, rest, guest) =>
        before && !before.has(guest) ? `ok ${rest}` : line,
      );
      try {
        parts[name].check(text);
      } catch (error) {
        if (bed === BEDS) throw error;
        process.stderr.write(
          `nested bed: ${name}, once more in a new one: ${error instanceof Error ? error.message : error}\n`,
        );
        const guests = failuresIn(text);
        again.set(name, guests.size > 0 ? guests : undefined);
      }
    }
    failed = again;
  }
});

test('a bed that is told to end leaves neither its QEMU nor its folder', { skip, timeout: 900_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-bed-test-'));
  try {
    const bed = spawn(process.execPath, [fileURLToPath(new URL('nested-bed.js', import.meta.url)), 'sleep 600'], {
      env: { ...process.env, TMPDIR: folder },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    // QEMU has it too: it closes when neither is there any more.
    const closed = once(bed, 'close');
    bed.stderr.resume();
    const isUp = () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).some((name) => /monitor$/.test(name));
    while (!isUp() && bed.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 100));
    bed.kill('SIGTERM');
    assert.deepEqual(await closed, [143, null]);
    assert.deepEqual(readdirSync(folder), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
