/** IR as text, one op a line: for `-d ir` and for tests that read generated code. */
import { Op, opList, opNames, opWords } from './ops.js';
import type { GuestVars, Routine } from './types.js';

/** What gives names to ids. */
export interface PrintNames {
  readonly vars: GuestVars;
  readonly routines: readonly Routine[];
}

/** The ops of [0, length): `t3 = i64_add t1, t2`, variables and routines by name. */
export function printIr(words: Int32Array, length: number, { vars, routines }: PrintNames): string[] {
  const lines: string[] = [];
  const temp = (id: number) => `t${id}`;
  for (let at = 0; at < length; ) {
    const op = words[at];
    const name = opNames[op];
    if (op === Op.call) {
      const routine = routines[words[at + 1]];
      const list = [...words.subarray(at + 3, at + words[at + 2])].map(temp);
      const results = list.slice(0, routine.results.length);
      lines.push(
        `${results.length > 0 ? `${results.join(', ')} = ` : ''}call ${routine.name} ${list.slice(results.length).join(', ')}`.trimEnd(),
      );
      at += words[at + 2];
      continue;
    }
    if (op === Op.ret) {
      lines.push(`ret ${[...words.subarray(at + 2, at + words[at + 1])].map(temp).join(', ')}`.trimEnd());
      at += words[at + 1];
      continue;
    }
    const row = opList[op];
    let next = at + 1;
    const result = row.result ? `${temp(words[next++])} = ` : '';
    const operands = row.params.map(() => temp(words[next++]));
    const immediates = [...words.subarray(next, at + opWords[op])];
    const isVariable = (op >= Op.get_i32 && op <= Op.get_v128) || (op >= Op.set_i32 && op <= Op.set_v128);
    const last = isVariable ? [vars.vars[immediates[0]].name] : immediates.map((value) => `#${value}`);
    lines.push(`${result}${name} ${[...operands, ...last].join(', ')}`.trimEnd());
    at += opWords[op];
  }
  return lines;
}
