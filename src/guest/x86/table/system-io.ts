/** IN, OUT, INS, OUTS: Intel SDM vol. 1 ch. 19, vol. 2. */
import type { I32 } from '../../../ir/index.js';
import { seg } from '../system/bits.js';
import { checkPort, portIn, portOut, stringIn, stringOut } from '../system/io.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';
import { reg } from './integer-helpers.js';
import { resumeIfMore } from './integer-string.js';

const sizeOf = (insn: DecodedInsn, byte: boolean): 8 | 16 | 32 => (byte ? 8 : insn.opSize === 16 ? 16 : 32);

/** The port of an operand (an immediate byte or DX), permission checked. */
function port(t: Translator, insn: DecodedInsn, immediate: boolean, size: number): I32 {
  const { b } = t;
  const number = immediate ? b.i32(insn.immLow & 0xff) : t.wide.narrow(t.wide.clean(16, t.readWide(16, reg.DX)));
  // In virtual-8086 mode IOPL does not count for ports.
  if (!t.mode.ioAllowed || t.mode.vm86) b.call(checkPort, number, b.i32(size >> 3));
  return number;
}

const portRows: InsnRow[] = [0, 1, 2, 3].flatMap((form): InsnRow[] => {
  const byte = (form & 1) === 0;
  const immediate = form < 2;
  const operand = immediate ? 'Ib' : 'DX:r';
  const accumulator = byte ? 'AL' : 'eAX';
  const code = (base: number) =>
    `${(base + (immediate ? 0 : 8) + (byte ? 0 : 1)).toString(16).toUpperCase()}${immediate ? ' ib' : ''}`;
  return [
    {
      name: 'IN',
      enc: code(0xe4),
      args: `${accumulator}:w, ${operand}`,
      translate(t, insn) {
        const size = sizeOf(insn, byte);
        const number = port(t, insn, immediate, size);
        const [value] = t.b.call(portIn, number, t.b.i32(size >> 3));
        t.writeWide(size, reg.AX, t.wide.widen(value, 32));
        // A breakpoint on the port may be due.
        t.endBlock(true);
      },
    },
    {
      name: 'OUT',
      enc: code(0xe6),
      args: `${operand}, ${accumulator}:r`,
      translate(t, insn) {
        const size = sizeOf(insn, byte);
        const number = port(t, insn, immediate, size);
        t.b.call(portOut, number, t.b.i32(size >> 3), t.wide.narrow(t.wide.clean(size, t.readWide(size, reg.AX))));
        // A device may have raised a line, moved the A20 gate or asked for a reset.
        t.endBlock(true);
      },
    },
  ];
});

const masks = { 16: [0xffff, 0], 32: [-1, 0], 64: [-1, -1] } as const;

function stringRow(name: 'INS' | 'OUTS', byte: boolean): InsnRow {
  const input = name === 'INS';
  return {
    name: `${name}${byte ? 'B' : ''}`,
    enc: ((input ? 0x6c : 0x6e) + (byte ? 0 : 1)).toString(16).toUpperCase(),
    args: input ? 'Yv:w, DX:r' : 'DX:r, Xv:r',
    translate(t, insn) {
      const { b } = t;
      const size = sizeOf(insn, byte);
      const number = port(t, insn, false, size);
      const bytes = b.i32(size >> 3);
      const mask = b.i64pair(masks[insn.addrSize][0], masks[insn.addrSize][1]);
      const repeated = insn.rep !== 0;
      const segment = insn.segOverride >= 0 ? insn.segOverride : seg.DS;
      if (input) b.call(stringIn, number, bytes, mask, b.i32(repeated ? 1 : 0));
      else b.call(stringOut, number, bytes, mask, b.i32(repeated ? 1 : 0), b.i32(segment));
      if (!repeated) {
        t.endBlock(true);
        return;
      }
      const left = b.i64_and(t.readWide(64, reg.CX), mask);
      const more = b.i64_ne(left, b.i64(0));
      if (t.mode.instructionBreak) resumeIfMore(t, more);
      t.repeatIf(more);
    },
  };
}

export const systemIoRows: readonly InsnRow[] = [
  ...portRows,
  stringRow('INS', true),
  stringRow('INS', false),
  stringRow('OUTS', true),
  stringRow('OUTS', false),
];
