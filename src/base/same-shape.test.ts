import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sameShape } from './same-shape.js';

interface Row {
  readonly name: string;
  readonly bytes?: number;
  readonly float?: true;
}

test('rows have the same properties in the same order, and are what they were', () => {
  const rows: Row[] = [{ name: 'a' }, { float: true, name: 'b' }, { name: 'c', bytes: 4 }];
  const same = sameShape(rows);
  assert.deepEqual(
    same.map((row) => Object.keys(row).join()),
    ['name,float,bytes', 'name,float,bytes', 'name,float,bytes'],
  );
  assert.deepEqual(JSON.parse(JSON.stringify(same)), rows);
  assert.deepEqual(sameShape([]), []);
});
