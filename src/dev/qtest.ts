/** A QEMU whose guest is halted for ever, driven through its qtest socket: ports and memory as a driver sees them. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const QEMU = 'qemu-system-x86_64';
/** For a test's `skip`. */
export const noQemu = spawnSync(QEMU, ['--version']).status === 0 ? false : `${QEMU} is not installed`;

const letter = { 1: 'b', 2: 'w', 4: 'l' } as const;

export class QemuMachine {
  readonly #process;
  readonly #waiting: ((line: string) => void)[] = [];
  #rest = '';

  /** A board, `pc` unless given, with 16 MiB of RAM and what `args` add. `dir`: for its firmware, which is nothing but HLT. */
  constructor(args: readonly string[], dir: string, board = 'pc') {
    const rom = join(dir, 'halt.bin');
    writeFileSync(rom, new Uint8Array(0x10000).fill(0xf4));
    const common = ['-M', board, '-accel', 'tcg', '-bios', rom, '-display', 'none', '-nodefaults', '-m', '16'];
    this.#process = spawn(QEMU, [...common, '-qtest', 'stdio', ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
    this.#process.stdin.on('error', () => {});
    this.#process.stdout.setEncoding('latin1').on('data', (chunk: string) => {
      const lines = (this.#rest + chunk).split('\n');
      this.#rest = lines.pop()!;
      for (const line of lines) if (/^(OK|FAIL|ERR)/.test(line)) this.#waiting.shift()?.(line);
    });
    this.#process.once('exit', () => {
      for (const wake of this.#waiting.splice(0)) wake('FAIL QEMU has ended');
    });
  }

  async #answer(text: string): Promise<string> {
    const reply = await new Promise<string>((resolve) => {
      this.#waiting.push(resolve);
      this.#process.stdin.write(`${text}\n`);
    });
    assert.match(reply, /^OK/, text);
    return reply.split(' ')[1] ?? '0';
  }
  async #command(text: string): Promise<number> {
    return Number(await this.#answer(text));
  }
  in(port: number, size: 1 | 2 | 4): Promise<number> {
    return this.#command(`in${letter[size]} ${port}`);
  }
  async out(port: number, size: 1 | 2 | 4, value: number): Promise<void> {
    await this.#command(`out${letter[size]} ${port} ${value}`);
  }
  read(gpa: number, size: 1 | 2 | 4): Promise<number> {
    return this.#command(`read${letter[size]} ${gpa}`);
  }
  async write(gpa: number, size: 1 | 2 | 4, value: number): Promise<void> {
    await this.#command(`write${letter[size]} ${gpa} ${value}`);
  }
  /** Any number of bytes at once, as hexadecimal digits. */
  async readHex(gpa: number, length: number): Promise<string> {
    return (await this.#answer(`read ${gpa} ${length}`)).slice(2);
  }
  async writeHex(gpa: number, digits: string): Promise<void> {
    await this.#command(`write ${gpa} ${digits.length / 2} 0x${digits}`);
  }
  close(): void {
    this.#process.kill();
  }
}
