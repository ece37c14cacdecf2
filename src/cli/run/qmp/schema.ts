/** What QMP says of itself (query-qmp-schema), from the table of commands. Answers are of any type: they are not described. */

import { qmpEvents } from './events.js';
import type { QmpCommand, QmpType } from './qmp-command.js';

const jsonTypes: Readonly<Record<QmpType, string>> = { str: 'string', int: 'int', bool: 'boolean', any: 'value' };

export function qmpSchema(commands: readonly QmpCommand[]): object[] {
  const entries: object[] = Object.entries(jsonTypes).map(([name, json]) => ({
    name,
    'meta-type': 'builtin',
    'json-type': json,
  }));
  const empty = '0';
  entries.push({ name: empty, 'meta-type': 'object', members: [] });
  let next = 1;
  for (const command of commands) {
    let argument = empty;
    if (command.arguments) {
      argument = String(next++);
      const members = command.arguments.map(({ name, type, optional }) => ({
        name,
        type,
        // The default of what may be missing is not described either.
        ...(optional ? { default: null } : {}),
      }));
      entries.push({ name: argument, 'meta-type': 'object', members });
    }
    entries.push({ name: command.name, 'meta-type': 'command', 'arg-type': argument, 'ret-type': 'any' });
  }
  for (const name of qmpEvents) entries.push({ name, 'meta-type': 'event', 'arg-type': 'any' });
  return entries;
}
