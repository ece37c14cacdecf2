/**
 * Copies of a table's rows that all have the same properties, `undefined` where a row has one not: V8 finds a property of objects of one
 * shape at once, and searches for it where there are more than four.
 */
export function sameShape<R extends object>(rows: readonly R[]): readonly R[] {
  const shape = Object.fromEntries(rows.flatMap((row) => Object.keys(row)).map((name) => [name, undefined]));
  return rows.map((row) => ({ ...shape, ...row }));
}
