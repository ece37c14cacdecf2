/** Whether a value has the shape that QMP's interface wants, with QEMU's sentences where it has not. */
import { generic } from '../block-arguments.js';
import { type Builtin, type ObjectShape, resolve, type Shape } from './grammar.js';

/** Whatever is deeper is refused (JSON may nest 1024 times, a shape that holds itself too). */
const MOST_DEPTH = 256;

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const builtinNames: Readonly<Record<Builtin, string>> = {
  ...{ str: 'string', int: 'integer', size: 'integer', number: 'number', bool: 'boolean', null: 'null', any: 'value' },
};

function fitsBuiltin(name: Builtin, value: unknown): boolean {
  switch (name) {
    case 'str':
      return typeof value === 'string';
    case 'int':
    case 'size':
      return Number.isSafeInteger(value);
    case 'number':
      return typeof value === 'number';
    case 'bool':
      return typeof value === 'boolean';
    case 'null':
      return value === null;
    case 'any':
      return true;
  }
}

/** Where a value is one of a few QEMU names it without the way to it, and one in a list not at all. */
const ownName = (path: string): string => (path.endsWith(']') ? 'null' : path.slice(path.lastIndexOf('.') + 1));

const wrongType = (path: string, expected: string) =>
  generic(`Invalid parameter type for '${path}', expected: ${expected}`);

/** Whether a value of that kind of JSON belongs to a choice of an alternate. */
function isChoice(shape: Shape, value: unknown): boolean {
  const there = resolve(shape);
  switch (there.kind) {
    case 'builtin':
      return fitsBuiltin(there.name, value);
    case 'enum':
      return typeof value === 'string';
    case 'list':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'alternate':
      return there.choices.some((each) => isChoice(each, value));
  }
}

const own = (value: Readonly<Record<string, unknown>>, name: string): unknown =>
  Object.hasOwn(value, name) ? value[name] : undefined;

/** Visits the members of an object, and gives the names of those that may be there. */
function checkMembers(shape: ObjectShape, value: Readonly<Record<string, unknown>>, path: string, depth: number) {
  const known = new Set<string>();
  const visit = ({ members, tag, variants }: ObjectShape): void => {
    for (const member of members) {
      known.add(member.name);
      const there = own(value, member.name);
      const name = path === '' ? member.name : `${path}.${member.name}`;
      if (there !== undefined) check(member.shape, there, name, depth + 1);
      else if (!member.optional) throw generic(`Parameter '${name}' is missing`);
    }
    const variant = tag === undefined ? undefined : variants?.get(String(value[tag]));
    const more = variant && resolve(variant);
    if (more?.kind === 'object') visit(more);
  };
  visit(shape);
  return known;
}

/** `path`: of the value, as errors name it. Throws QmpError. */
export function check(shape: Shape, value: unknown, path: string, depth = 0): void {
  if (depth > MOST_DEPTH) throw generic(`Parameter '${path}' nests too deep`);
  const wanted = resolve(shape);
  switch (wanted.kind) {
    case 'builtin':
      if (fitsBuiltin(wanted.name, value)) return;
      if (wanted.name === 'size') throw generic(`Parameter '${path}' expects uint64`);
      throw wrongType(path, builtinNames[wanted.name]);
    case 'enum':
      if (typeof value !== 'string') throw wrongType(path, 'string');
      if (!wanted.values.some(({ name }) => name === value))
        throw generic(`Parameter '${ownName(path)}' does not accept value '${value}'`);
      return;
    case 'list':
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      for (const [i, each] of value.entries()) check(wanted.of, each, `${path}[${i}]`, depth + 1);
      return;
    case 'alternate': {
      const choice = wanted.choices.find((each) => isChoice(each, value));
      if (!choice) throw wrongType(ownName(path), shape.kind === 'named' ? shape.name : 'value');
      check(choice, value, path, depth + 1);
      return;
    }
    case 'object': {
      if (!isObject(value)) throw wrongType(path, 'object');
      const known = checkMembers(wanted, value, path, depth);
      const unknown = Object.keys(value).find((name) => !known.has(name));
      if (unknown !== undefined)
        throw generic(`Parameter '${path === '' ? unknown : `${path}.${unknown}`}' is unexpected`);
    }
  }
}

/** As `check`, of an object whose other members are looked at elsewhere. Throws QmpError. */
export function checkOwnMembers(shape: Shape, value: Readonly<Record<string, unknown>>): void {
  const wanted = resolve(shape);
  if (wanted.kind !== 'object') return;
  for (const { name, shape: member, optional } of wanted.members) {
    const there = own(value, name);
    if (there !== undefined) check(member, there, name);
    else if (!optional) throw generic(`Parameter '${name}' is missing`);
  }
}
