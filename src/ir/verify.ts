/**
 * Checks a block's IR against the op table: operands are defined once, before their use, and have the row's types; immediates
 * name what exists; nothing stands outside an instruction; one terminator, at the end.
 */
import type { BlockBuilder } from './builder.js';
import { MOST_DISTANCE, Op, opList, opNames, opWords } from './ops.js';
import { type GuestVars, type Routine, type TypeName, typeCode, typeNames } from './types.js';

const terminators = new Set<number>([Op.goto, Op.branch, Op.jump, Op.leave, Op.resume]);
/** The first op that only routines have, to the last but `fence`. */
const routineOnly = (op: number) => op >= Op.block && op < Op.fence;
const isGet = (op: number) => op >= Op.get_i32 && op <= Op.get_v128;
const isSet = (op: number) => op >= Op.set_i32 && op <= Op.set_v128;

/** Problems, one sentence each with the word's position; none: the block is sound. */
export function verifyBlock(
  b: BlockBuilder,
  { vars, routines }: { readonly vars: GuestVars; readonly routines: readonly Routine[] },
): string[] {
  const problems: string[] = [];
  const defined = new Set<number>();
  const { words, length, tempTypes, temps } = b;
  let inInstruction = false;
  let ended = false;
  let at = 0;
  const problem = (text: string) => problems.push(`${at}: ${opNames[words[at]] ?? words[at]}: ${text}`);
  const define = (temp: number, type: TypeName) => {
    if (temp < 0 || temp >= temps) problem(`t${temp} is no temp`);
    else if (defined.has(temp)) problem(`t${temp} is defined twice`);
    else if (tempTypes[temp] !== typeCode[type]) problem(`t${temp} is ${typeNames[tempTypes[temp]]}, not ${type}`);
    defined.add(temp);
  };
  const use = (temp: number, type: TypeName) => {
    if (!defined.has(temp)) problem(`t${temp} is used before it is defined`);
    else if (tempTypes[temp] !== typeCode[type]) problem(`t${temp} is ${typeNames[tempTypes[temp]]}, not ${type}`);
  };
  const call = (): number => {
    const routine = routines[words[at + 1]];
    const size = words[at + 2];
    if (routine === undefined) {
      problem(`there is no routine ${words[at + 1]}`);
      return 0;
    }
    const { results, params } = routine;
    if (size !== 3 + results.length + params.length) {
      problem(`${routine.name} has another number of arguments and results`);
      return 0;
    }
    const first = at + 3 + results.length;
    params.forEach((type, i) => {
      use(words[first + i], type);
    });
    results.forEach((type, i) => {
      define(words[at + 3 + i], type);
    });
    return size;
  };
  while (at < length) {
    const op = words[at];
    const row = opList[op];
    if (row === undefined) {
      problem('there is no such op');
      return problems;
    }
    if (ended) problem('stands behind the end of the block');
    if (routineOnly(op) || op === Op.ret) problem('is for routines only');
    if (row.effects.mayExit && !inInstruction) problem('may leave, and no instruction has begun');
    let size = opWords[op];
    if (op === Op.call) {
      size = call();
      if (size === 0) return problems;
    } else {
      const operands = at + 1 + (row.result ? 1 : 0);
      row.params.forEach((type, i) => {
        use(words[operands + i], type);
      });
      if (row.result) define(words[at + 1], row.result);
      const complaint = immediateProblem(op, words.subarray(operands + row.params.length, at + size), vars);
      if (complaint) problem(complaint);
    }
    inInstruction ||= op === Op.insn;
    ended ||= terminators.has(op);
    at += size;
  }
  if (at !== length) problems.push(`${at}: the last op is cut off`);
  if (!ended) problems.push(`${at}: the block does not end`);
  return problems;
}

/** What is wrong with an op's immediates. */
function immediateProblem(op: number, immediates: Int32Array, vars: GuestVars): string | undefined {
  const row = opList[op];
  if (isGet(op) || isSet(op)) {
    const variable = vars.vars[immediates[0]];
    if (variable === undefined) return `there is no variable ${immediates[0]}`;
    const type = typeNames[op - (isGet(op) ? Op.get_i32 : Op.set_i32)];
    return variable.type === type ? undefined : `${variable.name} is ${variable.type}`;
  }
  if (row.distances > 0)
    return immediates.slice(-row.distances).some((distance) => Math.abs(distance) >= MOST_DISTANCE)
      ? 'is too far away'
      : undefined;
  if (op === Op.set_deferred) return immediates[0] >= 0 && immediates[0] <= 254 ? undefined : 'is not 0 to 254';
  if (row.encoding === 'memarg') return immediates[0] >= 0 ? undefined : 'the offset is negative';
  if (row.encoding === 'lane') {
    const lanes = Number(/^[if]\d+x(\d+)_/.exec(opNames[op])?.[1] ?? 0);
    return immediates[0] >= 0 && immediates[0] < lanes ? undefined : `there is no lane ${immediates[0]}`;
  }
  if (row.encoding === 'shuffle') {
    const bytes = new Uint8Array(Int32Array.from(immediates).buffer);
    return bytes.every((lane) => lane < 32) ? undefined : 'takes a lane beyond 31';
  }
  return undefined;
}
