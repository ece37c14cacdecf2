/**
 * The interface of QMP as it is written in commands.ts and types.ts. A definition starts at the left edge; lines that go on are indented.
 *
 *   command NAME SHAPE? (-> SHAPE)?       event NAME SHAPE?
 *   type NAME {…}        enum NAME VALUE…        alternate NAME SHAPE | SHAPE…
 *
 * A SHAPE is a builtin (`str int number bool any null`, and `size`, an integer whose errors tell of another type), a name, a list `[SHAPE]`, one of some words `(a b c)`, or an object
 * `{ member:SHAPE optional?:SHAPE }`. Behind the members of an object, `| tag value:SHAPE …` has those that come with a value of the
 * member `tag`, an enumeration. `@feature` stands behind what has it.
 */
import { commandsText } from './commands.js';
import { typesText } from './types.js';

const builtins = ['str', 'int', 'size', 'number', 'bool', 'any', 'null'] as const;
export type Builtin = (typeof builtins)[number];

export interface Member {
  readonly name: string;
  readonly shape: Shape;
  readonly optional: boolean;
  readonly features: readonly string[];
}

interface EnumValue {
  readonly name: string;
  readonly features: readonly string[];
}

export interface EnumShape {
  readonly kind: 'enum';
  readonly values: readonly EnumValue[];
}

export interface ObjectShape {
  readonly kind: 'object';
  readonly members: readonly Member[];
  readonly tag?: string;
  /** By value of the tag; a value that brings no members is not there. */
  readonly variants?: ReadonlyMap<string, Shape>;
}

export type Shape =
  | { readonly kind: 'builtin'; readonly name: Builtin }
  | { readonly kind: 'named'; readonly name: string }
  | { readonly kind: 'list'; readonly of: Shape }
  | { readonly kind: 'alternate'; readonly choices: readonly Shape[] }
  | EnumShape
  | ObjectShape;

/** What has a name. */
export interface Type {
  readonly name: string;
  readonly shape: Exclude<Shape, { kind: 'named' }>;
  readonly features: readonly string[];
}

export interface Command {
  readonly name: string;
  readonly argument: Shape;
  readonly answer: Shape;
  readonly features: readonly string[];
}

export interface Event {
  readonly name: string;
  readonly data: Shape;
}

export interface Interface {
  readonly commands: ReadonlyMap<string, Command>;
  readonly events: readonly Event[];
  readonly types: ReadonlyMap<string, Type>;
}

export const emptyObject: ObjectShape = { kind: 'object', members: [] };

/** One definition. It is ours: what is wrong in it throws Error. */
class Definition {
  readonly #tokens: readonly string[];
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.#tokens = text.match(/->|[{}()[\]|:?@]|[^\s{}()[\]|:?@]+/g) ?? [];
  }

  get isAtEnd(): boolean {
    return this.#at === this.#tokens.length;
  }

  take(wanted: string): boolean {
    if (this.#tokens[this.#at] !== wanted) return false;
    this.#at++;
    return true;
  }

  need(wanted: string): void {
    if (!this.take(wanted)) this.fail(`'${wanted}' is missing`);
  }

  fail(why: string): never {
    throw new Error(`${why} at ${this.#at} of: ${this.#text}`);
  }

  word(): string {
    const word = this.#tokens[this.#at++];
    return word !== undefined && /^[\w-]/.test(word) ? word : this.fail('A word is missing');
  }

  features(): string[] {
    const features: string[] = [];
    while (this.take('@')) features.push(this.word());
    return features;
  }

  values(end?: string): EnumShape {
    const values: EnumValue[] = [];
    while (end === undefined ? !this.isAtEnd : !this.take(end))
      values.push({ name: this.word(), features: this.features() });
    return { kind: 'enum', values };
  }

  shape(): Shape {
    if (this.take('(')) return this.values(')');
    if (this.take('[')) {
      const of = this.shape();
      this.need(']');
      return { kind: 'list', of };
    }
    if (this.take('{')) return this.#object();
    const name = this.word();
    const builtin = builtins.find((each) => each === name);
    return builtin === undefined ? { kind: 'named', name } : { kind: 'builtin', name: builtin };
  }

  #object(): ObjectShape {
    const members: Member[] = [];
    while (!this.take('}')) {
      if (this.take('|')) return { kind: 'object', members, tag: this.word(), variants: this.#variants() };
      const name = this.word();
      const optional = this.take('?');
      this.need(':');
      members.push({ name, optional, shape: this.shape(), features: this.features() });
    }
    return { kind: 'object', members };
  }

  #variants(): Map<string, Shape> {
    const variants = new Map<string, Shape>();
    while (!this.take('}')) {
      const value = this.word();
      this.need(':');
      variants.set(value, this.shape());
    }
    return variants;
  }

  choices(): Shape {
    const choices = [this.shape()];
    while (this.take('|')) choices.push(this.shape());
    return { kind: 'alternate', choices };
  }
}

function parse(text: string): Interface {
  const commands = new Map<string, Command>();
  const events: Event[] = [];
  const types = new Map<string, Type>();
  for (const each of text.split(/\n(?=\S)/)) {
    const definition = new Definition(each.trim());
    if (definition.isAtEnd) continue;
    const [what, name, features] = [definition.word(), definition.word(), definition.features()];
    const type = (shape: Shape) => types.set(name, { name, features, shape: shape as Type['shape'] });
    if (what === 'command') {
      const isGiven = !definition.isAtEnd && !definition.take('->');
      const argument = isGiven ? definition.shape() : emptyObject;
      if (isGiven && !definition.isAtEnd) definition.need('->');
      const answer = definition.isAtEnd ? emptyObject : definition.shape();
      commands.set(name, { name, features, argument, answer });
    } else if (what === 'event') events.push({ name, data: definition.isAtEnd ? emptyObject : definition.shape() });
    else if (what === 'type') type(definition.shape());
    else if (what === 'enum') type(definition.values());
    else if (what === 'alternate') type(definition.choices());
    else definition.fail('No definition');
    if (!definition.isAtEnd) definition.fail('Too much');
  }
  return { commands, events, types };
}

let parsed: Interface | undefined;

/** Read when it is first asked for. */
export function qmpInterface(): Interface {
  parsed ??= parse(`${commandsText}${typesText}`);
  return parsed;
}

/** What a name stands for. */
export function resolve(shape: Shape): Type['shape'] {
  if (shape.kind !== 'named') return shape;
  const type = qmpInterface().types.get(shape.name);
  if (!type) throw new Error(`QMP's interface has no type '${shape.name}'`);
  return type.shape;
}
