import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseLine } from '../options/parse.js';
import { tellingPlaces, withConfigFiles } from './config-file.js';
import { planRun } from './configure.js';
import { runCommand } from './options.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-readconfig-'));
after(() => rmSync(folder, { recursive: true }));

function plan(...argv: string[]) {
  const given = withConfigFiles(parseLine(runCommand, ['-accel', 'tcg', ...argv]).given);
  return tellingPlaces(given, () => planRun(given, { system: false, nowMs: 0 }));
}

function file(text: string): string {
  const path = join(folder, 'machine.cfg');
  writeFileSync(path, text);
  return path;
}

test('the groups of a file are the options that they stand for, in its place', () => {
  const path = file(`# A machine.
[machine]
  type = "q35"

[memory]
  size = "512M"
[smp-opts]
  cpus = "2"
[name]
\tguest = "box"   # its name
[boot-opts]
  order = "d"
[drive "d0"]
  file = "a,b=c.img"
  format = "raw"
  if = "none"
[device "rp1"]
  driver = "pcie-root-port"
  slot = "1"
[device "disk"]
  driver = "virtio-blk-pci"
  drive = "d0"
  bus = "rp1"
[global]
  driver = "virtio-blk-pci"
  property = "serial"
  value = "S1"
[device]
  driver = "qemu-xhci"
  id = "x"
[netdev "n"]
  type = "user"
  hostfwd = "tcp::2222-:22"
[device]
  driver = "e1000"
  netdev = "n"
[chardev "c"]
  backend = "null"
[mon "m"]
  chardev = "c"
  mode = "control"
[fw_cfg]
  name = "opt/a"
  string = ""
[icount]
[rtc]
  base = "utc"
`);
  const words = [
    ...['-M', 'q35', '-m', '512M', '-smp', '2', '-name', 'box', '-boot', 'd'],
    ...['-drive', 'id=d0,file=a,,b=c.img,format=raw,if=none', '-device', 'pcie-root-port,id=rp1,slot=1'],
    ...['-device', 'virtio-blk-pci,id=disk,drive=d0,bus=rp1', '-global', 'virtio-blk-pci.serial=S1'],
    ...['-device', 'qemu-xhci,id=x', '-netdev', 'user,id=n,hostfwd=tcp::2222-:22', '-device', 'e1000,netdev=n'],
    ...['-chardev', 'null,id=c', '-mon', 'chardev=c,mode=control', '-fw_cfg', 'name=opt/a,string='],
    ...['-rtc', 'base=utc'],
  ];
  const common = ['-display', 'none', '-serial', 'none', '-kernel', 'k'];
  const read = plan('-readconfig', path, ...common);
  assert.deepEqual(read, plan(...words, ...common));
  assert.equal(read.machine.ramBytes, 512 << 20);
  assert.equal(plan('-readconfig', path, '-m', '64', ...common).machine.ramBytes, 64 << 20, 'the last one counts');
  assert.equal(plan('-m', '64', '-readconfig', path, ...common).machine.ramBytes, 512 << 20);
});

test('a mistake is told with the file and its line', () => {
  const cases: [text: string, line: number, reason: RegExp][] = [
    ['a = "b"\n', 1, /^no group defined$/],
    ['[foo]\n  a = "b"\n', 1, /^There is no option group 'foo'$/],
    ['\n[devise "x"]\n', 2, /^There is no option group 'devise'; did you mean 'device'\?$/],
    ['[spice]\n port = "1"\n', 1, /^\[spice\] is not supported yet$/],
    ['[device "9"]\n', 1, /^Parameter 'id' expects an identifier$/],
    ['[machine "m"]\n type = "pc"\n', 1, /^Invalid parameter 'id'$/],
    ['[device "x"\n', 1, /^parse error: /],
    ['[device x]\n', 1, /^parse error: /],
    ['[device "x"]\n driver = pc\n', 2, /^parse error: /],
    ['[device "x"]\n driver = "pc\n', 2, /^parse error: /],
    ['[device "x"]\n driver = "a" "b"\n', 2, /^parse error: /],
    ['[device "x"]\n; driver = "a"\n', 2, /^parse error: /],
    ['[device "x"]\n driver = "qemu-xhci"\n id = "y"\n', 3, /^the id is 'x' already$/],
    ['[device "x"]\n', 1, /^driver= is missing$/],
    ['# one\n[device]\n driver = "qemu-xhci"\n[device "x"]\n driver = "usb-frob"\n', 4, /'usb-frob' is not supported/],
    ['[device]\n driver = "qemu-xhci"\n frob = "1"\n', 1, /^there is no frob=/],
    ['[memory]\n size = "lots"\n', 1, /no size/],
    ['[memory]\n size = ""\n', 1, /^size= is missing$/],
    ['[machine]\n frob = "on"\n', 1, /^there is no frob=/],
    ['[netdev "n"]\n type = "usr"\n', 1, /'usr'; did you mean 'user'/],
    ['[device "x"]\n driver = "qemu-xhci"\n[device "x"]\n driver = "qemu-xhci"\n', 3, /already$/],
  ];
  for (const [text, line, reason] of cases) {
    const path = file(text);
    assert.throws(
      () => plan('-readconfig', path),
      (error: Error) => {
        assert.ok(error.message.startsWith(`${path}:${line}: `), error.message);
        assert.match(error.message.slice(`${path}:${line}: `.length), reason);
        return true;
      },
      text,
    );
  }
  assert.throws(() => plan('-readconfig', file('[memory]\n size = "64"\n'), '-m', 'lots'), {
    message: /^-m lots: /,
  });
});

test('a file that cannot be read is named', () => {
  const refused = (path: string, reason: string) =>
    assert.throws(() => plan('-readconfig', path), { message: `-readconfig ${path}: ${reason}` });
  const missing = join(folder, 'nothing');
  refused(missing, `Could not open '${missing}': No such file or directory`);
  refused(folder, 'Cannot read config file: Is a directory');
  const large = join(folder, 'large');
  writeFileSync(large, new Uint8Array((1 << 20) + 1).fill(0x0a));
  refused(large, 'the file has more than 1048576 bytes');
});
