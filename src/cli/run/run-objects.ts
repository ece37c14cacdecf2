/** What -object, object-add and object_add have made: secrets, credentials and limits, and what the machine itself refers to. */
import { flattenOptions, type OptionDict, toBlockError } from '../../block/index.js';
import type { NodeBlockHost } from '../../host/node/block-host.js';
import { type Machine, VringError } from '../../vmm/index.js';
import { defineObject } from '../img/objects.js';
import { KeyValues } from '../options/key-values.js';
import { objectTypes, unsupportedObjects } from './drives.js';
import { type BoardObjects, boardObjectTypes } from './plan-objects.js';

const optionText = (value: OptionDict[string]): string =>
  value === true ? 'on' : value === false ? 'off' : String(value);

export class RunObjects {
  readonly host: NodeBlockHost;
  readonly board: BoardObjects;

  constructor(host: NodeBlockHost, board: BoardObjects) {
    this.host = host;
    this.board = board;
  }

  /** By id, with the type of each. */
  get types(): ReadonlyMap<string, string> {
    const secrets = [...this.host.secrets.keys()].map((id) => [id, 'secret'] as const);
    const others = [...this.host.objects].map(([id, { type }]) => [id, type] as const);
    return new Map([...secrets, ...others, ...this.board.types]);
  }

  /** `members`: as JSON has them, or flat. Rejects with VringError `object`, and UsageError. */
  async add({ hotplug }: Machine, members: object): Promise<void> {
    const options = flattenOptions(members);
    const [type, id] = [String(options['qom-type']), String(options['id'])];
    if (unsupportedObjects.includes(type)) throw new VringError('object', `'${type}' is not supported yet`);
    if (this.types.has(id))
      throw new VringError('object', `attempt to add duplicate property '${id}' to object (type 'container')`);
    if (boardObjectTypes.includes(type)) {
      const values = Object.entries(options).map(([name, value]) => [name, optionText(value)] as const);
      this.board.add(new KeyValues('object-add', values));
      return;
    }
    if (!objectTypes.includes(type))
      throw new VringError('object', `Parameter 'qom-type' does not accept value '${type}'`);
    try {
      await defineObject(this.host, options);
      const secret = this.host.secrets.get(id);
      await hotplug.defineObject(id, secret ?? { type, options });
    } catch (error) {
      this.#forget(id);
      // Behind the first line are hints, for command lines.
      throw new VringError('object', toBlockError(error).message.split('\n')[0] ?? '', { cause: error });
    }
  }

  #forget(id: string): void {
    this.host.secrets.delete(id);
    this.host.objects.delete(id);
  }

  /** Rejects with VringError `object`: there is none of that name, or something uses it. */
  async remove({ hotplug }: Machine, id: string): Promise<void> {
    if (!this.types.has(id)) throw new VringError('object', `object '${id}' not found`);
    const isFree = this.board.types.has(id) ? this.board.remove(id) : await hotplug.forgetObject(id);
    if (!isFree) throw new VringError('object', `object '${id}' is in use, can not be deleted`);
    this.#forget(id);
  }
}
