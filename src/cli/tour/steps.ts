/** The steps of the tour. Each runs something in the guest and tells what the lens saw; no figure comes from elsewhere. */
import { readCalls, samePageMerging, threadTimes } from '../../host/node/activity.js';
import { gpa } from '../../machine/built-in-guest/memory-map.js';
import { busyNs, formatNs, guestNs, type Measured, type TourSession } from './session.js';

export interface Step {
  readonly title: string;
  /** Gives the lines to show. */
  run(session: TourSession): Promise<readonly string[]>;
}

const quote = (text: string): string[] => text.split('\n').map((line) => `  guest | ${line}`);
const counts = (record: Readonly<Record<string, number>>): string =>
  Object.entries(record)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none';
const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Who had the time of N things, for each of them. */
function split(measured: Measured, count: number): string[] {
  return Object.entries(measured.timeNs)
    .filter(([owner]) => owner !== 'halted' && owner !== 'stopped')
    .sort(([, a], [, b]) => b - a)
    .map(([owner, ns]) => `  ${(ownerNames[owner] ?? owner).padEnd(46)}${formatNs(ns / count)}`);
}

const ownerNames: Readonly<Record<string, string>> = {
  ring0: 'ring 0 of the guest, its kernel',
  ring3: 'ring 3 of the guest, a program',
  guest: 'the guest, all rings, on the processor itself',
  accelerator: 'the accelerator, between guest and devices',
  devices: 'the device model, in the same thread',
  board: 'timers and requests of other threads',
};

const crossed = ({ crossings }: Measured): string =>
  crossings
    ? `Crossings that the translator saw: ${counts(crossings)}.`
    : "Under KVM ring 3 → 0 is the processor's own business: nobody outside sees it, unless he has the guest stopped there (-lens does, and counts).";

/** Chips that a tick goes by, as far as they are the board's: those in the host's kernel cost no exits. */
function describeChips(run: Measured): string[] {
  const chips = ['pit', 'pic', 'lapic0'].flatMap((name) => {
    const device = run.devices[name];
    if (!device) return [];
    const { timeNs = 0, ...accesses } = device;
    return [`  ${name.padEnd(8)}${counts(accesses)}, ${formatNs(timeNs)} in all`];
  });
  const exits = counts(withoutKicks(run));
  if (chips.length === 0)
    return [
      `The timer chip and the interrupt controllers are KVM's here, in the host's kernel: a tick costs no exit. What exits there were are the line's typing and printing (${exits}).`,
    ];
  return [
    `The timer chip and the interrupt controllers are devices here, so each tick costs exits: ${exits} in all, of which to these chips:`,
    ...chips,
  ];
}

function withoutKicks(measured: Measured): Record<string, number> {
  const exits = { ...measured.exits };
  for (const reason of ['kick', 'halt', 'interruptWindow']) delete exits[reason];
  return exits;
}

export const steps: readonly Step[] = [
  {
    title: 'A machine in a process',
    async run(session) {
      const boot = await session.boot();
      const threads = threadTimes();
      return [
        'The layers, from the outside in:',
        '  ring 3    a program in the guest',
        "  ring 0    the guest's kernel",
        `  ring -1   what runs the guest: ${session.machine.accelerator === 'kvm' ? "KVM, in the host's kernel, on the processor itself" : "the translator, which makes WebAssembly of the guest's code"}`,
        '  below     the device model and back ends: this process, an ordinary program of the host',
        ...session.machine.acceleratorRefusals.map((why) => `  (${why})`),
        `The guest came from the reset vector to its prompt in ${formatNs(boot.wallNs)}: ${counts(withoutKicks(boot))} VM exits.`,
        ...(threads
          ? [
              'Threads of this process, and the processor time they have had:',
              ...summarize(threads).map(({ name, cpuNs }) => `  ${name.padEnd(24)}${formatNs(cpuNs)}`),
            ]
          : []),
      ];
    },
  },
  {
    title: 'One page: guest-virtual → guest-physical → host',
    async run(session) {
      const before = await session.machine.hostPage(gpa.ZONE_FRAME);
      const touched = await session.run('page');
      const after = await session.machine.hostPage(gpa.ZONE_FRAME);
      const state = (resident: boolean | undefined) =>
        resident === undefined
          ? 'not told by this host'
          : resident
            ? 'the host has given a page'
            : 'no page of the host yet';
      const ksm = samePageMerging();
      await session.machine.writeMemory(gpa.BALLOON, Uint8Array.of(1));
      const used = await session.machine.hostPage(gpa.BALLOON);
      const balloon = await session.run('balloon 1');
      const given = await session.machine.hostPage(gpa.BALLOON);
      return [
        'A program of ring 3 stores a byte where nothing is mapped. Ring 0 takes the page fault and maps a frame there:',
        ...quote(touched.text),
        `Guest-physical ${hex(gpa.ZONE_FRAME)} is host-virtual ${after.hva === undefined ? '(not told by this host)' : hex(after.hva)} in this process: the guest's RAM is one piece of memory here.`,
        `  before: ${state(before.resident)}; after: ${state(after.resident)}.`,
        "So two owners gave it, each at the first touch: the guest's kernel its frame, at the page fault above; the host's kernel its page, when that store reached memory.",
        `Sharing: equal pages of two machines can be one page of the host. ${ksm === undefined ? 'This host has no same-page merging.' : ksm ? 'This host merges same pages.' : "This host's same-page merging is off."} vring does not offer guest RAM for it: every page here is this machine's own.`,
        'Ballooning: the guest gives pages back. Guest-physical ' +
          hex(gpa.BALLOON) +
          `, which was in use: ${state(used.resident)}.`,
        ...quote(balloon.text),
        `  afterwards: ${state(given.resident)}. The next touch brings a new one, of zeros.`,
      ];
    },
  },
  {
    title: 'Ring 3 → ring 0: a system call',
    async run(session) {
      const once = await session.run('syscall 1');
      const count = 100_000;
      const many = await session.run(`syscall ${count}`);
      return [
        'The program asks: one instruction (here INT3; SYSCALL and INT n do alike) goes through a gate that ring 0 has set up, IRET comes back.',
        ...quote(once.text),
        `${crossed(once)}${once.crossings ? ' One of each is the end of the program.' : ''}`,
        `${count} of them: ${formatNs(busyNs(many) / count)} each. Nothing left the guest for it: what exits there were are the line's typing and printing (${counts(withoutKicks(many))}). Of that time:`,
        ...split(many, count),
      ];
    },
  },
  {
    title: 'Ring 3 → ring 0: faults',
    async run(session) {
      const faults = 20_000;
      const missing = await session.run(`fault ${faults}`);
      const forbidden = await session.run(`gp ${faults}`);
      return [
        'The program does not ask: it touches a page that is not there, or uses an instruction that is not for it.',
        ...quote(missing.text),
        crossed(missing),
        `A page fault, with the handler that maps a frame and invalidates a TLB entry: ${formatNs(busyNs(missing) / faults)}. Of that:`,
        ...split(missing, faults),
        ...quote(forbidden.text),
        `A general-protection fault: ${formatNs(busyNs(forbidden) / faults)}.`,
      ];
    },
  },
  {
    title: 'Ring 3 → ring 0: an interrupt',
    async run(session) {
      const ticks = 20;
      const run = await session.run(`tick ${ticks}`);
      return [
        'The program is not even asked: a device raises a line, the interrupt controller has the processor stop between two instructions.',
        ...quote(run.text),
        crossed(run),
        ...describeChips(run),
      ];
    },
  },
  {
    title: 'Ring 0 → -1 → the device model, and back: a VM exit',
    async run(session) {
      const writes = 20_000;
      const port = await session.run(`port ${writes}`);
      const mmio = await session.run(`mmio ${writes}`);
      const serial = port.devices['serial0'] ?? {};
      const hpet = mmio.devices['hpet'] ?? {};
      return [
        'OUT to a port, or a load from an address with no RAM behind it: nothing inside the guest can answer. The guest stops, with a reason.',
        ...quote(port.text),
        `Reason pioWrite, ${port.exits['pioWrite'] ?? 0} times (the text above came out through the same chip, a byte an exit).`,
        `One costs ${formatNs(busyNs(port) / (port.exits['pioWrite'] ?? writes))}: ${port.crossings ? 'guest' : 'guest and KVM'} ${formatNs(guestNs(port) / writes)}, the chip's own code ${formatNs((serial['timeNs'] ?? 0) / ((serial['pioWrite'] ?? 0) + (serial['pioRead'] ?? 0)))}, all in the thread of the vCPU.`,
        ...quote(mmio.text),
        `Reason mmioRead, ${mmio.exits['mmioRead'] ?? 0} times; ${formatNs(busyNs(mmio) / writes)} each, of which the HPET's code ${formatNs((hpet['timeNs'] ?? 0) / (hpet['mmioRead'] ?? 1))}.`,
      ];
    },
  },
  {
    title: 'One disk request',
    async run(session) {
      const count = 200;
      const callsBefore = readCalls();
      const disk = await session.run(`disk ${count}`);
      const calls = callsBefore === undefined ? undefined : (readCalls() ?? 0) - callsBefore;
      const queue = await session.machine.readMemory(gpa.QUEUES, 0x30);
      const view = new DataView(queue.buffer, queue.byteOffset, queue.length);
      const descriptor = (i: number) => {
        const flags = view.getUint16(16 * i + 12, true);
        const next = flags & 1 ? `, goes on with ${view.getUint16(16 * i + 14, true)}` : '';
        return `  descriptor ${i}: ${view.getUint32(16 * i + 8, true)} bytes at ${hex(view.getBigUint64(16 * i, true))}, ${flags & 2 ? 'the device writes' : 'the device reads'}${next}`;
      };
      const names = Object.keys(disk.devices).filter((name) => name.startsWith('virtio-blk'));
      const notifies = names.reduce((sum, name) => sum + (disk.devices[name]['mmioWrite'] ?? 0), 0);
      const deviceNs = names.reduce((sum, name) => sum + (disk.devices[name]['timeNs'] ?? 0), 0);
      const vectors = Object.entries(disk.interrupts).filter(([vector]) => Number(vector) >= 0x40);
      return [
        ...quote(disk.text),
        'Driver: it wrote the last request into the virtqueue, which is plain memory that both sides see:',
        ...[0, 1, 2].map(descriptor),
        `Notify: one store to the device's notify address, an exit: ${notifies} for ${count} requests.`,
        `Device: in the vCPU's thread it takes the chain, checks it and has it carried out: ${formatNs(deviceNs / count)} a request.`,
        `Host: the disk's thread reads the file into guest memory, and tells where the disk's bytes lie in it; what the host has in its page cache the vCPU's thread then reads itself, at once${calls === undefined ? '' : `; this process made ${calls} system calls that read meanwhile, these looks at it included`}.`,
        vectors.length > 0
          ? `Interrupt: a message to the local APIC, vector ${vectors.map(([vector, n]) => `${vector} ${n} times`).join(', ')}; the driver looks into the used ring.`
          : 'Interrupt: a message to the local APIC; the driver looks into the used ring.',
        disk.crossings
          ? `All of it: ${formatNs(disk.wallNs / count)} a request, of which the vCPU slept ${formatNs((disk.timeNs['halted'] ?? 0) / count)} in HLT.`
          : `All of it: ${formatNs(disk.wallNs / count)} a request. Where the local APIC is KVM's, the vCPU sleeps in HLT there: that is part of the ${formatNs(guestNs(disk) / count)} for guest and KVM.`,
      ];
    },
  },
];

/** Threads of one name together, those with the most time first. */
function summarize(threads: readonly { name: string; cpuNs: number }[]): { name: string; cpuNs: number }[] {
  const byName = new Map<string, { cpuNs: number; count: number }>();
  for (const { name, cpuNs } of threads) {
    const known = byName.get(name) ?? { cpuNs: 0, count: 0 };
    byName.set(name, { cpuNs: known.cpuNs + cpuNs, count: known.count + 1 });
  }
  return [...byName]
    .map(([name, { cpuNs, count }]) => ({ name: count > 1 ? `${name} (${count})` : name, cpuNs }))
    .sort((a, b) => b.cpuNs - a.cpuNs);
}
