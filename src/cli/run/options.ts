/** The options of `vring run`, in QEMU's spelling. */
import { architectureNames } from '../../machine/architecture-names.js';
import { traceItems } from '../../machine/trace.js';
import type { CommandRow, OptionRow } from '../options/option-row.js';

const machine = 'Machine';
const boot = 'Boot';
const storage = 'Disks and devices';
const network = 'Network';
const character = 'Character devices and display';
const running = 'Run';
const debug = 'Debugging';
const debian = 'Debian';

export const runOptions: readonly OptionRow[] = [
  {
    name: 'arch',
    argument: 'NAME',
    values: Object.entries(architectureNames).flatMap(([name, others]) => [name, ...others]),
    default: 'x86_64',
    sentence: `Architecture of the machine, by QEMU's name or Debian's: ${Object.keys(architectureNames).join(', ')}.`,
    group: machine,
  },
  {
    name: 'M',
    aliases: ['machine'],
    argument: 'TYPE[,prop=value…]',
    values: ['pc', 'q35', 'microvm', 'virt', 'help'],
    default: 'pc, or virt',
    sentence: 'Board; with accel=kvm:tcg, and pc with hpet=on|off. `help` lists the boards of the architecture.',
    group: machine,
  },
  {
    name: 'cpu',
    argument: 'MODEL[,+x][,-y]',
    values: ['qemu64', 'qemu32', 'rv64', 'max', 'help'],
    default: 'qemu64, rv64, or max',
    sentence: 'CPU model and feature flags. `help` lists them.',
    group: machine,
  },
  {
    name: 'accel',
    argument: 'NAME[,prop=value…]',
    values: ['kvm', 'tcg', 'help'],
    default: 'kvm, then tcg',
    sentence:
      'What runs the vCPU; the first given that works is taken, kvm only where it is quicker than tcg unless nothing else is given. tcg has hot-threshold=N: entries of a block before it is compiled, 0 for never.',
    group: machine,
    repeats: true,
  },
  { name: 'enable-kvm', sentence: 'The same as -accel kvm.', group: machine },
  {
    name: 'smp',
    argument: '[cpus=]N',
    default: '1',
    sentence:
      'Number of vCPUs. Under KVM each has a thread of its own; under tcg they take turns in one, so that more of them do no more work.',
    group: machine,
  },
  {
    name: 'm',
    argument: '[size=]MEGS',
    default: '128',
    sentence: 'RAM in MiB, or with K, M or G.',
    group: machine,
  },
  {
    name: 'rtc',
    argument: '[base=utc|localtime|DATE][,clock=host]',
    default: 'base=utc',
    sentence: 'What the real-time clock shows when the machine starts; DATE as 2024-01-31T12:00:00.',
    group: machine,
  },
  {
    name: 'icount',
    argument: '[shift=]N',
    sentence: 'Virtual time from executed instructions, 2^N nanoseconds each: two runs are the same to the last bit.',
    group: machine,
  },
  { name: 'seed', argument: 'N', sentence: 'Seed of the random numbers of -icount.', group: machine },
  { name: 'no-acpi', sentence: 'Leaves ACPI tables out of a PC; its registers stay.', group: machine },
  { name: 'no-hpet', sentence: 'Leaves the HPET out.', group: machine },
  {
    name: 'name',
    argument: 'NAME',
    sentence: 'Name of the machine, for messages and the tools that list threads.',
    group: machine,
  },
  {
    name: 'overcommit',
    argument: 'mem-lock=off,cpu-pm=off',
    sentence: 'Memory is not locked, and the host decides when its processors rest.',
    group: machine,
  },
  { name: 'nodefaults', sentence: 'Leaves out what is there unasked: serial port and monitor.', group: machine },
  { name: 'no-user-config', sentence: 'Reads no configuration files: there are none.', group: machine },

  {
    name: 'kernel',
    argument: 'FILE',
    isFile: true,
    sentence:
      'Kernel: a Linux bzImage, an ELF file with a PVH entry, or a Multiboot program; on RISC-V a Linux Image (packed or not) or an ELF file.',
    group: boot,
  },
  {
    name: 'initrd',
    argument: 'FILE',
    isFile: true,
    sentence:
      "Initial RAM disk; for a Multiboot program its modules, 'FILE [ARGUMENT…]' each, with commas between them and two for one in a name.",
    group: boot,
  },
  { name: 'append', argument: 'TEXT', sentence: 'Command line of the kernel.', group: boot },
  {
    name: 'dtb',
    argument: 'FILE',
    isFile: true,
    sentence:
      "Device tree in place of the board's own (Arm, RISC-V); command line, initrd and RAM are added to it. -M virt,dumpdtb=FILE writes the board's.",
    group: boot,
  },
  {
    name: 'bios',
    argument: 'FILE',
    isFile: true,
    sentence:
      "Firmware: a path, or a name in -L's folders and where packages of SeaBIOS and QEMU put it. With -kernel it boots that. Without both, and with disks, bios-256k.bin. On RISC-V OpenSBI or another for M-mode, none for the bare machine; without it vring serves SBI calls itself.",
    group: boot,
  },
  {
    name: 'pflash',
    argument: 'FILE',
    isFile: true,
    sentence:
      "A flash chip's image, as with -drive if=pflash: the first has the firmware (OVMF_CODE.fd), the second what it keeps (a copy of OVMF_VARS.fd).",
    group: boot,
  },
  {
    name: 'L',
    argument: 'FOLDER',
    isFile: true,
    sentence: 'Where firmware is looked for first.',
    group: boot,
    repeats: true,
  },
  {
    name: 'boot',
    argument: '[order=]DEVICES[,once=DEVICES][,menu=on|off][,splash-time=MS][,reboot-timeout=MS]',
    sentence:
      'What firmware boots from: c disk, a floppy, d CD, n network, unless devices have a bootindex=; once= until the first reset; its menu, and how long it waits; what it does when there is nothing.',
    group: boot,
    repeats: true,
  },
  {
    name: 'fw_cfg',
    argument: '[name=]NAME,file=FILE|string=TEXT',
    sentence: 'A file for firmware and guest, in fw_cfg; names of a person begin with opt/.',
    group: boot,
    repeats: true,
  },
  {
    name: 'smbios',
    argument: 'type=N,…',
    sentence:
      'What the SMBIOS tables of a PC say: type=1,manufacturer=,product=,version=,serial=,uuid=,sku=,family=; type=2 and 3 of board and chassis; type=11,value= for a string of your own.',
    group: boot,
    repeats: true,
  },
  { name: 'uuid', argument: 'UUID', sentence: 'UUID of the machine.', group: machine },

  ...['hda', 'hdb', 'hdc', 'hdd'].map((name, i) => ({
    name,
    argument: 'FILE',
    isFile: true,
    sentence: `IDE disk, ${['primary', 'secondary'][i >> 1]} ${['master', 'slave'][i & 1]}: short for -drive file=FILE,index=${i}.`,
    group: storage,
  })),
  ...(['A', 'B'] as const).map((letter, i) => ({
    name: `fd${letter.toLowerCase()}`,
    argument: 'FILE',
    isFile: true,
    sentence: `Floppy disk in drive ${letter}: short for -drive file=FILE,if=floppy,index=${i}.`,
    group: storage,
  })),
  {
    name: 'cdrom',
    argument: 'FILE',
    isFile: true,
    sentence: 'CD in the drive at the secondary master: short for -drive file=FILE,media=cdrom,index=2.',
    group: storage,
  },
  {
    name: 'drive',
    argument: 'file=FILE[,prop=value…]',
    sentence:
      'Disk, or CD with media=cdrom: with if=ide|virtio|none, index= or bus=,unit= on the IDE channels, format=raw|qcow2|…, id=, readonly=on|off, cache=, snapshot=on|off, discard=unmap|ignore, detect-zeroes=, serial=, werror=, rerror=; FILE may be nbd://…, https://…, json:{…}.',
    group: storage,
    repeats: true,
  },
  {
    name: 'blockdev',
    argument: 'driver=DRIVER,node-name=NAME,…',
    sentence: 'Block node, for -device virtio-blk-pci,drive=NAME and others; also as JSON.',
    group: storage,
    repeats: true,
  },
  {
    name: 'snapshot',
    sentence: 'Writes to all -drive go to temporary files, and are lost at the end.',
    group: storage,
  },
  {
    name: 'object',
    argument: 'TYPE,id=ID[,prop=value…]',
    values: ['secret', 'throttle-group', 'tls-creds-x509', 'tls-creds-psk', 'tls-creds-anon', 'filter-dump'],
    sentence:
      'What block nodes and -vnc refer to: secret (data= or file=), throttle-group, tls-creds-x509, tls-creds-psk, tls-creds-anon; filter-dump (netdev=, file=) writes the frames of a network to a file.',
    group: storage,
    repeats: true,
  },
  {
    name: 'device',
    argument: 'DRIVER[,prop=value…]',
    values: ['help'],
    sentence:
      'Plugs a device in. `help` lists devices, `DRIVER,help` the properties of one. loader puts file= (at addr=, or where an ELF file says) or data=, data-len= into memory; cpu-num=N: a CPU begins there (Arm, RISC-V).',
    group: storage,
    repeats: true,
  },
  {
    name: 'usb',
    sentence: "The board's own USB controller: PIIX3's, ICH9's, or an xHCI.",
    group: storage,
  },
  {
    name: 'usbdevice',
    argument: 'NAME',
    values: ['tablet', 'mouse', 'keyboard'],
    sentence: "A device on the board's own USB controller, short for -usb -device usb-NAME.",
    group: storage,
    repeats: true,
  },
  {
    name: 'global',
    argument: 'DRIVER.PROPERTY=VALUE',
    sentence: 'What a property of -device DRIVER is where the device says nothing.',
    group: storage,
    repeats: true,
  },
  {
    name: 'nic',
    argument: 'TYPE[,model=NAME][,mac=ADDRESS][,prop=value…]',
    values: ['none', 'user', 'socket', 'dgram'],
    default: 'none',
    sentence:
      'Network card (e1000 on a PC, otherwise virtio-net-pci, unless model= says rtl8139, ne2k_pci or ne2k_isa; model=help lists them) and what it is connected to, as -netdev says it; none: there is none.',
    group: network,
    repeats: true,
  },
  {
    name: 'fsdev',
    argument: 'local,id=ID,path=FOLDER,security_model=MODEL[,readonly=on]',
    sentence:
      'Folder of this host for -device virtio-9p-pci,fsdev=ID,mount_tag=TAG. Models: passthrough: what the guest makes belongs to whom it says, none: where this is allowed, mapped-xattr: what the guest says lies in extended attributes, mapped-file: in files beside them. No link leads out of it.',
    group: storage,
    repeats: true,
  },
  {
    name: 'virtfs',
    argument: 'local,path=FOLDER,mount_tag=TAG,security_model=MODEL[,readonly=on]',
    sentence:
      'A folder as -fsdev has it and its device in one. The guest mounts it by: mount -t 9p -o trans=virtio,version=9p2000.L TAG /mnt.',
    group: storage,
    repeats: true,
  },
  {
    name: 'add-fd',
    argument: 'fd=FD,set=SET[,opaque=TEXT]',
    sentence:
      'Puts a descriptor that was left open into a set: /dev/fdset/SET as the name of an image or of a file that is written.',
    group: storage,
    repeats: true,
  },
  {
    name: 'netdev',
    argument: 'TYPE,id=ID[,prop=value…]',
    values: ['user', 'socket', 'stream', 'dgram', 'tap'],
    sentence:
      'Network for -device virtio-net-pci,netdev=ID, e1000, rtl8139, ne2k_pci or ne2k_isa. user: by the sockets of this host, with hostfwd=[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport, guestfwd=, restrict=, net=, host=, dhcpstart=, dns=, hostname=, tftp=, bootfile=, ipv6=off; socket: listen=, connect=, mcast=, udp=, fd=; stream: server=on, addr.type=inet|unix|fd with addr.host=, addr.port=, addr.path=, addr.str=; dgram: remote.host=, local.host=, or local.type=fd,local.str=.',
    group: network,
    repeats: true,
  },
  {
    name: 'net',
    argument: 'nic|user|socket|none[,prop=value…]',
    values: ['none', 'nic', 'user', 'socket'],
    sentence: 'A card, or what it is connected to, in two options; -net none: there is none.',
    group: network,
    repeats: true,
  },

  {
    name: 'nographic',
    sentence: 'Serial port and monitor on the terminal; Ctrl-A h tells how to leave. The default without -display.',
    group: character,
  },
  {
    name: 'display',
    argument: 'none|text|vnc=DISPLAY',
    values: ['none', 'help'],
    sentence:
      'Who sees the screen: nobody; this terminal, while it shows text (Ctrl-A x ends the machine, Ctrl-A d presses Ctrl-Alt-Delete); or clients by VNC as with -vnc. The monitor can save its picture.',
    group: character,
  },
  {
    name: 'vnc',
    argument: '[HOST]:N|unix:PATH[,prop=value…]',
    sentence:
      "Serves the screen by VNC at port 5900+N, to everybody unless HOST is given: with to=M, password=on (which the monitor's set_password vnc sets), password-secret=ID, websocket=on|PORT, tls-creds=ID (of an -object tls-creds-x509 or -anon, endpoint=server), share=allow-exclusive|force-shared|ignore.",
    group: character,
  },
  {
    name: 'vga',
    argument: 'std|virtio|none',
    values: ['std', 'virtio', 'none'],
    default: 'none',
    sentence:
      "Graphics card: the standard VGA, a VGA with a virtio GPU, or none; std where -display or -vnc shows it, and where a PC's firmware boots.",
    group: character,
  },
  {
    name: 'audiodev',
    argument: 'none,id=ID',
    values: ['none'],
    sentence: 'Sound: none.',
    group: character,
    repeats: true,
  },
  { name: 'audio', argument: 'none', values: ['none'], sentence: 'Sound: none.', group: character },
  {
    name: 'k',
    argument: 'LAYOUT',
    values: ['en-us', 'en-gb', 'de', 'fr', 'es', 'it'],
    sentence: "Layout of the guest's keyboard, for clients of VNC that do not tell which keys are pressed.",
    group: character,
  },
  {
    name: 'serial',
    argument: 'DEVICE',
    values: [
      'stdio',
      'mon:stdio',
      'file:',
      'unix:',
      'tcp:',
      'telnet:',
      'udp:',
      'pty',
      'pipe:',
      'null',
      'none',
      'chardev:',
    ],
    sentence:
      'Where a serial port leads: stdio, mon:stdio, file:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, udp:HOST:PORT@LOCAL:PORT, pty, pipe:PATH, null, none, chardev:ID; sockets with server=on,wait=off for one that waits for clients, else reconnect=SECONDS.',
    group: character,
    repeats: true,
  },
  {
    name: 'monitor',
    argument: 'DEVICE',
    values: ['stdio', 'unix:', 'tcp:', 'telnet:', 'pty', 'pipe:', 'none', 'null', 'chardev:'],
    sentence: 'Where the monitor is, as -serial has it.',
    group: character,
  },
  {
    name: 'qmp',
    argument: 'DEVICE',
    values: ['stdio', 'unix:', 'tcp:'],
    sentence:
      'A monitor for programs, by JSON, as -serial has it: unix:PATH,server=on,wait=off; wait=on: the machine starts when one has come.',
    group: character,
    repeats: true,
  },
  {
    name: 'qmp-pretty',
    argument: 'DEVICE',
    sentence: 'The same, with answers over several lines.',
    group: character,
    repeats: true,
  },
  {
    name: 'mon',
    argument: '[chardev=]ID[,mode=readline|control][,pretty=on|off]',
    sentence: 'A monitor on a character device; mode=control: for programs.',
    group: character,
    repeats: true,
  },
  {
    name: 'chardev',
    argument: 'KIND,id=ID[,prop=value…]',
    values: ['stdio', 'file', 'socket', 'udp', 'pty', 'pipe', 'ringbuf', 'null'],
    sentence:
      'Character device: stdio (mux=on, signal=off), file (path=, append=on), socket (path= or host=, port=, to=, or fd=; server=, wait=, telnet=, reconnect=), udp (host=, port=, localaddr=, localport=), pty, pipe (path=), ringbuf (size=), null.',
    group: character,
    repeats: true,
  },
  {
    name: 'debugcon',
    argument: 'DEVICE',
    sentence: 'Where port 0xe9 leads: stdio, file:PATH, null, chardev:ID.',
    group: character,
  },
  {
    name: 'semihosting',
    sentence:
      'Programs on the bare machine may call the host (Arm, RISC-V): text, clocks, their end with a status. No file of the host is opened.',
    group: debug,
  },
  {
    name: 'semihosting-config',
    argument: '[enable=on|off][,target=native][,chardev=ID][,arg=TEXT…][,userspace=on]',
    sentence:
      'The same, with where its text goes (standard error unless given), what the program is told of its arguments, and whether code without privilege may call.',
    group: debug,
  },
  {
    name: 'parallel',
    argument: 'none',
    values: ['none', 'null'],
    default: 'none',
    sentence: 'Parallel port: none.',
    group: character,
    repeats: true,
  },
  {
    name: 'echr',
    argument: 'N',
    default: '1',
    sentence: 'The key that starts commands on the terminal, as a number: 1 is Ctrl-A.',
    group: character,
  },

  { name: 'S', sentence: 'The machine stands still until the monitor or a debugger says so.', group: running },
  { name: 's', sentence: 'Short for -gdb tcp::1234.', group: debug },
  {
    name: 'gdb',
    argument: 'tcp:[HOST]:PORT',
    sentence: 'Waits there for gdb (`target remote HOST:PORT`); HOST is 127.0.0.1 unless given.',
    group: debug,
  },
  { name: 'no-reboot', sentence: 'A reset ends the machine.', group: running },
  { name: 'no-shutdown', sentence: 'After power-off the machine stands still, to be looked at.', group: running },
  {
    name: 'action',
    argument: 'EVENT=ACTION',
    values: [
      'reboot=reset',
      'reboot=shutdown',
      'shutdown=poweroff',
      'shutdown=pause',
      'panic=pause',
      'panic=exit-failure',
    ],
    sentence:
      'What a reboot, shutdown, crash or watchdog does: reboot=reset|shutdown, shutdown=poweroff|pause, panic=shutdown|pause|exit-failure|none, watchdog= as -watchdog-action.',
    group: running,
    repeats: true,
  },
  {
    name: 'watchdog-action',
    argument: 'ACTION',
    values: ['reset', 'shutdown', 'poweroff', 'inject-nmi', 'pause', 'debug', 'none'],
    default: 'reset',
    sentence: 'What a watchdog (-device i6300esb) does that has heard nothing from the guest.',
    group: running,
  },
  {
    name: 'daemonize',
    sentence: 'The machine goes on in the background; the command ends when the machine has started.',
    group: running,
  },
  {
    name: 'readconfig',
    argument: 'FILE',
    isFile: true,
    sentence:
      'Options from a file of groups: a line [device "ID"], [drive "ID"], [machine], [memory]…, below it lines key = "value".',
    group: running,
    repeats: true,
  },
  { name: 'pidfile', argument: 'FILE', isFile: true, sentence: 'Writes the process id to a file.', group: running },

  {
    name: 'd',
    argument: 'ITEM[,…]',
    values: [...traceItems.map(({ name }) => name), 'help'],
    sentence: 'Logs these. `help` lists them.',
    group: debug,
  },
  {
    name: 'D',
    argument: 'FILE',
    isFile: true,
    sentence: 'The log goes to a file rather than to standard error.',
    group: debug,
  },
  {
    name: 'msg',
    argument: 'timestamp=on',
    values: ['timestamp=on', 'timestamp=off'],
    sentence: 'Messages begin with the time.',
    group: debug,
  },
  {
    name: 'stats',
    argument: '[text|json]',
    argumentOptional: true,
    values: ['text', 'json'],
    sentence: 'Writes the counters of translator and machine to standard error at the end.',
    group: debug,
  },
  {
    name: 'lens',
    argument: '[json=FILE][,interval=MS]',
    argumentOptional: true,
    values: ['json=', 'interval='],
    sentence:
      'Counts and times what happens: rings, exits, devices, memory. Live at the bottom of the terminal, as JSON lines in a file, and a summary at the end.',
    group: debug,
  },

  { name: 'offline', sentence: 'Takes Debian from the cache alone, without network.', group: debian },
  {
    name: 'mirror',
    argument: 'URL',
    sentence: "Archive to fetch Debian from, in place of apt's or the public one.",
    group: debian,
  },
  { name: 'or-built-in', sentence: 'Runs the built-in guest where no archive can be reached.', group: debian },

  { name: 'h', aliases: ['help'], sentence: 'Shows this help.', group: 'Help' },
  { name: 'version', sentence: 'Shows the version.', group: 'Help' },
];

export const runCommand: CommandRow = {
  name: 'run',
  synopsis: '[OPTIONS] [debian[:SUITE] [-- COMMAND [ARGUMENT…]]]',
  sentence: 'runs a machine: Debian by name, or a kernel with the options of QEMU',
  options: runOptions,
  dashes: 'single',
  operands: ['debian'],
  examples: [
    'vring run debian',
    'vring run debian:bookworm -- uname -a',
    "vring run -m 256 -kernel bzImage -initrd initrd.img -append 'console=ttyS0' -nographic",
  ],
  description: [
    "`vring run debian` fetches Debian's kernel and busybox from its archive, verified and kept in a cache, and gives a shell on the terminal; leaving the shell powers the machine off. With `-- COMMAND` the command's input, output and errors are the program's own.",
    'Without a name a kernel is booted by options that are spelled as those of qemu-system-x86_64; --arch NAME takes the place of qemu-system-NAME. What is not supported yet is refused by name.',
    'On the terminal Ctrl-A starts a command: x ends the machine, c changes between the serial port and the monitor, h shows all of them, Ctrl-A Ctrl-A sends Ctrl-A to the guest.',
  ],
  exitStatus: [
    ['0', 'the machine powered off, or was ended by its owner'],
    ['1', 'a mistake in what was asked for, or the machine failed'],
    ['(n << 1) | 1', 'the guest wrote n to isa-debug-exit'],
    [
      "the command's",
      'with -- COMMAND; 128+n when signal n ended it, 126 and 127 when it could not be run, 125 when vring itself failed',
    ],
  ],
};

const notYet = 'is not supported yet';

/** Options of qemu-system-x86_64 7.2 that vring does not have yet, with the sentence that refuses them. */
export const unsupportedRunOptions: ReadonlyMap<string, string> = new Map([
  ...[
    'acpitable',
    'async-teardown',
    'audio-help',
    'chroot',
    'compat',
    'dfilter',
    'dump-vmstate',
    'enable-sync-profile',
    'full-screen',
    'incoming',
    'iscsi',
    'loadvm',
    'mem-path',
    'mem-prealloc',
    'mtdblock',
    'no-fd-bootchk',
    'numa',
    'only-migratable',
    'option-rom',
    'plugin',
    'portrait',
    'preconfig',
    'prom-env',
    'rotate',
    'runas',
    'sandbox',
    'sd',
    'set',
    'singlestep',
    'spice',
    'tpmdev',
    'trace',
    'virtfs_synth',
    'watchdog',
    'win2k-hack',
    'writeconfig',
    'xen-attach',
    'xen-domid',
    'xen-domid-restrict',
    'alt-grab',
    'ctrl-grab',
    'no-quit',
    'curses',
    'sdl',
    'g',
  ].map((name) => [name, notYet] as const),
]);

/** What `-M pc,…` and `-accel tcg,…` take. */
export const machineProperties = [
  { name: 'accel', sentence: 'accelerators to try in turn, with : between them' },
  { name: 'hpet', sentence: 'on|off: the HPET (default: on)' },
  { name: 'graphics', sentence: 'on|off: off shows what firmware writes on the serial port' },
  { name: 'acpi', sentence: 'PC: on|off: ACPI tables; microvm: on|off|auto: hardware-reduced ACPI (default: on)' },
  {
    name: 'aia',
    sentence: 'riscv64: none|aplic|aplic-imsic: an advanced interrupt architecture (default: none, a PLIC)',
  },
  { name: 'dumpdtb', sentence: 'Arm, RISC-V: the device tree is written to this file, and nothing runs' },
  { name: 'pic', sentence: 'microvm: on|off|auto: the 8259s (default: on)' },
  { name: 'pit', sentence: 'microvm: on|off|auto: the 8254 (default: on)' },
  { name: 'rtc', sentence: 'microvm: on|off|auto: the clock (default: on)' },
  { name: 'ioapic2', sentence: 'microvm: on|off|auto: a second I/O APIC, for 24 slots instead of 8 (default: on)' },
  { name: 'pcie', sentence: 'microvm: on|off|auto: PCI Express (default: off)' },
  { name: 'isa-serial', sentence: 'microvm: on|off: the serial port (default: on)' },
  { name: 'auto-kernel-cmdline', sentence: 'microvm: on|off: the kernel is told what it cannot find (default: on)' },
  { name: 'x-option-roms', sentence: 'microvm: on|off: an option ROM boots the kernel under firmware (default: on)' },
] as const;
export const acceleratorProperties = [
  { name: 'hot-threshold', sentence: 'entries of a block before it is compiled, 0 for never (default: 1024)' },
  { name: 'thread', sentence: 'single|multi: no difference; vCPUs take turns in one thread' },
] as const;
export const accelerators = [
  { name: 'kvm', sentence: 'the processor itself, by way of the kernel' },
  { name: 'tcg', sentence: 'translation to WebAssembly' },
] as const;
export const unsupportedAccelerators = ['xen', 'hvf', 'whpx', 'nvmm', 'hax', 'qtest', 'direct'];
