/** Gives an open node new options: QEMU's `reopen`. What can only be set when a node is opened is refused, unless it says what is so already. */
import { BlockError } from './errors.js';
import type { GraphNode } from './graph-node.js';
import type { OpenFlags } from './node.js';
import { applyCommon, cacheRows, commonRows } from './node-flags.js';
import { type OptionDict, takeOptions, takePrefix } from './options.js';

const changeableNames = new Set([
  'discard',
  'detect-zeroes',
  'read-only',
  'auto-read-only',
  'cache.direct',
  'cache.no-flush',
]);
const changeableRows = [...commonRows, ...cacheRows].filter(({ name }) => changeableNames.has(name));
/** Named as children whether they are there or not. */
const childNames = ['file', 'backing'];

/**
 * Checks the options of `node` and, by their prefixes, of its children; then all take effect at once. `find` gives a node by its name.
 * Only whether the host's cache is bypassed stays as opened (`GraphNode.changeFlags`).
 */
export function reopenNode(
  node: GraphNode,
  options: OptionDict,
  flags: Partial<OpenFlags>,
  find: (name: string) => GraphNode | undefined,
): void {
  const effects: (() => void)[] = [];
  prepare(node, { ...options }, flags, find, effects);
  for (const take of effects) take();
}

function prepare(
  node: GraphNode,
  left: OptionDict,
  flags: Partial<OpenFlags>,
  find: (name: string) => GraphNode | undefined,
  effects: (() => void)[],
): void {
  for (const { name, node: child } of node.children) {
    const own = takePrefix(left, name);
    if (Object.keys(own).length > 0) prepare(child, own, {}, find, effects);
  }
  const common = applyCommon(node.flags, takeOptions(changeableRows, left));
  const changeable = node.instance.changeable;
  if (changeable) {
    const given: OptionDict = {};
    for (const { name } of changeable.rows) {
      if (left[name] !== undefined) given[name] = left[name];
      delete left[name];
    }
    const old = { ...node.options };
    for (const name of changeable.replaced?.(given, old) ?? []) delete old[name];
    const options = { ...old, ...given };
    const take = changeable.prepare(takeOptions(changeable.rows, { ...options }), common);
    effects.push(() => {
      node.options = options;
      take();
    });
  }
  for (const [name, value] of Object.entries(left)) {
    if (childNames.includes(name) || node.children.some((child) => child.name === name)) {
      const named = find(String(value));
      if (!named) throw new BlockError('EINVAL', `Cannot find device='' nor node-name='${value}'`);
      if (node.children.some((child) => child.name === name && child.node === named)) continue;
    } else if (String(name === 'node-name' ? node.nodeName : node.options[name]) === String(value)) continue;
    throw new BlockError('EINVAL', `Cannot change the option '${name}'`);
  }
  if (common.readOnly && !node.flags.readOnly && node.hasWriters)
    throw new BlockError('EPERM', `Read-only block node '${node.nodeName}' cannot support read-write users`);
  effects.push(() => node.changeFlags({ ...flags, ...common }));
}
