/** What QMP says of itself (query-qmp-schema; QEMU's qapi/introspect.json): types that have no name in JSON are told by number. */
import {
  type Builtin,
  emptyObject,
  type ObjectShape,
  qmpInterface,
  resolve,
  type Shape,
  type Type,
} from './interface/grammar.js';

/** Sizes are integers to whoever asks. */
const jsonTypes: Readonly<Record<Exclude<Builtin, 'size'>, string>> = {
  ...{ str: 'string', int: 'int', number: 'number', bool: 'boolean', null: 'null', any: 'value' },
};

const featured = (features: readonly string[]): object => (features.length === 0 ? {} : { features });

class Schema {
  readonly entries: object[] = [];
  readonly #told = new Map<string, string>();
  #next = 0;

  constructor() {
    this.#number(emptyObject, []);
  }

  /** The name of a type, which is told of where it was not. */
  type(shape: Shape): string {
    switch (shape.kind) {
      case 'builtin': {
        const name = shape.name === 'size' ? 'int' : shape.name;
        return this.#once({ name, 'meta-type': 'builtin', 'json-type': jsonTypes[name] });
      }
      case 'list': {
        const of = this.type(shape.of);
        return this.#once({ name: `[${of}]`, 'meta-type': 'array', 'element-type': of });
      }
      case 'named': {
        const known = this.#told.get(shape.name);
        if (known !== undefined) return known;
        const features = qmpInterface().types.get(shape.name)?.features ?? [];
        return this.#number(resolve(shape), features, shape.name);
      }
      default:
        return this.#number(shape, []);
    }
  }

  #once(entry: { readonly name: string; readonly [member: string]: unknown }): string {
    const { name } = entry;
    if (!this.#told.has(name)) this.entries.push(entry);
    this.#told.set(name, name);
    return name;
  }

  #number(shape: Type['shape'], features: readonly string[], key?: string): string {
    if (shape.kind === 'object' && shape.members.length === 0 && this.#next > 0) return '0';
    const name = String(this.#next++);
    // Before what it consists of: it may hold itself.
    if (key !== undefined) this.#told.set(key, name);
    const at = this.entries.push({}) - 1;
    this.entries[at] = { name, ...this.#body(shape), ...featured(features) };
    return name;
  }

  #body(shape: Type['shape']): object {
    switch (shape.kind) {
      case 'enum':
        return {
          'meta-type': 'enum',
          members: shape.values.map(({ name, features }) => ({ name, ...featured(features) })),
          values: shape.values.map(({ name }) => name),
        };
      case 'alternate':
        return { 'meta-type': 'alternate', members: shape.choices.map((each) => ({ type: this.type(each) })) };
      case 'object':
        return { 'meta-type': 'object', members: this.#members(shape), ...this.#variants(shape) };
      default:
        throw new Error(`A type of the kind '${shape.kind}' has no name of its own`);
    }
  }

  #members({ members }: ObjectShape): object[] {
    return members.map(({ name, shape, optional, features }) => ({
      name,
      type: this.type(shape),
      // The default of what may be missing is not described: as in QEMU, whose members have none either.
      ...(optional ? { default: null } : {}),
      ...featured(features),
    }));
  }

  #variants({ members, tag, variants }: ObjectShape): object {
    if (tag === undefined) return {};
    const kinds = members.find(({ name }) => name === tag);
    const values = kinds && resolve(kinds.shape);
    if (values?.kind !== 'enum') throw new Error(`'${tag}' is no tag`);
    const told = values.values.map(({ name }) => ({ case: name, type: this.type(variants?.get(name) ?? emptyObject) }));
    return { tag, variants: told };
  }
}

/** Of the commands that there are. */
export function qmpSchema(names: readonly string[]): object[] {
  const schema = new Schema();
  const { commands, events } = qmpInterface();
  for (const name of names) {
    const command = commands.get(name);
    if (!command) throw new Error(`QMP's interface lacks '${name}'`);
    const [argument, answer] = [schema.type(command.argument), schema.type(command.answer)];
    schema.entries.push({
      ...{ name, 'meta-type': 'command', 'arg-type': argument, 'ret-type': answer },
      ...featured(command.features),
    });
  }
  for (const { name, data } of events)
    schema.entries.push({ name, 'meta-type': 'event', 'arg-type': schema.type(data) });
  return schema.entries;
}
