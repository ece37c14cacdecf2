/** One client of QMP: greeting, negotiation, commands one after the other, events (QEMU docs/interop/qmp-spec.rst). */

import { BlockError } from '../../../block/index.js';
import { parseJson } from '../../../block/json.js';
import { closeDescriptors } from '../../../host/node/descriptor-messages.js';
import { VringError } from '../../../vmm/index.js';
import { generic } from './block-arguments.js';
import { qmpCommands } from './commands.js';
import { QmpFramer } from './framer.js';
import { check, checkOwnMembers, isObject } from './interface/check.js';
import { emptyObject, qmpInterface } from './interface/grammar.js';
import { QmpError, type QmpHost } from './qmp-command.js';

/** Commands that wait at most; a client that sends more without hearing is cut off. */
const MOST_WAITING = 256;

export interface QmpWire {
  write(text: string): void;
  /** The client does not keep to the protocol. */
  cut(): void;
}

export class QmpSession {
  readonly #host: QmpHost;
  readonly #wire: QmpWire;
  readonly #pretty: boolean;
  readonly #framer = new QmpFramer();
  #negotiated = false;
  #waiting = 0;
  /** Descriptors that came with the command whose end is not there yet. */
  #arrived: readonly number[] | undefined;
  #busy: Promise<void> = Promise.resolve();

  /** `pretty`: answers are written for people, over several lines. */
  constructor(host: QmpHost, wire: QmpWire, pretty = false) {
    this.#host = host;
    this.#wire = wire;
    this.#pretty = pretty;
    const version = { qemu: { micro: 0, minor: 2, major: 7 }, package: host.version };
    this.#say({ QMP: { version, capabilities: [] } });
  }

  #say(value: unknown): void {
    const text = this.#pretty ? JSON.stringify(value, null, 4).replaceAll('\n', '\r\n') : JSON.stringify(value);
    this.#wire.write(`${text}\r\n`);
  }

  event(event: string, data: object | undefined, nowMs: number): void {
    if (!this.#negotiated) return;
    const timestamp = { seconds: Math.floor(nowMs / 1000), microseconds: Math.floor((nowMs % 1000) * 1000) };
    this.#say({ timestamp, event, ...(data ? { data } : {}) });
  }

  /** Descriptors of the first command that ends in the bytes that are next. */
  arrived(descriptors: readonly number[]): void {
    this.left();
    this.#arrived = descriptors;
  }

  /** The client has gone, and says no more. */
  left(): void {
    closeDescriptors(this.#arrived ?? []);
    this.#arrived = undefined;
  }

  input(bytes: Uint8Array): void {
    for (const text of this.#framer.push(bytes)) {
      if (++this.#waiting > MOST_WAITING) {
        this.left();
        this.#wire.cut();
        return;
      }
      const arrived = this.#arrived;
      this.#arrived = undefined;
      this.#busy = this.#busy.then(async () => {
        if (arrived) this.#host.descriptors.arrive(arrived);
        const answer = await this.#answer(text);
        this.#waiting--;
        this.#say(answer);
      });
    }
  }

  /** Resolves when all that was asked has been answered. */
  settled(): Promise<void> {
    return this.#busy;
  }

  async #answer(text: string | VringError): Promise<object> {
    let id: { id?: unknown } = {};
    try {
      if (typeof text !== 'string') throw text;
      const request = parseJson(text);
      if (!isObject(request)) throw generic('QMP input must be a JSON object');
      if ('id' in request) id = { id: request['id'] };
      return { return: await this.#execute(request), ...id };
    } catch (error) {
      if (!(error instanceof VringError || error instanceof BlockError)) throw error;
      const className = error instanceof QmpError ? error.className : 'GenericError';
      return { error: { class: className, desc: error.message }, ...id };
    }
  }

  async #execute(request: Record<string, unknown>): Promise<unknown> {
    const { execute, arguments: given = {} } = request;
    for (const name of Object.keys(request)) {
      if (!['execute', 'arguments', 'id'].includes(name)) throw generic(`QMP input member '${name}' is unexpected`);
    }
    if (execute === undefined) throw generic("QMP input lacks member 'execute'");
    if (typeof execute !== 'string') throw generic("QMP input member 'execute' must be a string");
    if (!isObject(given)) throw generic("QMP input member 'arguments' must be an object");
    if (execute === 'qmp_capabilities') {
      if (this.#negotiated)
        throw new QmpError('CommandNotFound', 'Capabilities negotiation is already complete, command ignored');
      const { enable, ...more } = given;
      for (const name of Object.keys(more)) throw generic(`Parameter '${name}' is unexpected`);
      if (enable !== undefined && !Array.isArray(enable))
        throw generic("Invalid parameter type for 'enable', expected: array");
      // None is offered.
      if (enable !== undefined && enable.length > 0) throw generic(`Capability '${enable[0]}' not available`);
      this.#negotiated = true;
      return {};
    }
    if (!this.#negotiated)
      throw new QmpError('CommandNotFound', "Expecting capabilities negotiation with 'qmp_capabilities'");
    const row = qmpCommands.find(({ name }) => name === execute);
    if (!row) throw new QmpError('CommandNotFound', `The command ${execute} has not been found`);
    const { argument } = qmpInterface().commands.get(execute) ?? { argument: emptyObject };
    if (row.takesMore) checkOwnMembers(argument, given);
    else check(argument, given, '');
    return await row.run(this.#host, given);
  }
}
