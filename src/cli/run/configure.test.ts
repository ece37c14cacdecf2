import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { keyboardLayouts } from '../../display/keyboard-layouts.js';
import type { DeviceOptions } from '../../vmm/index.js';
import { parseLine } from '../options/parse.js';
import { planRun } from './configure.js';
import { runCommand } from './options.js';
import { plan, refusal, systemPlan } from './testing/plans.js';

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

test('a monitor for programs has a character device for itself', () => {
  assert.deepEqual(places('-qmp', 'stdio'), ['qmp:stdio']);
  assert.deepEqual(places('-chardev', 'stdio,id=c', '-mon', 'chardev=c,mode=control'), ['qmp:stdio']);
  assert.match(refusal('-qmp', 'stdio', '-serial', 'stdio'), /stdio cannot be used by several/);
  assert.match(refusal('-chardev', 'stdio,id=c,mux=on', '-mon', 'chardev=c,mode=control'), /cannot share/);
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
    ...[
      '-device',
      'virtio-blk-pci,drive=b,serial=S1,addr=0x5,bootindex=3,werror=stop,share-rw=on,logical_block_size=4096',
      '-device',
      '{"driver":"virtio-rng-pci"}',
    ],
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-debugcon', 'null', '-device', 'pc-testdev'],
  );
  const anywhere = { slot: undefined, interfaces: undefined, vectors: undefined };
  assert.deepEqual(machine.devices, [
    {
      type: 'virtio-blk',
      id: 'virtio0',
      serial: undefined,
      image: {
        option: '-drive file=a.img,format=raw,if=virtio,readonly=on',
        path: 'a.img',
        format: 'raw',
        options: {},
        readonly: true,
        cache: 'writeback',
        snapshot: false,
        onReadError: undefined,
        onWriteError: undefined,
      },
    },
    { type: 'isa-debugcon', port: 0xe9 },
    {
      type: 'virtio-serial',
      ports: [{ name: 'con', console: true, number: undefined }],
      maxPorts: 4,
      ...anywhere,
      device: 'bus0',
    },
    { type: 'virtio-serial', ports: [{ name: 'p', console: false, number: 3 }], maxPorts: 31, ...anywhere },
    {
      type: 'virtio-blk',
      id: 'b',
      image: { node: 'b', onReadError: undefined, onWriteError: 'stop', shareWrites: true },
      serial: 'S1',
      logicalBlockSize: 4096,
      physicalBlockSize: undefined,
      ...{ queues: undefined, queueSize: undefined, discard: undefined, writeZeroes: undefined },
      bootIndex: 3,
      ...anywhere,
      slot: 5,
    },
    { type: 'virtio-rng', ...anywhere },
    { type: 'isa-debug-exit', port: 0xf4, sizeBytes: 4 },
    { type: 'pc-testdev' },
  ]);
  assert.deepEqual(machine.blockNodes, [
    { driver: 'file', filename: 'b.img', 'node-name': 'proto' },
    { driver: 'raw', file: 'proto', 'node-name': 'b' },
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

test('interfaces of virtio devices, in the spelling of properties and of names', () => {
  const device = (text: string) => {
    const [found] = plan('-device', text).machine.devices ?? [];
    assert.ok(found && 'interfaces' in found);
    return [found.interfaces, found.vectors];
  };
  assert.deepEqual(device('virtio-rng-pci'), [undefined, undefined]);
  assert.deepEqual(device('virtio-rng-pci,disable-legacy=on,vectors=0'), ['modern', 0]);
  assert.deepEqual(device('virtio-rng-pci,disable-modern=true,disable-legacy=off'), ['legacy', undefined]);
  assert.deepEqual(device('virtio-balloon-pci-non-transitional'), ['modern', undefined]);
  const [rings] = plan('-device', 'virtio-rng-pci,packed=on').machine.devices ?? [];
  assert.ok(rings && 'packed' in rings && rings.packed);
  const [, quick] =
    plan('-device', 'virtio-rng-pci', '-device', 'virtio-balloon-pci,ioeventfd=off').machine.devices ?? [];
  assert.ok(quick && 'ioeventfd' in quick && quick.ioeventfd === false);
  assert.deepEqual(device('virtio-rng-pci-transitional'), ['transitional', undefined]);
  assert.match(refusal('-device', 'virtio-rng-pci,disable-legacy=on,disable-modern=on'), /without any interface/);
  assert.match(refusal('-device', 'virtio-rng-pci-transitional,disable-legacy=on'), /asks for transitional/);
});

test('devices that QEMU has are refused by name, others with the nearest word', () => {
  for (const name of ['e1000e', 'cirrus-vga', 'usb-audio', 'usb-ehci', 'nvme-subsys', 'scsi-block', 'vhost-vsock-pci'])
    assert.match(refusal('-device', name), /is not supported yet$/, name);
  assert.match(refusal('-device', 'isa-debugexit'), /did you mean 'isa-debug-exit'/);
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
  assert.deepEqual(machine.accelerators, ['tcg']);
  assert.deepEqual(plan('-accel', 'kvm', '-accel', 'tcg,hot-threshold=8').machine.accelerators, ['kvm', 'tcg']);
  assert.deepEqual(plan('-M', 'accel=tcg:kvm').machine.accelerators, ['tcg', 'kvm']);
  assert.equal(plan('-M', 'pc,accel=kvm,kernel_irqchip=split').machine.kernelIrqchip, 'split');
  assert.deepEqual(plan('-enable-kvm').machine.accelerators, ['kvm']);
  assert.equal(plan().machine.accelerators, undefined, 'the default');
  for (const smp of ['4', 'cores=2,threads=2', 'maxcpus=4', '4,maxcpus=4', '4,sockets=4,maxcpus=4'])
    assert.equal(plan('-smp', smp).machine.cpus, 4, smp);
  assert.match(plan('-accel', 'hvf', '-accel', 'tcg').notices.join(), /hvf is not supported; tcg is tried/);
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

test('root ports, and what goes behind them', () => {
  const [first, second, rng] =
    plan(
      ...['-M', 'q35', '-device', 'pcie-root-port,port=0x10,chassis=1,id=pci.1,bus=pcie.0,multifunction=on,addr=0x2'],
      ...[
        '-device',
        'pcie-root-port,slot=3,id=pci.2,bus=pcie.0,addr=0x2.0x1',
        '-device',
        'virtio-rng-pci,bus=pci.2,addr=0x0',
      ],
    ).machine.devices ?? [];
  const port = { type: 'pcie-root-port', slot: 2 };
  assert.deepEqual(first, { ...port, id: 'pci.1', function: 0, physicalSlot: undefined });
  assert.deepEqual(second, { ...port, id: 'pci.2', function: 1, physicalSlot: 3 });
  assert.ok(rng.type === 'virtio-rng' && rng.slot === 'pci.2');
});

test('virtio GPUs and input devices', () => {
  const devices = (...argv: string[]) =>
    plan(...argv, '-bios', fileURLToPath(import.meta.url)).machine.devices?.map((device) => device.type);
  assert.deepEqual(devices('-vga', 'virtio'), ['virtio-gpu']);
  assert.deepEqual(devices('-device', 'virtio-gpu-pci', '-vnc', ':5', '-device', 'virtio-tablet-pci'), [
    'virtio-gpu',
    'virtio-tablet',
  ]);
  const gpu = (text: string) => plan('-device', text, '-bios', fileURLToPath(import.meta.url)).machine.devices?.at(0);
  const { preferred, slot, vga } = gpu('virtio-gpu,xres=1920,yres=1080,addr=5') as Extract<
    DeviceOptions,
    { type: 'virtio-gpu' }
  >;
  assert.deepEqual([preferred, slot, vga], [{ width: 1920, height: 1080 }, 5, undefined]);
  assert.deepEqual((gpu('virtio-vga,romfile=') as { vga?: object }).vga, { rom: undefined });
  for (const kind of ['keyboard', 'mouse', 'tablet'])
    assert.deepEqual(devices('-device', `virtio-${kind}`), [`virtio-${kind}`]);
});

test('a VGA', () => {
  assert.deepEqual(plan().machine.devices, []);
  const vga = (...argv: string[]) => plan(...argv, '-bios', fileURLToPath(import.meta.url)).machine.devices?.at(0);
  assert.equal(vga('-vga', 'std')?.type, 'vga');
  assert.deepEqual(vga('-device', 'VGA,vgamem_mb=32,romfile=,addr=4'), {
    type: 'vga',
    slot: 4,
    memoryBytes: 32 << 20,
    rom: undefined,
  });
});

test('VNC', () => {
  const vnc = (...argv: string[]) => plan('-bios', fileURLToPath(import.meta.url), ...argv).screen.vnc;
  assert.equal(vnc(), undefined);
  assert.equal(vnc('-vnc', 'none'), undefined);
  assert.deepEqual(vnc('-vnc', ':1')?.address, { type: 'inet', host: '0.0.0.0', port: 5901, lastPort: 5901 });
  assert.deepEqual(vnc('-display', 'vnc=localhost:2,to=9')?.address, {
    type: 'inet',
    host: 'localhost',
    port: 5902,
    lastPort: 5911,
  });
  assert.deepEqual(vnc('-vnc', '[::1]:0')?.address, { type: 'inet', host: '::1', port: 5900, lastPort: 5900 });
  assert.deepEqual(vnc('-vnc', 'unix:/tmp/x,password=on')?.address, { type: 'unix', path: '/tmp/x' });
  assert.equal(vnc('-vnc', 'unix:/tmp/x,password=on')?.password, true);
  assert.equal(vnc('-vnc', ':3,tls-creds=t')?.tlsCredentials, 't');
  assert.equal(vnc('-vnc', ':3,websocket=on')?.websocketPort, 5703);
  assert.equal(vnc('-vnc', ':3,websocket=80')?.websocketPort, 80);
  assert.equal(vnc('-vnc', ':3,password-secret=s,share=ignore')?.sharing, 'ignore');
  const { machine } = plan('-bios', fileURLToPath(import.meta.url), '-vnc', ':1');
  assert.equal(machine.devices?.at(0)?.type, 'vga', 'a screen that is served is there');
  assert.equal(machine.firmware?.serialConsole, false);
  for (const [value, why] of [
    ['1', /HOST:N, :N or unix:PATH/],
    [':99999', /HOST:N/],
    [':1,sasl=on', /sasl= is not supported yet/],
    [':1,websocket=x', /websocket is on, off or a port/],
    ['unix:/x,websocket=on', /needs a port/],
    [':1,pasword=on', /did you mean 'password'/],
  ] as const)
    assert.match(refusal('-vnc', value), why);
  assert.match(refusal('-vnc', ':1', '-display', 'vnc=:2'), /cannot be given both/);
});

test('firmware', () => {
  const image = join(fileURLToPath(import.meta.url));
  const { machine } = plan(
    '-bios',
    image,
    '-boot',
    'ca,once=d,menu=on,splash-time=1000,reboot-timeout=-1,strict=on',
    '-fw_cfg',
    'opt/a,string=b',
  );
  assert.deepEqual(machine.firmware, {
    image,
    bootMenuMs: 1000,
    bootDevices: 'ca',
    bootDevicesOnce: 'd',
    bootStrict: true,
    rebootTimeoutMs: -1,
    serialConsole: true,
  });
  assert.deepEqual(machine.fwCfg, [{ name: 'opt/a', bytes: Uint8Array.of(0x62) }]);
  assert.equal(plan('-bios', image, '-display', 'none').machine.firmware?.serialConsole, false);
  assert.equal(plan('-bios', image, '-M', 'pc,graphics=off', '-display', 'none').machine.firmware?.serialConsole, true);
  assert.equal(plan().machine.firmware, undefined, 'a kernel needs none');
});

test('each mistake gets one sentence that names it', () => {
  const cases: [string[], RegExp][] = [
    [['-M', 'isapc'], /isapc.*not supported yet/],
    [['-M', 'microvm,pcie=maybe'], /pcie is on or off, not 'maybe'/],
    [['-M', 'microvm,usb=on'], /usb=on is not supported yet/],
    [['-M', 'microvm', '-device', 'virtio-rng-pci'], /has no PCI/],
    [['-M', 'microvm', '-serial', 'null', '-serial', 'null'], /at most 1 serial port/],
    [['-M', 'pd'], /no such board; did you mean 'pc'/],
    [['-usbdevice', 'tabelt'], /there are keyboard, mouse and tablet; did you mean 'tablet'/],
    [['-device', 'usb-tablet'], /there is no USB bus; -usb or -device qemu-xhci before it makes one/],
    [['-usb', '-device', 'usb-tablet,bus=usb.0'], /there is no bus 'usb.0'; there are usb-bus.0/],
    [['-device', 'qemu-xhci,p2=16'], /p2 is a whole number from 1 to 15/],
    [['-usb', '-device', 'usb-storage'], /drive= is missing/],
    [['-device', 'ich9-usb-uhci1,masterbus=usb.0,firstport=0'], /masterbus= is for EHCI/],
    [['-M', 'microvm', '-usb'], /this board has no PCI bus for a USB controller/],
    [['-M', 'pc,hpte=on'], /did you mean 'hpet'/],
    [['-m', '1'], /at least 2 MiB/],
    [['-m', 'lots'], /no size/],
    [['-m', '256,maxmem=1G'], /maxmem= is not supported yet/],
    [['-boot', 'x'], /Invalid boot device 'x'/],
    [['-hda', 'a', '-boot', 'order=c,once=D'], /Invalid boot device 'D'/],
    [['-hda', 'a', '-boot', 'cdc'], /Boot device 'c' was given twice/],
    [['-boot', 'dc,menu=maybe'], /menu is on or off/],
    [['-hda', 'a', '-hda', 'b'], /-hda b: there is a drive at bus 0, unit 0/],
    [['-cdrom', 'a', '-cdrom', 'b'], /-cdrom b: there is a drive at bus 1, unit 0/],
    [['-smp', '3,cores=2'], /the topology has 2 vCPUs, not 3/],
    [['-smp', '4,sockets=1,cores=1,threads=1'], /the topology has 1 vCPUs, not 4/],
    [['-smp', '1,maxcpus=2'], /no CPU hotplug, or not yet: maxcpus can be 1 alone/],
    [['-smp', '2,sockets=2,cores=2,maxcpus=4'], /no CPU hotplug/],
    [['-smp', '4,maxcpus=2'], /maxcpus must be equal to or greater than/],
    [['-smp', 'zero'], /whole number/],
    [['-accel', 'hvf'], /hvf: this accelerator is not supported; there are kvm and tcg/],
    [['-accel', 'kvn'], /did you mean 'kvm'/],
    [['-accel', 'kvm', '-M', 'accel=tcg'], /cannot be given both/],
    [['-accel', 'tgc'], /did you mean 'tcg'/],
    [['-accel', 'tcg,hot-threshold=3'], /power of two/],
    [['-accel', 'tcg,split-wx=on'], /split-wx= is not supported yet/],
    [['-icount', 'shift=auto'], /shift=auto is not supported yet/],
    [['-icount', '11'], /0 to 10/],
    [['-seed', '1'], /-icount only/],
    [['-rtc', 'base=tomorrow'], /utc, localtime or a date/],
    [['-rtc', 'clock=rt'], /clock is host/],
    [['-display', 'gtk'], /not supported yet/],
    [['-display', 'noen'], /did you mean 'none'/],
    [['-display', 'text', '-serial', 'stdio'], /for itself/],
    [['-vga', 'cirrus'], /not supported yet; there are std, virtio and none/],
    [['-device', 'virtio-gpu-pci,max_outputs=2'], /more than one output/],
    [['-device', 'virtio-gpu-pci,xres=5000'], /xres/],
    [['-vga', 'stt'], /did you mean 'std'/],
    [['-device', 'VGA,vgamem_mb=0'], /vgamem_mb/],
    [['-nic', 'tap,script=/nowhere/up'], /the network script \/nowhere\/up is not there; script=no/],
    [['-nic', 'tap,script=no,helper=/usr/lib/h'], /helper= is not supported yet/],
    [['-nic', 'tap,script=no,vhost=on'], /vhost=on is not supported yet/],
    [['-nic', 'tap,fd=3,ifname=t,queues=2'], /ifname=, queues= is invalid with fd=/],
    [['-nic', 'socket,fd=x'], /Invalid file descriptor number 'x'/],
    [['-add-fd', 'set=2'], /fd option is required and must be non-negative/],
    [['-add-fd', 'fd=1,set=2'], /fd cannot be a standard I\/O stream/],
    [['-add-fd', 'fd=9'], /set option is required and must be non-negative/],
    [['-add-fd', 'fd=9,set=-1'], /set is a whole number from 0/],
    [['-nic', 'tap,fds=3:x'], /fds=3:x is no descriptor/],
    [['-nic', 'tap,script=no,queues=0'], /queues is a whole number from 1/],
    [['-nic', 'tap,script=no,ifname=much-too-long-a-name'], /1 to 15 bytes/],
    [['-nic', 'bridge,br=br0'], /the network 'bridge' is not supported yet/],
    [['-nic', 'usr'], /did you mean 'user'/],
    [['-nic', 'user,model=rtl8193'], /there is no model 'rtl8193'; did you mean 'rtl8139'/],
    [['-nic', 'user,model=e1000e'], /model=e1000e is not supported yet/],
    [['-nic', 'user,mac=1:2'], /'1:2' is no Ethernet address/],
    [['-nic', 'user,hostfwd=tcp:22'], /Invalid host forwarding rule 'tcp:22' \(Bad host port\)/],
    [['-nic', 'user,hostfwd=sctp::22-:22'], /\(Bad protocol name\)/],
    [['-nic', 'user,hostfwd=tcp::22-:0'], /\(Bad guest port\)/],
    [['-nic', 'user,hostfwd=tcp:1.2.3:22-:22'], /\(Bad host address\)/],
    [['-nic', 'user,guestfwd=tcp:10.0.2.100-cmd:cat'], /Invalid guest forwarding rule/],
    [['-nic', 'user,guestfwd=tcp:10.0.2.100:80-tcp:host'], /Invalid guest forwarding rule/],
    [['-nic', 'user,guestfwd=tcp:10.0.2.100:80-file:/x'], /'file' is not supported yet/],
    [['-nic', 'user,net=10.0.2'], /'10.0.2' is no IPv4 network/],
    [['-nic', 'user,hostfw=x'], /there is no hostfw=.*did you mean 'hostfwd'/],
    [['-nic', 'socket'], /exactly one of/],
    [['-netdev', 'user'], /id= is missing/],
    [['-netdev', 'user,id=1a'], /Parameter 'id' expects an identifier/],
    [['-chardev', 'null,id=-'], /Parameter 'id' expects an identifier/],
    [['-drive', 'if=none,id=1a,file=a.img'], /Parameter 'id' expects an identifier/],
    [['-drive', 'file=a.img,aio=foo'], /invalid aio option/],
    [['-drive', 'file=a.img,readonly=on'], /Block node is read-only/],
    [['-drive', 'if=none,id=a,media=cdrom,file=a.img', '-device', 'ide-hd,drive=a'], /Block node is read-only/],
    [
      ['-blockdev', 'driver=file,filename=a,node-name=a,read-only=on', '-device', 'ide-hd,drive=a'],
      /Block node is read-only/,
    ],
    [['-netdev', 'user,id=a', '-netdev', 'user,id=a'], /Duplicate ID 'a'/],
    [['-device', 'virtio-net-pci,netdev=n'], /can't find value 'n'/],
    [
      ['-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n', '-device', 'virtio-net-pci,netdev=n'],
      /: Property 'virtio-net-device.netdev' can't take value 'n', it's in use$/,
    ],
    [['-device', 'rtl8139,netdev=m'], /: Property 'rtl8139.netdev' can't find value 'm'$/],
    [['-object', 'filter-dump,id=f,netdev=n,file=x'], /expects a network backend id/],
    [['-serial', 'udp:5'], /an address is HOST:PORT/],
    [['-serial', 'stdoi'], /did you mean 'stdio'/],
    [['-serial', 'file:'], /name is missing/],
    [['-serial', 'stdio', '-monitor', 'stdio'], /stdio cannot be used by several/],
    [['-serial', 'chardev:x'], /no character device 'x'/],
    [['-chardev', 'tty,id=s,path=/dev/ttyS0'], /'tty' is not supported yet/],
    [['-chardev', 'stdio'], /id= is missing/],
    [['-chardev', 'null,id=a', '-serial', 'chardev:a', '-monitor', 'chardev:a'], /cannot be used by the monitor too/],
    [['-drive', 'file=x,if=scsi'], /no SCSI controller of its own/],
    [['-drive', 'file=x,index=4'], /index of an IDE drive is 0 to 3/],
    [['-drive', 'file=x,index=1,unit=1'], /index cannot be used with bus and unit/],
    [['-hda', 'x', '-drive', 'file=y,bus=0,unit=0'], /there is a drive at bus 0, unit 0 \(index 0\) already/],
    [['-cdrom', 'x', '-hdc', 'y'], /there is a drive at bus 1, unit 0/],
    [['-drive', 'file=x,if=none,id=d', '-device', 'ide-hd,drive=d,bus=ide.2'], /there is no bus 'ide.2'/],
    [['-device', 'ide-hd'], /drive= is missing/],
    [['-drive', 'file=x,if=none,id=d', '-device', 'ide-hd,drive=d,logical_block_size=4096'], /of 512/],
    [['-drive', 'file=x,if=virtoi'], /did you mean 'virtio'/],
    [['-drive', 'if=virtio'], /file= is missing/],
    [['-drive', 'file=x,if=virtio,format=qcow22'], /did you mean 'qcow2'/],
    [['-drive', 'file=x,if=virtio,cache=some'], /invalid cache option/],
    [['-drive', 'file=x,if=virtio,werror=never'], /werror is report, ignore, stop, enospc/],
    [['-drive', 'file=x,if=virtio,rerror=enospc'], /rerror is report, ignore, stop, not/],
    [['-drive', 'file=x,if=virtio,throttling.group=g'], /throttling.group= is not supported yet/],
    [['-drive', 'file=x,if=virtio,iops=1k'], /Parameter 'throttling.iops-total' expects a number/],
    [['-drive', 'file=x,if=virtio,throttling.bps-read=-5'], /values must be within \[0, 1000000000000000\]/],
    [['-drive', 'file=x,if=virtio,iops=5,iops_rd=3'], /total values and read\/write values cannot be used at the same/],
    [['-drive', 'file=x,if=virtio,bps_max=5'], /bps_max\/iops_max require corresponding bps\/iops values/],
    [['-drive', 'file=x,if=virtio,iops_size=4096'], /iops size requires an iops value to be set/],
    [
      ['-drive', 'file=x,if=virtio,bps=1,throttling.bps-total=1'],
      /'throttling.bps-total' and its alias 'bps' can't be/,
    ],
    [['-drive', 'file=x,if=virtio,media=cdrom'], /a virtio disk is no CD/],
    [['-drive', 'file=x,if=virtio,serial=012345678901234567890'], /at most 20/],
    [['-object', 'input-linux,id=i'], /'input-linux' is not supported yet/],
    [['-object', 'secrte,id=i'], /did you mean 'secret'/],
    [['-object', 'secret,data=x'], /id= is missing/],
    [['-drive', 'file=x,if=none,id=d,format=raw', '-drive', 'file=y,if=none,id=d,format=raw'], /two drives/],
    [['-blockdev', 'driver=qcow2,node-name=q,file=x'], /no node 'x'/],
    [['-blockdev', 'driver=qcow22,node-name=q'], /did you mean 'qcow2'/],
    [['-blockdev', 'driver=qcow2'], /node-name= is missing/],
    [['-blockdev', '{"driver"'], /JSON parse error/],
    [['-device', 'virtio-blk,drive=x,logical_block_size=1000', '-drive', 'if=none,id=x,file=y'], /power of two/],
    [['-device', 'virtio-blk-pci'], /drive= is missing/],
    [['-device', 'virtio-blk-pci,drive=nope'], /no drive 'nope'/],
    [['-device', 'virtio-bkl-pci,drive=x'], /did you mean 'virtio-blk-pci'/],
    [['-device', 'virtio-rng-pci,addr=0x20'], /no slot/],
    [['-device', 'virtio-rng-pci,bus=pci.1'], /no bus 'pci.1'/],
    [['-device', 'virtio-rng-pci,id=a', '-device', 'virtio-balloon,id=a'], /id 'a' already/],
    [['-device', 'virtconsole'], /virtio-serial bus/],
    [['-device', 'isa-debug-exit,iobase=0x10000'], /from 0 to 65535/],
    [['-d', 'exce'], /did you mean 'exec'/],
    [['-device', 'loader,addr=4096'], /neither a file nor data/],
    [['-device', 'loader,data=1,data-len=4'], /data goes to an address/],
    [['-device', 'loader,addr=0,data=1'], /data needs data-len/],
    [['-device', 'loader,addr=0,file=x,cpu-num=0'], /cpu-num\) is not supported yet for x86_64/],
    [['-semihosting-config', 'target=gdb'], /calls that gdb answers are not supported yet/],
    [['-d', 'in_asm,out_asm'], /'out_asm' is not supported yet/],
    [['-echr', 'x'], /0 to 255/],
    [['-offline'], /with a system only/],
    [['-gdb', 'udp::1'], /only tcp:/],
    [['-bios', 'no-such-firmware'], /no firmware 'no-such-firmware' in .*seabios/],
    [['-bios', 'no/such', '-boot', 'splash=x'], /splash= is not supported yet/],
    [['-bios', 'no/such', '-boot', 'reboot-timeout=x'], /up to 65535, or -1/],
    [['-fw_cfg', 'opt/x'], /file= or string= is missing/],
    [['-fw_cfg', 'opt/x,string=a,file=b'], /cannot be given both/],
    [['-pflash', 'x', '-bios', 'y'], /both say where the firmware is/],
    [['-drive', 'file=x,if=pflash,unit=1'], /unit=0, has the firmware/],
    [['-drive', 'file=x,if=pflash,unit=2'], /two flash chips/],
    [['-drive', 'file=x,if=pflash', '-drive', 'file=y,if=pflash,unit=0'], /two drives for flash chip 0/],
    [['-fda', 'x', '-drive', 'if=floppy,index=0'], /there is a floppy drive 0 already/],
    [['-drive', 'file=x,if=floppy,index=2'], /index of a floppy drive is 0 to 1/],
    [['-arch', 'riscv64', '-fda', 'x'], /no floppy controller/],
    [['-kernle', 'x'], /did you mean '-kernel'/],
  ];
  for (const [argv, sentence] of cases) assert.match(refusal(...argv), sentence, argv.join(' '));
  const without =
    (...argv: string[]) =>
    () =>
      planRun(parseLine(runCommand, argv).given, { system: false, nowMs: 0 });
  assert.equal(without()().builtIn, true);
  assert.equal(without('-kernel', 'x')().builtIn, false);
  assert.throws(without('-append', 'x'), /-kernel only/);
});

test('-arch: names of QEMU and Debian; what an architecture does not have is refused by name', () => {
  const riscv = (...argv: string[]) => plan('-arch', 'riscv64', ...argv);
  assert.equal(plan().machine.architecture, 'x86_64');
  assert.equal(plan('-arch', 'amd64').machine.architecture, 'x86_64');
  assert.equal(plan('--arch', 'i386').machine.architecture, 'i386');
  const virt = riscv('-M', 'virt', '-cpu', 'rv64,zba=off').machine;
  assert.deepEqual([virt.architecture, virt.cpu, virt.firmware], ['riscv64', 'rv64,zba=off', undefined]);
  assert.match(refusal('-arch', 'mips'), /architecture 'mips'; there are x86_64, i386, riscv64, aarch64/);
  for (const [argv, sentence] of [
    [['-M', 'pc'], /no such board; riscv64 has virt/],
    [['-M', 'sifive_u'], /not supported yet; there is virt/],
    [['-device', 'isa-debug-exit'], /a machine of riscv64 has no ISA/],
    [['-no-hpet'], /only a PC has an HPET/],
    [['-serial', 'null', '-serial', 'stdio'], /at most 1 serial port$/],
    [['-boot', 'c'], /a PC's firmware only/],
    [['-M', 'virt-7.2'], /no such board/],
  ] as const)
    assert.match(refusal('-arch', 'riscv64', ...argv), sentence, argv.join(' '));
  assert.match(refusal('-device', 'virtio-rng-device'), /a machine of x86_64 has no virtio-bus/);
  assert.deepEqual(plan('-arch', 'arm64', '-M', 'virt,gic-version=2,secure=off').machine.architecture, 'aarch64');
  assert.deepEqual(plan('-arch', 'arm64', '-M', 'virt,gic-version=max').machine.arm, {
    gicVersion: 3,
    highmem: true,
    treeRandomness: true,
    its: true,
    acpi: true,
    virtualization: false,
    secure: false,
  });
  assert.deepEqual(
    plan('-arch', 'arm64', '-M', 'virt-7.2,its=off,highmem=off,dtb-randomness=off,acpi=auto,iommu=none').machine.arm,
    {
      gicVersion: 2,
      highmem: false,
      treeRandomness: false,
      its: false,
      acpi: true,
      virtualization: false,
      secure: false,
    },
  );
  assert.equal(plan('-arch', 'arm64', '-M', 'virt,virtualization=on').machine.arm?.virtualization, true);
  assert.equal(plan('-arch', 'armhf', '-M', 'virt,gic-version=2,highmem=on').machine.arm?.gicVersion, 2);
  assert.throws(() => plan('-arch', 'armhf', '-M', 'virt,gic-version=3'), /not supported yet for Arm with 32 bits/);
  assert.throws(() => plan('-arch', 'armhf', '-M', 'virt,secure=on'), /secure=on is not supported yet for Arm with 32/);
  for (const [argv, sentence] of [
    [['-M', 'raspi3b'], /not supported yet; there is virt/],
    [['-bios', 'k', '-boot', 'order=c'], /order= is of use with a PC's firmware only/],
    [['-M', 'virt,mte=on'], /mte=on is not supported yet/],
    [['-M', 'virt,iommu=smmuv3'], /iommu=smmuv3 is not supported yet/],
    [['-M', 'virt,gic-version=4'], /gic-version=4 is not supported yet; there are 2 and 3/],
    [['-M', 'virt,gic-version=host'], /gic-version=host is KVM's; there are 2 and 3/],
    [['-M', 'virt,gic-version=5'], /gic-version is 2, 3, 4, max, host, not '5'/],
    [['-M', 'virt,aclint=on'], /there is no aclint=/],
  ] as const)
    assert.match(refusal('-arch', 'aarch64', ...argv), sentence, argv.join(' '));
  // Without firmware the kernel is what starts in M-mode.
  const bare = riscv('-bios', 'none').machine;
  assert.deepEqual([bare.firmware, bare.kernel, bare.riscv?.bare], [undefined, 'k', true]);
});

test('microvm has no PCI unless it is asked for, and what QEMU lets one choose', () => {
  const { machine, builtIn } = plan('-M', 'microvm,acpi=off,pit=off,rtc=auto,isa-serial=off,auto-kernel-cmdline=off');
  assert.deepEqual(machine.microvm, {
    ...{ acpi: false, pic: undefined, pit: false, rtc: undefined, serial: false, secondIoApic: undefined },
    ...{ autoCommandLine: false, pcie: undefined, optionRoms: undefined },
  });
  assert.equal(builtIn, false);
  assert.deepEqual(machine.serialPorts, []);
  const express = plan('-M', 'microvm,pcie=on', '-device', 'virtio-rng-pci', '-device', 'virtio-rng-device').machine;
  assert.deepEqual(
    express.devices?.map((device) => 'bus' in device && device.bus),
    [false, 'mmio'],
  );
  const { devices } = plan(
    '-M',
    'microvm',
    '-nic',
    'user',
    '-netdev',
    'user,id=n',
    '-device',
    'virtio-net-device,netdev=n',
  ).machine;
  assert.deepEqual(
    devices?.map(({ type }) => type),
    ['virtio-net', 'virtio-net'],
  );
});

test('virtio devices in virtio-mmio slots', () => {
  const { devices } = plan(
    '-arch',
    'riscv64',
    ...['-drive', 'file=a.img,format=raw,if=none,id=d', '-device', 'virtio-blk-device,drive=d,bus=virtio-mmio-bus.3'],
    ...['-device', 'virtio-rng-device', '-device', 'virtio-serial-device', '-device', 'virtconsole'],
  ).machine;
  assert.deepEqual(
    devices?.map((device) => [device.type, 'bus' in device && device.bus, 'slot' in device && device.slot]),
    [
      ['virtio-blk', 'mmio', 3],
      ['virtio-rng', 'mmio', false],
      ['virtio-serial', 'mmio', false],
    ],
  );
  assert.match(
    refusal('-arch', 'riscv64', '-device', 'virtio-rng-device,bus=pci.0'),
    /no bus 'pci\.0'; there are virtio-mmio-bus\.0 and so on/,
  );
});

test('a machine without a processor tells whether there is KVM, be it slow', () => {
  assert.equal(plan('-M', 'none', '-accel', 'kvm', '-accel', 'tcg').machine.takesSlowKvm, true);
  assert.equal(plan('-M', 'pc').machine.takesSlowKvm, undefined);
});

test("USB: the board's own controller, others, and what goes into their ports", () => {
  const usb = (...argv: string[]) =>
    (plan(...argv).machine.devices ?? [])
      .filter((device) => device.type === 'usb')
      .map((device) => JSON.parse(JSON.stringify(device)));
  const tablet = { kind: 'tablet' };
  const own = { type: 'usb', model: 'piix3-usb-uhci', bus: 'usb-bus.0', slot: 1, function: 2 };
  assert.deepEqual(usb('-usb', '-device', 'usb-tablet'), [{ ...own, devices: [tablet] }]);
  assert.deepEqual(usb('-usbdevice', 'tablet'), [{ ...own, devices: [tablet] }]);
  assert.deepEqual(usb('-M', 'pc,usb=on'), [{ ...own, devices: [] }]);
  assert.deepEqual(
    usb('-M', 'q35', '-usb').map(({ model, slot, function: fn }) => [model, slot, fn]),
    [1, 2, 3].map((n) => [`ich9-usb-uhci${n}`, 0x1d, n - 1]),
  );
  assert.deepEqual(
    usb(
      ...['-device', 'qemu-xhci,id=x,p2=15,p3=15,addr=0x5', '-drive', 'if=none,id=d,file=d.img,format=raw'],
      ...['-device', 'usb-storage,drive=d,bus=x.0,port=3,removable=on,bootindex=1,serial=S1,id=stick'],
      ...['-device', 'usb-kbd,bus=x.0', '-device', 'nec-usb-xhci', '-device', 'usb-mouse,bus=usb-bus.0'],
    ),
    [
      {
        ...{ type: 'usb', model: 'qemu-xhci', device: 'x', bus: 'x.0', slot: 5, ports2: 15, ports3: 15 },
        devices: [
          {
            ...{ port: '3', id: 'stick', serial: 'S1', kind: 'storage', media: 'disk', driveId: 'd', removable: true },
            ...{
              image: {
                option: '-drive if=none,id=d,file=d.img,format=raw',
                path: 'd.img',
                format: 'raw',
                readonly: false,
                cache: 'writeback',
                snapshot: false,
                options: {},
              },
              bootIndex: 1,
            },
          },
          { kind: 'keyboard' },
        ],
      },
      { type: 'usb', model: 'nec-usb-xhci', bus: 'usb-bus.0', devices: [{ kind: 'mouse' }] },
    ],
  );
  const mice = (...words: string[]) => usb(...words, '-device', 'usb-mouse').map(({ devices }) => devices.length);
  assert.deepEqual(mice('-usb', '-device', 'qemu-xhci'), [0, 1], 'the latest, as on QEMU');
  assert.deepEqual(mice('-M', 'q35', '-usb'), [1, 0, 0], 'those of ICH9 are one bus there');
});

test('programs that drive QEMU: options that ask for what holds here in any case, and JSON', () => {
  const node = '{"driver":"null-co","size":4096,"node-name":"n"}';
  const device = '{"driver":"virtio-blk-pci","drive":"n","id":"d","write-cache":"on","iothread":"io","addr":"0x5"}';
  const { machine, notices, attachments } = plan(
    ...['-machine', 'pc-i440fx-7.2,usb=off,vmport=off,smm=off,dump-guest-core=off,memory-backend=pc.ram,acpi=on'],
    ...['-object', '{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}', '-object', 'iothread,id=io'],
    ...[
      '-global',
      'PIIX4_PM.disable_s3=1',
      '-global',
      'virtio-blk-pci.scsi=off',
      '-global',
      'kvm-pit.lost_tick_policy=delay',
    ],
    ...[
      '-global',
      'driver=virtio-blk-pci,property=serial,value=S',
      '-overcommit',
      'mem-lock=off',
      '-audiodev',
      'none,id=a',
    ],
    ...['-k', 'en-us', '-rtc', 'base=utc,driftfix=slew', '-no-user-config', '-nodefaults', '-action', 'panic=pause'],
    ...[
      '-blockdev',
      node,
      '-device',
      device,
      '-netdev',
      '{"type":"user","id":"net","hostfwd":[{"str":"tcp::22-:22"}]}',
    ],
    ...['-device', '{"driver":"virtio-net-pci","netdev":"net","romfile":"x","rombar":0}', '-accel', 'tcg,tb-size=64'],
    ...['-object', '{"qom-type":"rng-random","id":"r","filename":"/dev/urandom"}', '-device', 'virtio-rng-pci,rng=r'],
    ...['-chardev', 'socket,id=mon,fd=9,server=on,wait=off', '-mon', 'chardev=mon,id=monitor,mode=control'],
    ...['-chardev', 'pty,id=s', '-device', '{"driver":"isa-serial","chardev":"s","index":0}', '-msg', 'timestamp=on'],
    ...[
      '-smbios',
      'type=1,serial=ds=nocloud,uuid=01234567-89ab-cdef-0123-456789abcdef',
      '-smbios',
      'type=11,value=a,value=b',
    ],
  );
  assert.equal(machine.ramBytes, 64 << 20);
  assert.equal(machine.uuid, '01234567-89ab-cdef-0123-456789abcdef');
  assert.equal(machine.smbios?.system?.serial, 'ds=nocloud');
  assert.deepEqual(machine.smbios?.oemStrings, ['a', 'b']);
  const [disk, card] = ['virtio-blk', 'virtio-net'].map((type) => machine.devices?.find((each) => each.type === type));
  assert.equal((disk as { serial?: string }).serial, 'S');
  assert.equal((card as { rom?: string }).rom, undefined);
  const [network] = machine.networks ?? [];
  assert.equal(network.kind === 'user' && network.user?.hostForwards?.[0]?.hostPort, 22);
  assert.equal(notices.length, 1);
  assert.deepEqual(attachments.map(({ from, chardev }) => `${from.kind}:${chardev.kind}`).toSorted(), [
    'qmp:socket',
    'serial:pty',
  ]);
  // A serial port of -device takes the place of the one that is there unasked.
  assert.deepEqual(plan('-chardev', 'null,id=c', '-device', 'isa-serial,chardev=c').machine.serialPorts, [true]);
  // What libvirt asks an emulator's abilities with.
  const probe = ['-S', '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,accel=kvm:tcg', '-daemonize'];
  const asked = plan(...probe, '-qmp', 'unix:/x,server=on,wait=off', '-pidfile', 'p');
  assert.deepEqual([asked.isEmpty, asked.startPaused, asked.daemonize], [true, true, true]);
  const mistakes: [string[], RegExp][] = [
    [['-M', 'pc,memory-backend=x'], /Memory backend 'x' not found/],
    [
      ['-M', 'pc,memory-backend=x', '-object', 'memory-backend-ram,id=x,size=1M', '-m', '64'],
      /another size than -m 64/,
    ],
    [['-M', 'pc,smm=on'], /smm=on is not supported yet/],
    [['-object', 'rng-random,id=r,filename=/dev/hwrng'], /not from '\/dev\/hwrng'/],
    [['-device', 'virtio-rng-pci,rng=r'], /can't find value 'r'/],
    [['-object', 'iothread,id=r', '-device', 'virtio-rng-pci,rng=r'], /can't find value 'r'/],
    [['-global', 'PIIX4_PM.disable_s3=0'], /for devices of -device only/],
    [['-global', 'hpet.timers=5'], /for devices of -device only/],
    [['-k', 'xx'], /layout is not supported yet; there are en-us, en-gb, de, fr, es, it/],
    [['-global', 'nonsense'], /driver= is missing|not of the form/],
    [['-overcommit', 'mem-lock=on'], /mem-lock=on is not supported yet/],
    [['-audiodev', 'pa,id=a'], /sound is not supported yet/],
    [['-global', 'virtio-mmio.force-legacy=2'], /force-legacy is on or off, not '2'/],
    [['-smbios', 'type=4,asset=x'], /type=4 is not supported yet/],
    [['-smbios', 'type=1,colour=x'], /there is no colour=/],
    [
      ['-drive', 'file=x,if=none,id=d,format=raw', '-device', 'virtio-blk-pci,drive=d,write-cache=off'],
      /write-cache=off/,
    ],
  ];
  for (const [argv, message] of mistakes) assert.match(refusal(...argv), message);
});

test('options that scripts carry along and that change nothing here', () => {
  // plan() has -kernel, beside which -boot says nothing.
  assert.equal(plan('-boot', 'c').machine.firmware, undefined);
  assert.equal(plan('-boot', 'order=d,menu=on').machine.firmware, undefined);
  assert.match(refusal('-boot', 'colour=x'), /there is no colour=/);
  const logged = plan('-d', 'int,guest_errors,unimp', '-D', 'log');
  assert.deepEqual(logged.machine.trace, { items: ['int', 'unimp'], path: 'log' });
  assert.match(logged.notices.join(), /^-d int,guest_errors,unimp: devices say nothing yet/);
  assert.equal(logged.notices.length, 1);
  assert.deepEqual(
    plan('-monitor', 'vc', '-serial', 'vc:80Cx24C', '-chardev', 'vc,id=v,cols=80').attachments.map(
      ({ from, chardev }) => `${from.kind}:${chardev.kind}`,
    ),
    ['serial:null', 'monitor:null'],
  );
  assert.match(refusal('-serial', 'vcc'), /did you mean 'vc'/);
  // xv6 asks for the newer interface; unless asked the slots have the legacy one, as on QEMU.
  const xv6 = ['-machine', 'virt', '-bios', 'none', '-m', '128M', '-global', 'virtio-mmio.force-legacy=false'];
  const disk = ['-drive', 'file=fs.img,if=none,format=raw,id=x0', '-device', 'virtio-blk-device,drive=x0'];
  const { machine } = plan('-arch', 'riscv64', ...xv6, ...disk);
  assert.equal(machine.devices?.[0].type, 'virtio-blk');
  assert.equal(machine.legacyVirtioMmio, false);
  assert.equal(plan('-arch', 'riscv64', '-kernel', 'x').machine.legacyVirtioMmio, undefined);
  const board = (text: string) => ['-arch', 'riscv64', '-kernel', 'x', '-M', `virt,${text}`];
  assert.equal(plan(...board('aia=aplic-imsic,aia-guests=0')).machine.riscv?.aia, 'aplic-imsic');
  assert.match(refusal(...board('aia=gic')), /aia is none, aplic, aplic-imsic, not 'gic'/);
  assert.match(refusal(...board('aia=aplic-imsic,aia-guests=3')), /no such extension \(H\)/);
  // Flash chips stand beside firmware there, and each may be empty.
  const chip = (unit: number) => ['-drive', `if=pflash,unit=${unit},format=raw,file=x`];
  const flash = (...argv: string[]) => {
    const { kernel, firmware } = plan('-arch', 'riscv64', ...argv).machine;
    return [kernel, firmware?.image, firmware?.flash?.map((each) => each !== undefined)];
  };
  assert.deepEqual(flash(...chip(0), '-bios', 'none', '-kernel', 'k'), ['k', undefined, [true]]);
  assert.deepEqual(flash(...chip(1), '-kernel', 'k'), ['k', undefined, [false, true]]);
  assert.match(refusal('-arch', 'riscv64', ...chip(1), '-bios', 'none'), /nothing in M-mode would start/);
});

test('a Linux image without a 32-bit entry is booted by a BIOS, as on QEMU', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-real-mode-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [kernel, bios] = ['ipxe.lkrn', 'bios-256k.bin'].map((name) => join(folder, name));
  writeFileSync(bios, 'a BIOS');
  const image = (code32Start: number): Uint8Array => {
    const bytes = new Uint8Array(0x400);
    const view = new DataView(bytes.buffer);
    view.setUint16(0x1fe, 0xaa55, true);
    view.setUint32(0x202, 0x53726448, true); // HdrS
    view.setUint16(0x206, 0x207, true);
    view.setUint8(0x211, 1); // loaded to 1 MiB
    view.setUint32(0x214, code32Start, true);
    return bytes;
  };
  const firmware = (...argv: string[]) => plan('-kernel', kernel, '-L', folder, ...argv).machine.firmware?.image;
  writeFileSync(kernel, image(0));
  assert.equal(firmware(), bios);
  assert.equal(firmware('-bios', kernel), kernel);
  writeFileSync(kernel, image(0x100000));
  assert.equal(firmware(), undefined);
});

test('-semihosting alone is taken', () => {
  assert.deepEqual(plan('-semihosting', '-append', 'a b').machine.semihosting, {
    commandLine: 'k a b',
    userspace: false,
  });
});

test('the keyboard layouts that -k offers are those that there are', () => {
  assert.deepEqual(runCommand.options.find(({ name }) => name === 'k')?.values, keyboardLayouts);
});
