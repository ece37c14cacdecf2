/** The program as a whole: what it prints where, and its exit status. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { programs } from '../vmm/testing/programs.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const packageFile = fileURLToPath(new URL('../../package.json', import.meta.url));
/** What the package installs as `vring`. */
const program = join(packageFile, '..', JSON.parse(readFileSync(packageFile, 'utf8')).bin.vring);
const folder = mkdtempSync(join(tmpdir(), 'vring cli é '));
after(() => rmSync(folder, { recursive: true }));

const image = (name: string, bytes: Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};

interface Result {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface How {
  readonly input?: string;
  readonly program?: string;
  readonly env?: Record<string, string>;
  /** Called with the process while it runs. */
  readonly meanwhile?: (child: ChildProcess, stdout: () => string) => void;
}

function vring(argv: readonly string[], how: How = {}): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [how.program ?? main, ...argv], {
      cwd: folder,
      env: { PATH: process.env['PATH'], HOME: folder, XDG_CACHE_HOME: join(folder, 'cache'), ...how.env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr }));
    if (how.input !== undefined) child.stdin.end(how.input);
    how.meanwhile?.(child, () => stdout);
  });
}

/** Calls `then` once the process has written a text. */
const onceWritten =
  (text: string, then: (child: ChildProcess) => void) => (child: ChildProcess, stdout: () => string) => {
    const timer = setInterval(() => {
      if (!stdout().includes(text)) return;
      clearInterval(timer);
      then(child);
    }, 5);
    child.on('close', () => clearInterval(timer));
  };

test('with nothing named the built-in guest runs, and ends where its input does', async () => {
  const { status, stdout, stderr } = await vring(['run', '-accel', 'tcg'], { input: 'syscall 20\nrandom 2\n' });
  assert.equal(status, 0);
  // At most the line that says why KVM is not used.
  assert.match(stderr, /^(vring: KVM [^\n]*\n)?$/);
  assert.match(stdout, /built-in guest.*\r\n20 system calls.*\r\n2 times 16 bytes/s);
});

test('where no archive can be reached the built-in guest runs if that was asked for, and says so', async () => {
  const unreachable = ['run', 'debian', '-mirror', 'http://127.0.0.1:9/debian'];
  const { status, stdout, stderr } = await vring([...unreachable, '-or-built-in'], { input: 'rings\n' });
  assert.match(stderr, /Cannot fetch from 127\.0\.0\.1:9.*The built-in guest runs instead/);
  assert.match(stdout, /ring 3 runs with code selector/);
  assert.equal(status, 0);
  const debianOnly = await vring(unreachable, { input: '' });
  assert.deepEqual([debianOnly.status, debianOnly.stdout], [1, '']);
  const command = await vring([...unreachable, '-or-built-in', '--', 'true'], { input: '' });
  assert.deepEqual([command.status, command.stdout], [125, '']);
});

test('vring alone, its version, its help', async () => {
  const alone = await vring([]);
  assert.equal(alone.status, 0);
  assert.equal(alone.stdout.match(/^ {2}vring run /gm)?.length, 3, 'three examples');
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.equal((await vring(['--version'])).stdout, `vring ${version}\n`);
  for (const argv of [
    ['--help'],
    ['run', '--help'],
    ['run', '-h'],
    ['cache', '--help'],
    ['link', '-h'],
    ['img', '--help'],
  ]) {
    const { status, stdout, stderr } = await vring(argv);
    assert.deepEqual([status, stderr], [0, ''], argv.join(' '));
    assert.match(stdout, /vring|usage/i, argv.join(' '));
  }
});

test('every mistake: one sentence on stderr, nothing on stdout, status 1', async () => {
  const damaged = image('damaged', readFileSync(main).subarray(0, 3000));
  const empty = image('empty', new Uint8Array(0));
  const kernel = image('kernel', programs.halt);
  image('large', new Uint8Array(40 << 20));
  const cases: [string[], RegExp][] = [
    [['nonsense'], /'nonsense' is no command/],
    [['rnu'], /did you mean 'run'/],
    [['run', '-kernle', 'x'], /did you mean '-kernel'/],
    [['run', '-kernel', 'missing'], /'missing' cannot be read: No such file/],
    [['run', '-kernel', folder], /Is a directory/],
    [['run', '-kernel', damaged], /kernel/],
    [['run', '-kernel', empty], /kernel/],
    [['run', '-kernel', kernel, '-initrd', 'missing'], /module 'missing' cannot be read/],
    // By its name alone: in the list of a Multiboot program's modules a space ends a path.
    [['run', '-kernel', kernel, '-initrd', 'large', '-m', '32'], /RAM|large/],
    [['run', '-kernel', kernel, '-m', '1'], /at least 2 MiB/],
    [['run', '-kernel', kernel, '-m', '8T'], /at most/],
    [['run', '-kernel', kernel, '-cpu', 'i9'], /i9/],
    [['run', '-kernel', kernel, '-drive', 'file=missing,format=raw,if=virtio'], /'missing'/],
    [['run', '-kernel', kernel, '-serial', `file:${folder}/no/such`], /cannot be opened: No such file/],
    [['run', '-kernel', kernel, '-d', 'in_asm', '-D', `${folder}/no/log`], /log file/],
    [['run', '-kernel', kernel, '-pidfile', `${folder}/no/pid`], /-pidfile/],
    [['run', 'ubuntu'], /'ubuntu' is neither/],
    [['run', 'debian:NO SUCH'], /not the name of a Debian suite/],
    [['run', 'debian', '-offline'], /not in the cache/],
    [['run', 'debian', 'x'], /only one system/],
    [['cache', 'prun'], /did you mean 'prune'/],
    [['link'], /directory is missing/],
    [['completion', 'bahs'], /did you mean 'bash'/],
  ];
  for (const [argv, sentence] of cases) {
    const { status, stdout, stderr } = await vring(argv);
    const what = `${argv.join(' ')}: ${stderr}`;
    assert.equal(status, 1, what);
    assert.equal(stdout, '', what);
    assert.match(stderr, /^vring: .*\n$/, what);
    assert.match(stderr, sentence, what);
    assert.doesNotMatch(stderr, /\bat .*\.js:\d/, what);
  }
  for (const argv of [
    ['run', 'debian', '-offline', '--', 'true'],
    ['run', '-x', '--', 'true'],
    ['run', 'debian', '--'],
  ]) {
    const { status, stdout, stderr } = await vring(argv);
    assert.deepEqual([status, stdout], [125, ''], argv.join(' '));
    assert.match(stderr, /^vring: .*\n$/);
  }
});

test('no network, and a cache that cannot be written', async () => {
  // Port 9 of this host: nobody answers.
  const env = {
    HTTP_PROXY: 'http://127.0.0.1:9',
    HTTPS_PROXY: 'http://127.0.0.1:9',
    http_proxy: 'http://127.0.0.1:9',
    https_proxy: 'http://127.0.0.1:9',
    APT_CONFIG: '/nonexistent',
  };
  const { status, stdout, stderr } = await vring(
    ['run', 'debian', '-mirror', 'http://127.0.0.1:9/debian', '--', 'true'],
    { env },
  );
  assert.deepEqual([status, stdout], [125, '']);
  assert.match(stderr.trimEnd().split('\n').at(-1) ?? '', /^vring: .*127\.0\.0\.1/);
  const blocked = image('a file', new Uint8Array(1));
  const second = await vring(['run', 'debian', '-mirror', 'http://127.0.0.1:9/debian'], {
    env: { ...env, XDG_CACHE_HOME: blocked },
    input: '',
  });
  assert.deepEqual([second.status, second.stdout], [1, '']);
  assert.match(second.stderr, /^vring: [^\n]*127\.0\.0\.1[^\n]*\n$/m);
});

test('a guest says something and ends with a status', async () => {
  const kernel = image('exit.bin', programs.sayAndExit);
  const device = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x01'];
  const tcg = ['-accel', 'tcg'];
  const { status, stdout, stderr } = await vring(['run', '-kernel', kernel, ...tcg, ...device, '-stats', 'json'], {
    input: '',
  });
  assert.deepEqual([status, stdout], [7, 'OK\n']);
  assert.ok(JSON.parse(stderr).engine.translated > 0);
  const log = join(folder, 'serial.log');
  const toFile = ['-display', 'none', '-serial', `file:${log}`];
  const filed = await vring(['run', '-kernel', kernel, ...tcg, ...device, ...toFile], { input: '' });
  assert.deepEqual([filed.status, filed.stdout, filed.stderr, readFileSync(log, 'utf8')], [7, '', '', 'OK\n']);
  const trace = join(folder, 'trace');
  await vring(['run', '-kernel', kernel, ...device, '-d', 'in_asm', '-D', trace], { input: '' });
  assert.match(readFileSync(trace, 'utf8'), /out/i);
});

test('one line says what runs the guest, where there was a choice', async () => {
  const kernel = image('exit2.bin', programs.sayAndExit);
  const device = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x01'];
  const run = (...more: string[]) => vring(['run', '-kernel', kernel, ...device, ...more], { input: '' });
  const { status, stdout, stderr } = await run();
  assert.deepEqual([status, stdout], [7, 'OK\n']);
  assert.match(stderr, /^vring: (KVM runs the guest\.|KVM not used: .+\. tcg runs the guest\.)\n$/);
  const without = { env: { VRING_NO_FFI: '1' }, input: '' };
  const noFfi = await vring(['run', '-kernel', kernel, ...device, '-accel', 'kvm', '-accel', 'tcg'], without);
  assert.deepEqual([noFfi.status, noFfi.stdout], [7, 'OK\n']);
  assert.match(noFfi.stderr, /^vring: KVM not used: [^\n]*koffi[^\n]*\. tcg runs the guest\.\n$/);
  const alone = await vring(['run', '-kernel', kernel, ...device, '-accel', 'kvm'], without);
  assert.deepEqual([alone.status, alone.stdout], [1, '']);
  assert.match(alone.stderr, /^vring: KVM not used: [^\n]*koffi[^\n]*\n$/);
  const counted = await run('-accel', 'kvm', '-icount', '1');
  assert.equal(counted.status, 1);
  assert.match(counted.stderr, /^vring: KVM not used: the translator alone has counted time[^\n]*\n$/);
});

test('piped input reaches the guest to its end, and its end is just that', async () => {
  const kernel = image('echo.bin', programs.echo);
  const text = `${'0123456789abcdef'.repeat(1000)}END`;
  const { status, stdout, stderr } = await vring(['run', '-accel', 'tcg', '-kernel', kernel, '-serial', 'stdio'], {
    input: text,
    meanwhile: onceWritten('END', (child) => child.kill('SIGTERM')),
  });
  assert.equal(stdout, text);
  assert.equal(stderr, 'vring: terminating on SIGTERM\n');
  assert.equal(status, 0, 'as QEMU has it');
});

test('the keys of the multiplexer work on a pipe too', async () => {
  const kernel = image('echo2.bin', programs.echo);
  const { status, stdout } = await vring(['run', '-kernel', kernel], {
    // The monitor is asked only once the guest has echoed: nobody says how quick it is.
    meanwhile: (child, written) => {
      child.stdin?.write('ab\x01\x01');
      onceWritten('ab\x01', () => child.stdin?.end('\x01cinfo status\rinfo mtree\rquit\r'))(child, written);
    },
  });
  assert.equal(status, 0);
  assert.match(stdout, /VM status: running\r\n/);
  assert.match(stdout, /pc\.ram/);
});

test('-S, the monitor, and what it shows', async () => {
  const kernel = image('count.bin', programs.count);
  const { status, stdout } = await vring(['run', '-kernel', kernel, '-S', '-display', 'none', '-monitor', 'stdio'], {
    input: 'info status\nxp/1xw 0x200000\ninfo registers\ncont\nstop\ninfo status\nx/1xb $rip\nq\n',
  });
  assert.equal(status, 0);
  assert.match(stdout, /VM status: paused \(prelaunch\)/);
  assert.match(stdout, /0000000000200000: 0x00000000/);
  assert.match(stdout, /EIP=00100030 EFL=00000002/);
  assert.match(stdout, /VM status: paused\r/);
  assert.match(stdout, /00000000001000\w\w: 0x(ff|eb)/);
});

test('a reader that goes away ends the program', async () => {
  const kernel = image('flood.bin', programs.flood);
  const { status, stderr } = await vring(['run', '-accel', 'tcg', '-kernel', kernel], {
    meanwhile: onceWritten('xxxx', (child) => child.stdout?.destroy()),
  });
  assert.equal(status, 141);
  assert.equal(stderr, '');
});

test('signals end it and leave no process', async () => {
  const kernel = image('flood2.bin', programs.flood);
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) {
    const pidfile = join(folder, 'pid');
    const { status } = await vring(['run', '-kernel', kernel, '-pidfile', pidfile], {
      meanwhile: onceWritten('xxxx', (child) => {
        assert.equal(readFileSync(pidfile, 'utf8'), `${child.pid}\n`);
        child.kill(signal);
      }),
    });
    assert.equal(status, 0, signal);
    assert.ok(!existsSync(pidfile));
  }
});

test('links give it the names of QEMU', { skip: process.platform === 'win32' }, async () => {
  const links = join(folder, 'links');
  assert.equal((await vring(['link', links])).status, 0);
  assert.equal(readlinkSync(join(links, 'qemu-img')), program);
  assert.ok(statSync(program).mode & 0o100, 'it can be run');
  const again = await vring(['link', links]);
  assert.equal(again.status, 1);
  assert.match(again.stderr, /is there already; --force/);
  assert.equal((await vring(['link', '--force', links])).status, 0);
  const asQemu = { program: join(links, 'qemu-system-x86_64') };
  const { status, stderr } = await vring(['-M', 'isapc', '-kernel', 'x'], asQemu);
  assert.equal(status, 1);
  assert.match(stderr, /^qemu-system-x86_64: -M isapc/);
  assert.match((await vring(['--version'], { program: join(links, 'qemu-img') })).stdout, /qemu-img version/);
});

test('an empty cache', async () => {
  const { status, stdout } = await vring(['cache', 'list', '--json'], { env: { XDG_CACHE_HOME: join(folder, 'new') } });
  assert.equal(status, 0);
  assert.deepEqual(JSON.parse(stdout).systems, []);
  const pruned = await vring(['cache', 'prune', '--all']);
  assert.equal(pruned.status, 0);
  assert.match(pruned.stdout, /files removed/);
});
