import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { VringError } from '../../vmm/index.js';
import { parseLine } from '../options/parse.js';
import { planRun } from './configure.js';
import { runCommand, unsupportedRunOptions } from './options.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-configure-'));
after(() => rmSync(folder, { recursive: true }));

const plan = (...argv: string[]) =>
  planRun(parseLine(runCommand, ['-kernel', 'k', ...argv], { unsupported: unsupportedRunOptions }).given, {
    system: false,
    nowMs: 0,
  });
const systemPlan = (...argv: string[]) => planRun(parseLine(runCommand, argv).given, { system: true, nowMs: 0 });

/** The sentence that refuses a command line. */
function refusal(...argv: string[]): string {
  try {
    plan(...argv);
  } catch (error) {
    assert.ok(error instanceof VringError, String(error));
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return assert.fail(`${argv.join(' ')} was taken`);
}

const places = (...argv: string[]) =>
  plan(...argv).attachments.map(
    ({ from, chardev }) => `${from.kind}${'index' in from ? from.index : ''}:${chardev.kind}${chardev.mux ? '+' : ''}`,
  );

test('the serial port and the monitor, as QEMU has them by default', () => {
  assert.deepEqual(places(), ['serial0:stdio+', 'monitor:stdio+']);
  assert.deepEqual(places('-nographic'), ['serial0:stdio+', 'monitor:stdio+']);
  assert.deepEqual(places('-display', 'none'), []);
  assert.deepEqual(plan('-display', 'none').machine.serialPorts, [true]);
  assert.deepEqual(places('-display', 'none', '-serial', 'stdio'), ['serial0:stdio']);
  assert.deepEqual(places('-serial', 'mon:stdio'), ['serial0:stdio+', 'monitor:stdio+']);
  assert.deepEqual(places('-nographic', '-serial', 'mon:stdio'), ['serial0:stdio+', 'monitor:stdio+']);
  assert.deepEqual(places('-serial', 'stdio'), ['serial0:stdio']);
  assert.deepEqual(places('-monitor', 'stdio'), ['monitor:stdio']);
  assert.deepEqual(places('-nographic', '-serial', 'file:log'), ['serial0:file', 'monitor:stdio']);
  assert.deepEqual(places('-nodefaults'), []);
  assert.deepEqual(plan('-nodefaults').machine.serialPorts, []);
  assert.deepEqual(plan('-serial', 'none', '-serial', 'null').machine.serialPorts, [false, true]);
});

test('-monitor none leaves the serial port the terminal', () => {
  assert.deepEqual(places('-nographic', '-monitor', 'none'), ['serial0:stdio']);
});

test('Ctrl-C belongs to the guest where the monitor shares the terminal', () => {
  assert.equal(plan().attachments[0].chardev.signal, false);
  assert.equal(plan('-serial', 'stdio').attachments[0].chardev.signal, true);
  const given = plan('-chardev', 'stdio,id=c,mux=on,signal=off', '-serial', 'chardev:c', '-mon', 'chardev=c');
  assert.equal(given.attachments[0].chardev.signal, false);
  assert.deepEqual(
    given.attachments.map(({ from }) => from.kind),
    ['serial', 'monitor'],
  );
});

test('devices, in order and with their properties', () => {
  const { machine, attachments } = plan(
    ...['-chardev', 'null,id=n', '-chardev', 'file,id=f,path=/x,append=on'],
    ...['-device', 'virtio-serial,id=bus0,max_ports=4', '-device', 'virtconsole,chardev=n,name=con'],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,bus=virtio-serial1.0,nr=3,name=p,chardev=f'],
    ...['-drive', 'file=a.img,format=raw,if=virtio,readonly=on'],
    ...[
      '-blockdev',
      'driver=file,filename=b.img,node-name=proto',
      '-blockdev',
      '{"driver":"raw","file":"proto","node-name":"b"}',
    ],
    ...['-device', 'virtio-blk-pci,drive=b,serial=S1,addr=0x5', '-device', '{"driver":"virtio-rng-pci"}'],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-debugcon', 'null', '-device', 'pc-testdev'],
  );
  assert.deepEqual(machine.devices, [
    { type: 'virtio-blk', path: 'a.img', readonly: true },
    { type: 'isa-debugcon', port: 0xe9 },
    {
      type: 'virtio-serial',
      ports: [{ name: 'con', console: true, number: undefined }],
      maxPorts: 4,
      slot: undefined,
    },
    { type: 'virtio-serial', ports: [{ name: 'p', console: false, number: 3 }], maxPorts: 31, slot: undefined },
    { type: 'virtio-blk', path: 'b.img', readonly: false, serial: 'S1', slot: 5 },
    { type: 'virtio-rng', slot: undefined },
    { type: 'isa-debug-exit', port: 0xf4, sizeBytes: 4 },
    { type: 'pc-testdev' },
  ]);
  const consoles = attachments.filter(({ from }) => from.kind === 'console');
  assert.deepEqual(
    consoles.map(({ from, chardev }) => [from, chardev.id]),
    [
      [{ kind: 'console', index: 0 }, 'n'],
      [{ kind: 'console', index: 1 }, 'f'],
    ],
  );
});

test('the board', () => {
  const { machine } = plan(
    '-M',
    'pc,hpet=off,accel=tcg',
    '-m',
    '1G',
    '-smp',
    '1',
    '-cpu',
    'max,-aes',
    '-icount',
    'shift=3',
    '-seed',
    '9',
  );
  assert.equal(machine.hpet, false);
  assert.equal(machine.ramBytes, 2 ** 30);
  assert.equal(machine.cpu, 'max,-aes');
  assert.deepEqual(machine.icount, { shift: 3, seed: 9n });
  assert.equal(plan('-accel', 'tcg,hot-threshold=0').machine.hotThreshold, 0);
  assert.deepEqual(plan('-accel', 'kvm', '-accel', 'tcg').notices.length, 1);
  assert.equal(plan('-rtc', 'base=utc').machine.rtcOffsetMs, 0);
  const offset = plan('-rtc', 'base=2001-02-03T04:05:06').machine.rtcOffsetMs as number;
  assert.ok(Math.abs(Date.now() + offset - Date.UTC(2001, 1, 3, 4, 5, 6)) < 5000);
});

test('how a machine ends', () => {
  const actions = (...argv: string[]) => {
    const { onReset, onPowerOff } = plan(...argv).machine;
    return [onReset, onPowerOff];
  };
  assert.deepEqual(actions(), ['reset', 'end']);
  assert.deepEqual(actions('-no-reboot'), ['end', 'end']);
  assert.deepEqual(actions('-no-shutdown'), ['reset', 'pause']);
  assert.deepEqual(actions('-no-reboot', '-no-shutdown'), ['pause', 'pause']);
  assert.deepEqual(actions('-action', 'reboot=shutdown,shutdown=poweroff'), ['end', 'end']);
});

test('a named system brings kernel and console', () => {
  assert.deepEqual(systemPlan().attachments, []);
  assert.equal(systemPlan('-append', 'debug').machine.commandLine, 'debug');
  assert.throws(() => systemPlan('-kernel', 'x'), /brings its own/);
});

test('an image of another format is not taken for a raw one', () => {
  const path = join(folder, 'disk');
  writeFileSync(path, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(508)]));
  assert.match(refusal('-drive', `file=${path},if=virtio`), /qcow2 image/);
  const raw = join(folder, 'raw');
  writeFileSync(raw, Buffer.alloc(512));
  assert.match(plan('-drive', `file=${raw},if=virtio`).notices[0], /taken for raw/);
});

test('each mistake gets one sentence that names it', () => {
  const cases: [string[], RegExp][] = [
    [['-M', 'q35'], /q35.*not supported yet/],
    [['-M', 'pd'], /no such board; did you mean 'pc'/],
    [['-M', 'pc,usb=on'], /usb= is not supported yet/],
    [['-M', 'pc,hpte=on'], /did you mean 'hpet'/],
    [['-m', '1'], /at least 2 MiB/],
    [['-m', 'lots'], /no size/],
    [['-m', '256,maxmem=1G'], /maxmem= is not supported yet/],
    [['-smp', '2'], /more than one vCPU/],
    [['-smp', 'cpus=1,cores=2'], /more than one vCPU/],
    [['-smp', 'zero'], /whole number/],
    [['-accel', 'kvm'], /kvm.*not supported yet/],
    [['-accel', 'tgc'], /did you mean 'tcg'/],
    [['-accel', 'tcg,hot-threshold=3'], /power of two/],
    [['-accel', 'tcg,tb-size=32'], /tb-size= is not supported yet/],
    [['-icount', 'shift=auto'], /shift=auto is not supported yet/],
    [['-icount', '11'], /0 to 10/],
    [['-seed', '1'], /-icount only/],
    [['-rtc', 'base=tomorrow'], /utc, localtime or a date/],
    [['-rtc', 'clock=vm'], /clock is host/],
    [['-display', 'gtk'], /not supported yet/],
    [['-display', 'noen'], /did you mean 'none'/],
    [['-vga', 'std'], /not supported yet/],
    [['-nic', 'user'], /not supported yet/],
    [['-serial', 'pty'], /'pty' is not supported yet/],
    [['-serial', 'stdoi'], /did you mean 'stdio'/],
    [['-serial', 'file:'], /name is missing/],
    [['-serial', 'stdio', '-monitor', 'stdio'], /stdio cannot be used by several/],
    [['-serial', 'chardev:x'], /no character device 'x'/],
    [['-chardev', 'socket,id=s,path=/x'], /'socket' is not supported yet/],
    [['-chardev', 'stdio'], /id= is missing/],
    [['-chardev', 'null,id=a', '-serial', 'chardev:a', '-monitor', 'chardev:a'], /cannot be used by the monitor too/],
    [['-drive', 'file=x'], /if=ide \(the default\) is not supported yet/],
    [['-drive', 'file=x,if=virtoi'], /did you mean 'virtio'/],
    [['-drive', 'if=virtio'], /file= is missing/],
    [['-drive', 'file=x,if=virtio,format=qcow2'], /format=qcow2 is not supported yet/],
    [['-drive', 'file=x,if=virtio,format=raw,cache=writethrough'], /cache=writethrough/],
    [['-drive', 'file=x,if=none,id=d,format=raw', '-drive', 'file=y,if=none,id=d,format=raw'], /two drives/],
    [['-blockdev', 'driver=qcow2,node-name=q,file=x'], /driver=qcow2 is not supported yet/],
    [['-blockdev', '{"driver"'], /no JSON/],
    [['-device', 'virtio-blk-pci'], /drive= is missing/],
    [['-device', 'virtio-blk-pci,drive=nope'], /no drive 'nope'/],
    [['-device', 'virtio-bkl-pci,drive=x'], /did you mean 'virtio-blk-pci'/],
    [['-device', 'virtio-rng-pci,addr=0x20'], /no slot/],
    [['-device', 'virtio-rng-pci,bus=pci.1'], /no bus 'pci.1'/],
    [['-device', 'virtio-rng-pci,id=a', '-device', 'virtio-balloon,id=a'], /id 'a' already/],
    [['-device', 'virtconsole'], /virtio-serial bus/],
    [['-device', 'isa-debug-exit,iobase=0x10000'], /from 0 to 65535/],
    [['-d', 'exce'], /did you mean 'exec'/],
    [['-d', 'exec'], /'exec' is not supported yet/],
    [['-echr', 'x'], /0 to 255/],
    [['-offline'], /with a system only/],
    [['-gdb', 'udp::1'], /only tcp:/],
    [['-bios', 'x'], /not supported yet/],
    [['-hda', 'x'], /not supported yet/],
    [['-kernle', 'x'], /did you mean '-kernel'/],
  ];
  for (const [argv, sentence] of cases) assert.match(refusal(...argv), sentence, argv.join(' '));
  const without =
    (...argv: string[]) =>
    () =>
      planRun(parseLine(runCommand, argv).given, { system: false, nowMs: 0 });
  assert.throws(without(), /nothing to run/);
  assert.throws(without('-append', 'x'), /-kernel only/);
});
