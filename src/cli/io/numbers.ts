/** How qemu-io prints sizes, rates and times, and splits command lines. */
import { parseSize } from '../../block/options.js';

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** `64 KiB`, `1.500 KiB`, `10 MiB`: three decimals unless the number is whole. */
export function sizeText(value: number): string {
  let exponent = 0;
  while (exponent < units.length - 1 && value >= 1024 ** (exponent + 1)) exponent++;
  const scaled = value / 1024 ** exponent;
  // Below one KiB fractions come from rates only, and then in full.
  const text =
    exponent === 0 && !Number.isInteger(value) ? value.toFixed(6) : threeDecimals(scaled).replace(/\.000$/, '');
  return `${text} ${units[exponent]}`;
}

/** C's %0.3f: exact ties go to the even digit, where toFixed rounds up. */
function threeDecimals(value: number): string {
  const floor = Math.floor(value * 1000);
  return value * 1000 - floor === 0.5 && floor % 2 === 0 ? (floor / 1000).toFixed(3) : value.toFixed(3);
}

/** `00.02 sec` below a minute, else `h:mm:ss.cc`. */
function timeText(seconds: number): string {
  const cents = (value: number): string => value.toFixed(2).padStart(5, '0');
  if (seconds < 60) return `${cents(seconds)} sec`;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return `${hours}:${String(minutes).padStart(2, '0')}:${cents(seconds % 60)}`;
}

/** The two report lines of a request, or the one of `-C`. */
export function report(
  verb: string,
  offset: number,
  asked: number,
  done: number,
  operations: number,
  seconds: number,
  isTerse: boolean,
): string {
  const rate = seconds > 0 ? done / seconds : 0;
  const perSecond = seconds > 0 ? operations / seconds : 0;
  if (isTerse) {
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor(seconds / 60) % 60;
    return `${done},${operations},${hours}:${String(minutes).padStart(2, '0')}:${(seconds % 60).toFixed(2).padStart(5, '0')},${rate.toFixed(3)},${perSecond.toFixed(3)}\n`;
  }
  return `${verb} ${done}/${asked} bytes at offset ${offset}\n${sizeText(done)}, ${operations} ops; ${timeText(seconds)} (${sizeText(rate)}/sec and ${perSecond.toFixed(4)} ops/sec)\n`;
}

/** A number with a size suffix, `undefined` when malformed or negative. */
export function number(text: string): number | undefined {
  const value = parseSize(text);
  return typeof value === 'number' && value < 2 ** 63 ? value : undefined;
}

/** Words apart by spaces; quotes mean nothing in this language. */
export function splitWords(line: string): string[] {
  return line.split(' ').filter((word) => word !== '');
}

/** Hex and text, 16 bytes a line, as `read -v` shows them. */
export function dump(bytes: Uint8Array, offset: number): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.subarray(at, at + 16);
    const hex = Array.from(part, (byte) => `${byte.toString(16).padStart(2, '0')} `).join('');
    const plain = Array.from(part, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    text += `${(offset + at).toString(16).padStart(8, '0')}:  ${hex} ${plain}\n`;
  }
  return text;
}
