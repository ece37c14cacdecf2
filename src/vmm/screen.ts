/** A machine's screen, as the machine's owner holds it: the thread that draws it, started when somebody first looks. */
import { Worker } from 'node:worker_threads';
import { VringError } from '../base/index.js';
import type { TextScreen } from '../display/index.js';
import { bundle } from '../host/node/bundles.js';
import type {
  FromScreen,
  PictureFormat,
  ScreenRequest,
  ScreenWorkerConfig,
  ToScreen,
  VncOptions,
  VncPlace,
  VncState,
} from './screen-protocol.js';

interface Waiting {
  resolve(value: FromScreen['value']): void;
  reject(error: VringError): void;
}

export class ScreenThread {
  readonly #config: ScreenWorkerConfig;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 1;

  constructor(config: ScreenWorkerConfig) {
    this.#config = config;
  }

  async picture(format: PictureFormat): Promise<Uint8Array> {
    return (await this.#request({ type: 'picture', format })) as Uint8Array;
  }

  async text(): Promise<TextScreen | undefined> {
    return (await this.#request({ type: 'text' })) as TextScreen | undefined;
  }

  async serveVnc(options: VncOptions): Promise<VncPlace> {
    return (await this.#request({ type: 'serveVnc', options })) as VncPlace;
  }

  /** Undefined: it is not served. */
  async vncState(): Promise<VncState | undefined> {
    return (await this.#request({ type: 'vncState' })) as VncState | undefined;
  }

  async setVncPassword(password: Uint8Array | undefined): Promise<void> {
    await this.#request({ type: 'vncPassword', password });
  }

  #start(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(bundle('screen-worker') ?? new URL('./screen-worker.js', import.meta.url), {
      workerData: this.#config,
      name: 'screen',
      stdin: false,
      execArgv: [],
    });
    this.#worker = worker;
    worker.on('message', ({ id, value, error }: FromScreen) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) waiting?.reject(new VringError(error.code, error.message));
      else waiting?.resolve(value);
    });
    worker.on('error', (error) => {
      const { message } = error as Error;
      this.#fail(new VringError('internal', `The thread of the screen has failed: ${message}`, { cause: error }));
    });
    worker.on('exit', () => this.#fail(new VringError('machine-ended', 'The machine has ended.')));
    return worker;
  }

  #fail(error: VringError): void {
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #request(request: ScreenRequest): Promise<FromScreen['value']> {
    const worker = this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, request } satisfies ToScreen);
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }
}
