/** TigerVNC's viewer on an X server without a screen (Xvfb), typed at by xdotool, its window read by xwd. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { until } from './screen-text.js';

const programs = ['Xvfb', 'xtigervncviewer', 'xdotool', 'xwd'];

/** Which program is missing; undefined: none. */
export function tigerVncLacks(): string | undefined {
  return programs.find((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Three bytes a pixel: red, green, blue. */
  readonly rgb: Uint8Array;
}

/** X window dump, version 7, of 32 bits a pixel in the order blue, green, red (X11/XWDFile.h). */
function readDump(dump: Buffer): Picture {
  const [header, width, height, lineBytes, colours] = [0, 16, 20, 48, 76].map((at) => dump.readUInt32BE(at)) as [
    ...[number, number, number, number, number],
  ];
  const start = header + 12 * colours;
  const rgb = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let k = 0; k < 3; k++) rgb[3 * (y * width + x) + k] = dump[start + y * lineBytes + 4 * x + 2 - k]!;
  return { width, height, rgb };
}

export class TigerVnc {
  readonly #children: ChildProcess[] = [];
  #display = '';
  #window = '';

  /** A viewer of what is served at a port of this host; its window is there. Rejects after so long. */
  static async open(port: number, limitMs: number): Promise<TigerVnc> {
    const viewer = new TigerVnc();
    try {
      await viewer.#start(port, limitMs);
    } catch (error) {
      await viewer.close();
      throw error;
    }
    return viewer;
  }

  async #start(port: number, limitMs: number): Promise<void> {
    // The server chooses a number that is free, and tells it.
    const server = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    this.#children.push(server);
    const ended = once(server, 'close').then(() => {
      throw new Error('Xvfb has ended');
    });
    const told = once(server.stdio[3] as NodeJS.ReadableStream, 'data') as Promise<[Buffer]>;
    ended.catch(() => {});
    const [number] = await Promise.race([told, ended]);
    this.#display = `:${number.toString().trim()}`;
    const argv = ['-SecurityTypes', 'None', '-RemoteResize=0', '-MenuKey=', `127.0.0.1::${port}`];
    this.#children.push(
      spawn('xtigervncviewer', argv, { env: { ...process.env, DISPLAY: this.#display }, stdio: 'ignore' }),
    );
    await until("the viewer's window", limitMs, async () => {
      const found = spawnSync('xdotool', ['search', '--onlyvisible', '--name', 'TigerVNC'], { env: this.#env });
      this.#window = found.stdout.toString().trim().split('\n').at(-1) ?? '';
      return this.#window !== '';
    });
    execFileSync('xdotool', ['windowfocus', '--sync', this.#window], { env: this.#env });
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, DISPLAY: this.#display };
  }

  /** Types a line, and Return: what xdotool makes of a newline is another key. */
  typeLine(line: string): void {
    execFileSync('xdotool', ['type', '--delay', '60', line], { env: this.#env });
    execFileSync('xdotool', ['key', 'Return'], { env: this.#env });
  }

  /** What its window shows. */
  picture(): Picture {
    return readDump(
      execFileSync('xwd', ['-silent', '-id', this.#window], {
        env: this.#env,
        maxBuffer: 16 << 20,
        encoding: 'buffer',
      }),
    );
  }

  async close(): Promise<void> {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, 'close');
      child.kill();
      await closed;
    }
  }
}
