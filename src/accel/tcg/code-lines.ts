/** A translated block's guest code as text, for `-d in_asm`. */
import type { GuestTranslator, TranslationRequest } from '../../guest/guest-cpu.js';

/** A line an instruction of the `bytes` that were translated: address, code, assembly. */
export function codeLines(
  translator: GuestTranslator,
  { page, offset, nextPage, modeKey }: Pick<TranslationRequest, 'page' | 'offset' | 'nextPage' | 'modeKey'>,
  bytes: number,
  start: bigint,
): string[] {
  const lines: string[] = [];
  const distance = translator.entryDistance?.(offset) ?? 0;
  let pc = start;
  for (let at = 0; at < bytes; ) {
    const line = translator.disassemble(page, offset + at, nextPage, modeKey, pc);
    const code: string[] = [];
    for (let i = 0; i < line.bytes; i++) {
      const place = offset - distance + at + i;
      const byte = place < 4096 ? page[place] : (nextPage?.[place - 4096] ?? 0);
      code.push(byte.toString(16).padStart(2, '0'));
    }
    lines.push(
      `0x${(pc - BigInt(distance)).toString(16).padStart(8, '0')}:  ${code.join(' ').padEnd(24)} ${line.text}`,
    );
    at += Math.max(1, line.bytes);
    pc += BigInt(Math.max(1, line.bytes));
  }
  return lines;
}
