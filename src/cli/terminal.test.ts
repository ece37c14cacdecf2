/** The program on a terminal of its own: raw mode, its keys, and the terminal as it was after every kind of end. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type IPty, spawn } from '@lydell/node-pty';
import { findFirmware } from '../host/node/firmware-file.js';
import { programs } from '../vmm/testing/programs.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'vring-terminal-'));
after(() => rmSync(folder, { recursive: true }));
const skip = process.platform === 'win32' ? 'there are no termios' : false;
const limitMs = 60_000;
const pidfile = join(folder, 'pid');

const kernels = Object.fromEntries(
  Object.entries(programs).map(([name, bytes]) => {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return [name, path];
  }),
);

/** A shell on a terminal that runs vring, and afterwards shows what state the terminal is in. */
class Session {
  readonly pty: IPty;
  text = '';
  #waiting: (() => void) | undefined;
  readonly ended: Promise<number>;

  constructor(argv: readonly string[]) {
    const words = [process.execPath, main, ...argv, '-pidfile', pidfile]
      .map((word) => `'${word.replaceAll("'", "'\\''")}'`)
      .join(' ');
    // The settings before and after are compared by the shell that outlives the program, which stays a little: what was written last
    // can be lost with the end of a terminal.
    const script = `before=$(stty -g); ${words}; echo "status=$?"; [ "$before" = "$(stty -g)" ] && echo same || echo different; sleep 0.3`;
    this.pty = spawn('/bin/sh', ['-c', script], {
      cols: 90,
      rows: 30,
      cwd: folder,
      env: { PATH: process.env['PATH'] ?? '', HOME: folder, XDG_CACHE_HOME: folder, TERM: 'xterm' },
    });
    this.pty.onData((data) => {
      this.text += data;
      this.#waiting?.();
    });
    this.ended = new Promise((resolve) => {
      this.pty.onExit(({ exitCode }) => resolve(exitCode));
    });
  }

  async until(wanted: RegExp): Promise<void> {
    const deadline = Date.now() + limitMs;
    while (!wanted.test(this.text)) {
      assert.ok(Date.now() < deadline, `${wanted} in ${JSON.stringify(this.text.slice(-500))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        this.#waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Process id of the program itself, once it runs. */
  program(): number {
    return Number(readFileSync(pidfile, 'utf8'));
  }

  async restored(status: number): Promise<void> {
    await this.ended;
    // The end of the shell can be heard before its last words.
    await this.until(/(same|different)\r\n/);
    assert.match(this.text, new RegExp(`status=${status}\\r\\n`));
    assert.match(this.text, /same\r\n/, 'the terminal is as it was');
  }
}

test('Ctrl-A x ends it, whatever the guest does', { skip }, async () => {
  for (const kernel of ['halt', 'count', 'flood', 'echo']) {
    const session = new Session(['run', '-kernel', kernels[kernel]]);
    if (kernel === 'halt') await session.until(/\bup\b/);
    else if (kernel === 'flood') await session.until(/xxxx/);
    else {
      session.pty.write('\x01h');
      await session.until(/Ctrl-A x {4}ends the machine/);
    }
    session.pty.write('\x01x');
    await session.restored(0);
    assert.match(session.text, /ended by the keyboard/);
  }
});

test("keys are the guest's: no echo, no signals, Enter is a carriage return", { skip }, async () => {
  const session = new Session(['run', '-kernel', kernels['echo']]);
  session.pty.write('\x01h');
  await session.until(/sends Ctrl-A/);
  session.text = '';
  session.pty.write('a\x03\x1a\x04\rb');
  await session.until(/b/);
  // The guest sends back what it got; the terminal adds nothing. Carriage returns come without line feeds.
  assert.equal(session.text, 'a\x03\x1a\x04\rb');
  session.pty.write('\x01c');
  await session.until(/\(vring\) /);
  session.pty.write('quit\r');
  await session.restored(0);
});

test('without a monitor on the terminal Ctrl-C ends the program', { skip }, async () => {
  const session = new Session(['run', '-kernel', kernels['halt'], '-serial', 'stdio']);
  await session.until(/\bup\b/);
  session.pty.write('\x03');
  await session.restored(0);
  assert.match(session.text, /terminating on SIGINT/);
});

test('the end of the guest, and signals, leave the terminal as it was', { skip }, async () => {
  const finished = new Session(['run', '-kernel', kernels['powerOff']]);
  await finished.restored(0);
  const failed = new Session(['run', '-kernel', join(folder, 'missing')]);
  await failed.restored(1);
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
    const session = new Session(['run', '-kernel', kernels['halt']]);
    await session.until(/\bup\b/);
    process.kill(session.program(), signal);
    await session.restored(0);
  }
});

test('an exception leaves the terminal as it was', { skip }, async () => {
  // Something breaks inside while the machine runs: a module that the program was told to load first.
  const breaks = join(folder, 'breaks.mjs');
  writeFileSync(breaks, `process.on('SIGUSR2', () => { throw new Error('broken by the test'); });\n`);
  const script = join(folder, 'main.mjs');
  writeFileSync(
    script,
    `import ${JSON.stringify(breaks)};\nprocess.argv[1] = 'vring';\nawait import(${JSON.stringify(main)});\n`,
  );
  const words = `'${process.execPath}' '${script}' run -kernel '${kernels['halt']}' -pidfile '${pidfile}'`;
  const pty = spawn(
    '/bin/sh',
    ['-c', `before=$(stty -g); ${words}; echo "status=$?"; [ "$before" = "$(stty -g)" ] && echo same; sleep 0.3`],
    { cwd: folder, env: { PATH: process.env['PATH'] ?? '', HOME: folder } },
  );
  let text = '';
  const ended = new Promise((resolve) => {
    pty.onExit(resolve);
  });
  pty.onData((data) => {
    const before = text.includes('up');
    text += data;
    if (!before && text.includes('up')) {
      process.kill(Number(readFileSync(pidfile, 'utf8')), 'SIGUSR2');
    }
  });
  await ended;
  assert.match(text, /vring itself has failed: broken by the test/);
  assert.match(text, /status=1\r\n(.*\r\n)*same/);
  assert.doesNotMatch(text, /at .*breaks/);
});

test('a terminal that goes away leaves no process', { skip }, async () => {
  const session = new Session(['run', '-kernel', kernels['count']]);
  session.pty.write('\x01h');
  await session.until(/sends Ctrl-A/);
  const pid = session.program();
  // The other side of the terminal is closed: the program gets SIGHUP, and nobody reads what it writes.
  session.pty.kill('SIGKILL');
  (session.pty as unknown as { destroy?(): void }).destroy?.();
  const deadline = Date.now() + limitMs;
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      break;
    }
    assert.ok(Date.now() < deadline, `process ${pid} is still there`);
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
});

const firmware = findFirmware('bios-256k.bin', []);
const noScreen = skip || (firmware && findFirmware('vgabios-stdvga.bin', []) ? false : 'SeaBIOS is not installed');

test('-display text shows the screen of SeaBIOS and types there; afterwards the terminal is as it was', {
  skip: noScreen,
  timeout: 2 * limitMs,
}, async () => {
  const session = new Session([
    'run',
    '-accel',
    'tcg',
    '-m',
    '32',
    '-display',
    'text',
    '-bios',
    firmware as string,
    '-boot',
    'menu=on,splash-time=60000',
  ]);
  await session.until(/\x1b\[\?1049h[\s\S]*SeaBIOS \(version[\s\S]*Press ESC for boot menu/);
  session.pty.write('\x1b');
  await session.until(/Select boot device:/);
  session.pty.write('\x01x');
  await session.until(/\x1b\[\?1049l[\s\S]*status=0\r\nsame/);
  assert.equal(await session.ended, 0);
});
