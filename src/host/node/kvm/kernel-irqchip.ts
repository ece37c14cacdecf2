/**
 * KVM's own interrupt controllers (`kernel-irqchip=on`): local APICs, I/O APIC, 8259s and the 8254. Neither their registers nor their
 * ends of interrupts cost an exit; the board's devices move KVM's lines (KVM_IRQ_LINE) and send messages (KVM_SIGNAL_MSI).
 */
import { assert } from '../../../base/index.js';
import { IOAPIC_GPA, type Pit } from '../../../hw/index.js';
import { call, irqchip } from './abi.js';
import { InterruptRoutes, type Route } from './interrupt-routes.js';
import { type KernelInterrupts, MessageSender, type X86Controllers } from './kernel-interrupts.js';
import type { KvmVm } from './system.js';
import {
  PIT_STATE_BYTES,
  readIoApic,
  readPic,
  readPit,
  stopPit,
  writeIoApic,
  writePic,
  writePit,
} from './x86-chips.js';

const PINS = 24;
const TIMER = 1;
/** Port 0x61 is KVM's too: the second half of the 8254's channel 2. */
const SPEAKER_DUMMY = 1;
const ALL_MASKED = 0xff;
const IMR = 2;
const MASKED_ENTRY = 0x10000;
const IOAPIC_ENTRIES = 24;

/** `struct kvm_irqchip` */
class Chip {
  readonly bytes = new Uint8Array(new ArrayBuffer(520));
  readonly state = this.bytes.subarray(8);
  readonly view = new DataView(this.bytes.buffer, 8);

  constructor(number: number) {
    new DataView(this.bytes.buffer).setUint32(0, number, true);
  }
}

const pitState = () => new DataView(new ArrayBuffer(PIT_STATE_BYTES));
const bytesOf = (view: DataView) => new Uint8Array(view.buffer as ArrayBuffer);

export class KernelIrqchip implements KernelInterrupts {
  readonly takesExternal = true;
  /** KVM has this window's index register. */
  readonly hidden = { start: IOAPIC_GPA, size: 0x1000 };
  readonly #vm: KvmVm;
  readonly #board: X86Controllers;
  readonly #boardPit: Pit;
  readonly #routes: InterruptRoutes;
  readonly #messages: MessageSender;
  readonly #pics = [new Chip(irqchip.picMaster), new Chip(irqchip.picSlave)] as const;
  readonly #ioapic = new Chip(irqchip.ioapic);
  readonly #pit = pitState();
  /** What KVM's 8254 was when it had taken the board's. */
  readonly #pitSent = pitState();
  readonly #level = new DataView(new ArrayBuffer(8));
  readonly #levelBytes = bytesOf(this.#level);
  /** Levels of the lines: as the board's devices have them, and as KVM was told. */
  #levels = 0;
  #told = 0;
  #isPitReplaced = false;
  #takenNs = 0;
  /** KVM's 8254 counts. */
  #ticks = false;

  /** Before there are vCPUs. */
  constructor(vm: KvmVm, board: X86Controllers) {
    this.#vm = vm;
    this.#board = board;
    assert(board.pit, 'the board has an 8254 where KVM has one');
    this.#boardPit = board.pit;
    this.#routes = new InterruptRoutes(vm, PINS);
    this.#messages = new MessageSender(vm, this.#routes);
    vm.call('keep interrupt controllers', call.createIrqchip);
    const config = new Uint8Array(new ArrayBuffer(64));
    config[0] = SPEAKER_DUMMY;
    vm.call('keep a timer', call.createPit2, config);
    this.#route();
  }

  /** Each line to an 8259 and a pin of the I/O APIC: the timer's to pin 2. */
  #route(): void {
    const routes: Route[] = [];
    for (let gsi = 0; gsi < 16; gsi++)
      if (gsi !== 2) routes.push({ gsi, chip: gsi < 8 ? irqchip.picMaster : irqchip.picSlave, pin: gsi & 7 });
    for (let gsi = 0; gsi < PINS; gsi++)
      if (gsi !== 2) routes.push({ gsi, chip: irqchip.ioapic, pin: gsi === 0 ? 2 : gsi });
    this.#routes.setControllers(routes);
  }

  take(): void {
    const { bus, gsi, lapics } = this.#board;
    for (const lapic of lapics) lapic.standBy();
    this.#boardPit.standBy();
    this.#levels = gsi.levels;
    this.#isPitReplaced = this.#board.isPitReplaced();
    // Lines move while nothing is heard; then the chips are what they are.
    this.#maskAll();
    for (let n = 0; n < PINS; n++) this.#tell(n);
    this.#setChips();
    this.#ticks = false;
    gsi.divert = (n, level) => this.#moved(n, level);
    bus.divert = this.#messages;
  }

  give(): void {
    const { bus, gsi, ioapic, pic } = this.#board;
    gsi.divert = undefined;
    bus.divert = undefined;
    this.#routes.flush();
    const timePassed = this.#ticks && this.#board.nowNs() !== this.#takenNs;
    if (this.#ticks) {
      this.#givePit();
      // From here on no tick of KVM's comes.
      stopPit(this.#pit);
      this.#vm.call('stop its timer', call.setPit2, bytesOf(this.#pit));
    }
    const levels = this.#levels;
    this.#pics.forEach((chip, which) => {
      this.#vm.call('give an 8259', call.getIrqchip, chip.bytes);
      readPic(pic.state.chips[which]!, which === 0 ? levels & 0xff : (levels >> 8) & 0xff, chip.state);
    });
    this.#vm.call('give its I/O APIC', call.getIrqchip, this.#ioapic.bytes);
    readIoApic(ioapic, (levels & 0xfffffa) | ((levels & TIMER) << 2), this.#ioapic.view);
    pic.settle();
    this.#boardPit.goOn(timePassed);
  }

  start(): void {
    if (!this.#ticks) this.#takePit();
  }

  endOfInterrupt(): void {}

  close(): void {
    this.#routes.flush();
  }

  #maskAll(): void {
    for (const chip of this.#pics) {
      this.#vm.call('give an 8259', call.getIrqchip, chip.bytes);
      chip.state[IMR] = ALL_MASKED;
      this.#vm.call('take an 8259', call.setIrqchip, chip.bytes);
    }
    this.#vm.call('give its I/O APIC', call.getIrqchip, this.#ioapic.bytes);
    for (let pin = 0; pin < PINS; pin++) this.#ioapic.view.setUint32(IOAPIC_ENTRIES + 8 * pin, MASKED_ENTRY, true);
    this.#vm.call('take an I/O APIC', call.setIrqchip, this.#ioapic.bytes);
  }

  #setChips(): void {
    const { ioapic, pic } = this.#board;
    this.#pics.forEach((chip, which) => {
      writePic(pic.state.chips[which]!, which as 0 | 1, (this.#told >> (8 * which)) & 0xff, chip.state);
      this.#vm.call('take an 8259', call.setIrqchip, chip.bytes);
    });
    writeIoApic(ioapic, IOAPIC_GPA, this.#ioapic.view);
    this.#vm.call('take an I/O APIC', call.setIrqchip, this.#ioapic.bytes);
  }

  #takePit(): void {
    this.#ticks = true;
    this.#takenNs = this.#board.nowNs();
    writePit(this.#boardPit, this.#takenNs, this.#isPitReplaced, this.#pit);
    this.#vm.call('take an 8254', call.setPit2, bytesOf(this.#pit));
    this.#vm.call('give its 8254', call.getPit2, bytesOf(this.#pitSent));
  }

  #givePit(): void {
    this.#vm.call('give its 8254', call.getPit2, bytesOf(this.#pit));
    readPit(this.#boardPit, this.#pit, this.#pitSent, this.#board.nowNs(), process.hrtime.bigint());
  }

  /** A device has moved its line. */
  #moved(gsi: number, level: boolean): void {
    const bit = 1 << gsi;
    this.#levels = level ? this.#levels | bit : this.#levels & ~bit;
    const isReplaced = this.#board.isPitReplaced();
    if (gsi === 0 && isReplaced !== this.#isPitReplaced) {
      // The HPET takes over from the 8254, or gives back: either way it moves the line.
      if (this.#ticks) this.#givePit();
      this.#isPitReplaced = isReplaced;
      if (this.#ticks) this.#takePit();
    }
    this.#tell(gsi);
  }

  /** KVM's own 8254 moves the timer's line too: while it does, the board's must not hold it up. */
  #tell(gsi: number): void {
    const bit = 1 << gsi;
    const level = (this.#levels & bit) !== 0 && (gsi !== 0 || this.#isPitReplaced);
    if (level === ((this.#told & bit) !== 0)) return;
    this.#told ^= bit;
    this.#level.setUint32(0, gsi, true);
    this.#level.setUint32(4, level ? 1 : 0, true);
    this.#vm.call('move an interrupt line', call.irqLine, this.#levelBytes);
  }
}
