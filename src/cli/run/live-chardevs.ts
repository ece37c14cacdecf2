/** The character devices of a run, as they are now: some may come and go while the machine runs. */
import { openFailure } from '../../host/node/open-failure.js';
import { openWrittenFile, type WrittenFile } from '../../host/node/written-file.js';
import { type Machine, VringError } from '../../vmm/index.js';
import type { KeyValues } from '../options/key-values.js';
import type { Backend } from './backends/backend.js';
import { PipeBackend } from './backends/pipe.js';
import { PtyBackend } from './backends/pty.js';
import { RingBackend } from './backends/ring.js';
import { SocketBackend } from './backends/socket.js';
import { UdpBackend } from './backends/udp.js';
import { type Chardev, planChardev } from './chardevs.js';
import type { Attachment } from './run-plan.js';

/** What character devices lead to: files that are written, and backends that clients come to. */
export interface OpenChardevs {
  /** All of them; not each has a user. */
  readonly chardevs: readonly Chardev[];
  readonly files: ReadonlyMap<Chardev, WrittenFile>;
  readonly backends: ReadonlyMap<Chardev, Backend>;
}

/** A character device, as a monitor tells of it. */
export interface ChardevState {
  readonly id: string;
  readonly filename: string;
  /** A device or a monitor has it. */
  readonly isUsed: boolean;
  /** What it keeps, where it is a ring. */
  readonly ring: RingBackend | undefined;
}

async function openFile({ path = '', append = false }: Chardev): Promise<WrittenFile> {
  try {
    return await openWrittenFile(path, append);
  } catch (error) {
    throw new VringError('chardev-open', `'${path}' cannot be opened: ${openFailure(error)}`, { cause: error });
  }
}

/** Undefined: whoever uses it knows what it leads to. Rejects with VringError. */
async function openBackend(chardev: Chardev): Promise<Backend | undefined> {
  const { kind, path = '', socket, udp, ringBytes, option = chardev.id } = chardev;
  if (kind === 'socket' && socket) return await SocketBackend.open(option, socket);
  if (kind === 'pty') return new PtyBackend(option);
  if (kind === 'udp' && udp) return await UdpBackend.open(option, udp);
  if (ringBytes !== undefined) return new RingBackend(ringBytes, kind);
  if (kind === 'pipe') return new PipeBackend(option, path);
  return undefined;
}

export class LiveChardevs implements OpenChardevs {
  readonly chardevs: Chardev[] = [];
  readonly files = new Map<Chardev, WrittenFile>();
  readonly backends = new Map<Chardev, Backend>();

  /** Opens them all, so that a mistake is told before anything runs. Rejects with VringError `chardev-open` and others. */
  static async open(chardevs: readonly Chardev[]): Promise<LiveChardevs> {
    const live = new LiveChardevs();
    try {
      for (const chardev of chardevs) await live.#open(chardev);
    } catch (error) {
      await live.close();
      throw error;
    }
    return live;
  }

  async #open(chardev: Chardev): Promise<void> {
    if (chardev.kind === 'file') this.files.set(chardev, await openFile(chardev));
    const backend = await openBackend(chardev);
    if (backend) this.backends.set(chardev, backend);
    this.chardevs.push(chardev);
  }

  async close(): Promise<void> {
    for (const file of this.files.values()) await file.close();
    for (const backend of this.backends.values()) await backend.close();
  }

  /** For the monitors of a machine that has been given some of them. */
  monitored(attachments: readonly Attachment[]): MonitoredChardevs {
    return new MonitoredChardevs(this, attachments);
  }

  /** Another one. Gives the path of a pseudo-terminal. Rejects with VringError. */
  async add(values: KeyValues): Promise<string | undefined> {
    const id = values.entries.get('id');
    if (this.chardevs.some((each) => each.id === id))
      throw new VringError('chardev', `Chardev with id '${id}' already exists`);
    try {
      const chardev = planChardev(values);
      if (chardev.kind === 'stdio') throw new VringError('chardev', 'the terminal has its users from the start');
      await this.#open(chardev);
      const backend = this.backends.get(chardev);
      return backend instanceof PtyBackend ? backend.path : undefined;
    } catch (error) {
      if (!(error instanceof VringError) || id === undefined) throw error;
      const why = error.message.replace(`${values.option}: `, '');
      throw new VringError('chardev', `Failed to add chardev '${id}': ${why}`, { cause: error });
    }
  }

  async remove(id: string): Promise<void> {
    const at = this.chardevs.findIndex((each) => each.id === id);
    const [chardev] = this.chardevs.splice(at, 1);
    if (!chardev) return;
    const [file, backend] = [this.files.get(chardev), this.backends.get(chardev)];
    this.files.delete(chardev);
    this.backends.delete(chardev);
    await file?.close();
    await backend?.close();
  }
}

export class MonitoredChardevs {
  readonly #live: LiveChardevs;
  readonly #attachments: readonly Attachment[];

  constructor(live: LiveChardevs, attachments: readonly Attachment[]) {
    this.#live = live;
    this.#attachments = attachments;
  }

  get all(): readonly ChardevState[] {
    const { chardevs, backends } = this.#live;
    return chardevs.map((chardev) => {
      const backend = backends.get(chardev);
      return {
        id: chardev.id,
        isUsed: this.#attachments.some((each) => each.chardev.id === chardev.id),
        ring: backend instanceof RingBackend ? backend : undefined,
        filename: backend?.filename ?? chardev.path ?? chardev.kind,
      };
    });
  }

  add(values: KeyValues): Promise<string | undefined> {
    return this.#live.add(values);
  }

  #need(id: string): ChardevState {
    const found = this.all.find((each) => each.id === id);
    if (found) return found;
    throw new VringError('chardev', `Chardev '${id}' not found`);
  }

  /** Rejects with VringError `chardev`: there is none, or something uses it. */
  async remove(id: string): Promise<void> {
    if (this.#need(id).isUsed) throw new VringError('chardev', `Chardev '${id}' is busy`);
    await this.#live.remove(id);
  }

  /** A break condition on the serial lines that it leads to. Rejects with VringError `chardev`: there is none of that name. */
  async sendBreak(machine: Machine, id: string): Promise<void> {
    this.#need(id);
    for (const { from, chardev } of this.#attachments)
      if (chardev.id === id && from.kind === 'serial') await machine.sendBreak(from.index);
  }
}
