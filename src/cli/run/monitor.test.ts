import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Machine, VringError } from '../../vmm/index.js';
import { LiveChardevs } from './live-chardevs.js';
import { Monitor } from './monitor.js';
import { type FrontEnd, Mux } from './mux.js';
import { monitoredRun } from './testing/monitored-run.js';

/** A machine as far as the monitor uses it: 64 KiB of memory at 0, mapped at 0xffff800000000000 too. */
function fakeMachine() {
  const memory = Uint8Array.from({ length: 65536 }, (_, i) => (i * 3) & 255);
  const calls: string[] = [];
  const call = (name: string) => async () => void calls.push(name);
  const machine = {
    state: 'running',
    pause: call('pause'),
    resume: call('resume'),
    reset: call('reset'),
    pressPowerButton: call('powerButton'),
    injectNmi: call('nmi'),
    registers: async () => ({ rip: 0x10n, rsp: 0xffff800000000020n }),
    translateAddress: async (gva: bigint) => {
      const low = Number(gva & 0xffff_ffffn);
      return (gva >> 47n === 0n || gva >> 47n === 0x1ffffn) && low < 65536 ? low : undefined;
    },
    readMemory: async (gpa: number, length: number) => {
      if (gpa + length > memory.length) throw new VringError('memory-absent', 'There is no RAM there.');
      return memory.slice(gpa, gpa + length);
    },
    blockNodes: async () => [
      {
        ...{ nodeName: '#block1', driver: 'qcow2', filename: 'a.qcow2', readonly: false, cache: 'writeback' },
        ...{ detectZeroes: 'off', encrypted: false, images: [{ filename: 'a.qcow2' }, { filename: 'base.raw' }] },
      },
    ],
    disks: async () => [
      {
        ...{ id: 'virtio0', nodeName: '#block1', filename: 'a.qcow2', format: 'qcow2', backing: 'base.raw' },
        ...{ readonly: false, sizeBytes: 1024, cache: 'writeback', inserted: true, removable: false, limits: {} },
      },
      { id: 'ide1-cd0', inserted: false, limits: {}, removable: true, tray: { open: true, locked: false } },
    ],
    ejectMedium: async (id: string, { force }: { force: boolean }) => void calls.push(`eject ${id} ${force}`),
    changeMedium: async (id: string, image: object, { force }: { force: boolean }) =>
      void calls.push(`change ${id} ${JSON.stringify(image)} ${force}`),
    disassemble: async (gva: bigint, count: number) =>
      Array.from({ length: gva < 65536n ? count : 0 }, (_, i) => `0x${(gva + BigInt(i)).toString(16)}: nop`),
    readPort: async (port: number, size: number) => {
      calls.push(`in ${port} ${size}`);
      return 0x5a;
    },
    writePort: async (port: number, size: number, value: number) => void calls.push(`out ${port} ${size} ${value}`),
    info: async (topic: string) => `about ${topic}\nsecond line`,
    networks: [
      {
        id: 'n',
        kind: 'user',
        description: 'net=10.0.2.0,restrict=off',
        card: { type: 'e1000', mac: '52:54:00:12:34:56' },
      },
      { id: 's', kind: 'connect', description: 'connect 127.0.0.1:1', card: undefined },
    ],
    hotplug: {
      addNetwork: async (network: { id: string; kind: string }) =>
        void calls.push(`network ${network.id} ${network.kind}`),
      removeNetwork: async (id: string) => void calls.push(`no network ${id}`),
    },
    setLink: async (id: string, up: boolean) => void calls.push(`link ${id} ${up}`),
    addHostForward: async (id: string, forward: { hostPort: number; guestPort: number; protocol: string }) =>
      void calls.push(`forward ${id} ${forward.protocol} ${forward.hostPort} ${forward.guestPort}`),
    removeHostForward: async (id: string, { hostPort }: { hostPort: number }) => {
      calls.push(`unforward ${id} ${hostPort}`);
      return hostPort === 2222;
    },
    selectCpu: async (cpu: number) => void calls.push(`cpu ${cpu}`),
  };
  return { machine: machine as unknown as Machine, calls, memory };
}

async function ask(...lines: string[]) {
  const { machine, calls, memory } = fakeMachine();
  let shown = '';
  let quit = false;
  const chardevs = new LiveChardevs();
  chardevs.chardevs.push(
    { id: 'serial0', kind: 'stdio', mux: false, signal: false },
    { id: 'c1', kind: 'file', path: '/tmp/x', mux: false, signal: false },
  );
  const run = monitoredRun(machine, {
    name: 'me',
    chardevs: chardevs.monitored([]),
    quit: () => {
      quit = true;
    },
  });
  const monitor = new Monitor({
    ...run,
    write: (text) => {
      shown += text;
    },
  });
  for (const line of lines) monitor.input(Buffer.from(`${line}\r`));
  await monitor.settled();
  return { shown, calls, quit, memory };
}

test('commands reach the machine', async () => {
  const { calls, quit } = await ask('stop', 'cont', 's', 'c', 'system_reset', 'system_powerdown', 'nmi', 'q');
  assert.deepEqual(calls, ['pause', 'resume', 'pause', 'resume', 'reset', 'powerButton', 'nmi']);
  assert.equal(quit, true);
});

test('media are taken out and changed', async () => {
  const { shown, calls } = await ask(
    ...['eject ide1-cd0', 'eject -f ide1-cd0', 'eject', 'change ide1-cd0', 'info block'],
    ...['change ide1-cd0 "a b.iso"', 'change -f ide1-cd0 x raw', 'change ide1-cd0 x raw read-only'],
    'change ide1-cd0 x raw no-such',
  );
  assert.deepEqual(calls, [
    'eject ide1-cd0 false',
    'eject ide1-cd0 true',
    'change ide1-cd0 {"path":"a b.iso"} false',
    'change ide1-cd0 {"path":"x","format":"raw"} true',
    'change ide1-cd0 {"path":"x","format":"raw","readonly":true} false',
  ]);
  assert.match(shown, /ide1-cd0: \[not inserted\]\r\n {4}Removable device: not locked, tray open\r\n/);
  assert.match(shown, /Error: eject: the id of a drive is needed/);
});

test('networks: what there is, cables, forwarded ports', async () => {
  const { shown, calls } = await ask(
    ...['info network', 'set_link n off', 'set_link n on', 'set_link n', 'set_link m off'],
    ...['hostfwd_add tcp::2222-:22', 'hostfwd_add n udp:127.0.0.1:53-10.0.2.16:5353', 'hostfwd_add m tcp::1-:2'],
    ...['hostfwd_add tcp::22-:x', 'hostfwd_remove tcp::2222', 'hostfwd_remove n tcp::2223', 'hostfwd_remove tcp:22'],
  );
  assert.match(
    shown,
    /e1000\.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r\n \\ n: index=0,type=user,net=10\.0\.2\.0/,
  );
  assert.match(shown, /\ns: index=0,type=socket,connect 127\.0\.0\.1:1\r\n/);
  assert.deepEqual(calls, [
    'link n false',
    'link n true',
    'forward n tcp 2222 22',
    'forward n udp 53 5353',
    'unforward n 2222',
    'unforward n 2223',
  ]);
  assert.match(shown, /set_link: NAME on\|off is needed/);
  assert.match(shown, /Device 'm' not found/);
  assert.match(shown, /hostfwd_add: there is no network 'm'/);
  assert.match(shown, /Invalid host forwarding rule 'tcp::22-:x' \(Bad guest port\)/);
  assert.match(shown, /host forwarding rule for tcp::2222 removed/);
  assert.match(shown, /host forwarding rule for tcp::2223 not found/);
  assert.match(shown, /Invalid host forwarding rule 'tcp:22' \(/);
});

test('networks come and go', async () => {
  const { shown, calls } = await ask(
    ...['netdev_add user,id=m,net=10.1.0.0/16', 'netdev_add user', 'netdev_add usr,id=k', 'netdev_add user,id=k,x=1'],
    ...['netdev_del n', 'netdev_del k'],
  );
  assert.deepEqual(calls, ['network m user', 'no network n']);
  assert.match(shown, /id= is missing/);
  assert.match(shown, /there is no network 'usr'; did you mean 'user'/);
  assert.match(shown, /Device 'k' not found/);
});

test('several vCPUs', async () => {
  const { shown, calls } = await ask('cpu 1', 'info registers -a', 'info registers -b', 'info jit -a', 'cpu x');
  assert.deepEqual(calls, ['cpu 1']);
  assert.match(shown, /about registers-all/);
  assert.match(shown, /'-b' means nothing here/);
  assert.match(shown, /info jit: '-a' means nothing here/);
  assert.match(shown, /number of a vCPU is needed/);
});

test('info, help, and words that are none', async () => {
  const { shown } = await ask('info status', 'info jit', 'info', 'help x', 'info regs', 'sotp');
  assert.match(shown, /VM status: running\r\n/);
  assert.match(shown, /about jit\r\nsecond line\r\n/);
  assert.match(shown, /info registers +-- /);
  assert.match(shown, /x \/FMT ADDRESS -- /);
  assert.match(shown, /no 'info regs'/);
  assert.match(shown, /unknown command: 'sotp'; did you mean 'stop'/);
});

test('memory, virtual and physical', async () => {
  const { shown, memory } = await ask(
    'x/2xw 0x10',
    'xp/4xb 4',
    'x/1xg $rsp',
    'x/2db $rip+1',
    'x/1xw 0x10000',
    'x/1xw $nope',
    'x/2z 0',
    'x/1xh 0xfff',
  );
  const word = (at: number, bytes: number) => {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(memory[at + i]);
    return `0x${value.toString(16).padStart(bytes * 2, '0')}`;
  };
  assert.ok(shown.includes(`0000000000000010: ${word(0x10, 4)} ${word(0x14, 4)}\r\n`));
  assert.ok(shown.includes(`0000000000000004: ${[4, 5, 6, 7].map((at) => word(at, 1)).join(' ')}\r\n`));
  assert.ok(shown.includes(`ffff800000000020: ${word(0x20, 8)}\r\n`));
  assert.ok(shown.includes('0000000000000011: 51 54\r\n'));
  assert.ok(shown.includes('Cannot access memory at 0x10000'));
  assert.match(shown, /no register '\$nope'/);
  assert.match(shown, /no format 'z'/);
  assert.ok(shown.includes(`0000000000000fff: ${word(0xfff, 2)}\r\n`), 'across two pages');
});

test('values, ports, disks and files', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-monitor-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'saved');
  const { shown, calls, memory } = await ask(
    ...['p 2 + 3*(4-1)', 'print/d 0-1', 'p ~0xff & 0xffff', 'p $rip*2', 'p 1/0', 'p 1 +', 'p (1', 'p 1 2'],
    ...['sum 4 3', 'gva2gpa 0x20', 'gva2gpa 0x20000', 'i/b 0x64', 'i/w 0xcf8', 'o/h 0x80 0x12', 'o/b 0x80'],
    ...['x/2i 0x10', 'x/i 0x20000', 'info block', 'info chardev', 'info qtree', `pmemsave 16 32 ${path}`],
    ...[`memsave 0xffff800000000fff 2 "${path}2"`, 'memsave 1 1', 'sum 4', 'pmemsave 0 1 /no/such/folder/x'],
  );
  const answers = shown.split('\r\n').map((line) => line.replace(/^(\(vring\) )+/, ''));
  for (const answer of [
    ...['0xb', '-1', '0xff00', '0x20', 'Error: Division by zero', 'Error: The expression ends too early'],
    ..."Error: A ')' is missing|Error: '2' is not expected here|gpa: 0x20|Unmapped|portb[0x0064] = 0x5a".split('|'),
    ...['portl[0x0cf8] = 0x0000005a', '0x10: nop', '0x11: nop', 'Error: Cannot access memory at 0x20000'],
    ...['virtio0 (#block1): a.qcow2 (qcow2)', '    Backing file:     base.raw (chain depth: 1)', 'about qtree'],
    ...['serial0: filename=stdio', 'c1: filename=/tmp/x', 'Error: A port and a value are needed, each without spaces'],
    ...['Error: An address and a size are needed, each without spaces', 'Error: The file is missing'],
  ])
    assert.ok(answers.includes(answer), `${answer}\n${shown}`);
  // The algorithm of BSD's sum, by hand: bytes 12, 15, 18.
  const rotate = (value: number) => (value >> 1) | ((value & 1) << 15);
  assert.ok(answers.includes(String(rotate(rotate(12) + 15) + 18).padStart(5, '0')), shown);
  assert.deepEqual(calls, ['in 100 1', 'in 3320 4', 'out 128 2 18']);
  assert.deepEqual([...readFileSync(path)], [...memory.subarray(16, 48)]);
  assert.deepEqual([...readFileSync(`${path}2`)], [...memory.subarray(0xfff, 0x1001)]);
  assert.match(shown, /'\/no\/such\/folder\/x' cannot be written: /);
});

test('the line can be edited, recalled and completed', async () => {
  const { shown, calls } = await ask('stopp\x7f', 'xyz\x15cont', '\x1b[A\x1b[A', 'system_res\t');
  assert.deepEqual(calls, ['pause', 'resume', 'pause', 'reset']);
  assert.match(shown, /system_reset /);
});

test('the multiplexer: focus, escapes, the escape key itself', () => {
  const log: string[] = [];
  const end = (name: string): FrontEnd => ({
    name,
    input: (bytes) => log.push(`${name}:${Buffer.from(bytes).toString('latin1')}`),
    focus: () => log.push(`${name} focus`),
    sendBreak: () => log.push(`${name} break`),
  });
  const said: string[] = [];
  const mux = new Mux({ write: (text) => said.push(text), quit: () => log.push('quit') }, [end('a'), end('m')], 1);
  mux.input(Buffer.from('x\x01'));
  mux.input(Buffer.from('cy\x01\x01z\x01bq\x01cw\x01x'));
  assert.deepEqual(log, ['a:x', 'm focus', 'm:y\x01z', 'm break', 'm:q', 'a focus', 'a:w', 'quit']);
  mux.input(Buffer.from('\x01h'));
  assert.match(said.join(''), /Ctrl-A x {4}ends the machine\r\n/);
  mux.input(Buffer.from('\x01?\x01!k'));
  assert.equal(log.at(-1), 'a:k', 'an unknown command is dropped');
});
