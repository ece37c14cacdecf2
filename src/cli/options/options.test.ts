import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { KeyValues, parseSize } from './key-values.js';
import type { CommandRow } from './option-row.js';
import { parseLine } from './parse.js';

const command: CommandRow = {
  name: 'try',
  synopsis: '',
  sentence: '',
  dashes: 'single',
  options: [
    { name: 'kernel', argument: 'FILE', sentence: '', group: '' },
    { name: 'M', aliases: ['machine'], argument: 'TYPE', sentence: '', group: '' },
    { name: 'S', sentence: '', group: '' },
    {
      name: 'stats',
      argument: '[text|json]',
      argumentOptional: true,
      values: ['text', 'json'],
      sentence: '',
      group: '',
    },
  ],
};

test('one dash or two, aliases, operands, what follows --', () => {
  const { given, operands, rest } = parseLine(command, [
    '-kernel',
    'a b',
    '--machine',
    'pc',
    'debian',
    '-S',
    '--',
    '-x',
    '--',
  ]);
  assert.deepEqual(
    given.map(({ row, value }) => [row.name, value]),
    [
      ['kernel', 'a b'],
      ['M', 'pc'],
      ['S', undefined],
    ],
  );
  assert.deepEqual(operands, ['debian']);
  assert.deepEqual(rest, ['-x', '--']);
  assert.equal(parseLine(command, []).rest, undefined);
});

test('an optional argument is taken only when it is one', () => {
  const value = (...argv: string[]) => parseLine(command, argv).given[0].value;
  assert.equal(value('-stats', 'json'), 'json');
  assert.equal(value('-stats', 'debian'), undefined);
  assert.equal(value('-stats'), undefined);
});

test('unknown and unsupported words', () => {
  const message = (...argv: string[]) => {
    try {
      parseLine(command, argv, { unsupported: new Map([['bios', 'is not supported yet']]) });
    } catch (error) {
      assert.ok(error instanceof UsageError);
      return error.message;
    }
    return undefined;
  };
  assert.match(message('-kernle', 'x') ?? '', /did you mean '-kernel'\?/);
  assert.match(message('-bios', 'x') ?? '', /^-bios is not supported yet$/);
  assert.match(message('-boos') ?? '', /did you mean '-bios'\?/);
  assert.match(message('-kernel') ?? '', /the argument FILE is missing/);
  assert.match(message('-zzzzzz') ?? '', /no such option$/);
});

test('options with two dashes take = too', () => {
  const double: CommandRow = {
    ...command,
    dashes: 'double',
    options: [
      { name: 'days', argument: 'N', sentence: '', group: '' },
      { name: 'all', sentence: '', group: '' },
    ],
  };
  assert.equal(parseLine(double, ['--days=3']).given[0].value, '3');
  assert.equal(parseLine(double, ['--days', '3']).given[0].value, '3');
  assert.throws(() => parseLine(double, ['--all=3']), /takes no argument/);
  assert.throws(() => parseLine(double, ['-days', '3']), /no such option; did you mean '--days'/);
});

test('key=value lists: doubled commas, implied keys, switches', () => {
  const values = KeyValues.parse('-x', 'a,,b,size=0x10,on1=on,flag,nodelay', 'file');
  assert.equal(values.text('file'), 'a,b');
  assert.equal(values.number('size', 0, 16), 16);
  assert.equal(values.flag('on1'), true);
  assert.equal(values.flag('flag'), true);
  assert.equal(values.flag('delay'), false);
  values.finish();
  const unused = KeyValues.parse('-x', 'sise=1,old=2');
  unused.text('size');
  assert.throws(() => unused.finish(['old']), /there is no sise=; did you mean 'size'\?/);
  const refused = KeyValues.parse('-x', 'old=2');
  assert.throws(() => refused.finish(['old']), /old= is not supported yet/);
  assert.throws(() => values.number('size', 0, 15), /from 0 to 15, not '0x10'/);
  assert.throws(() => KeyValues.parse('-x', '=3'), /not of the form/);
  assert.throws(() => KeyValues.parse('-x', 'a=maybe').flag('a'), /on or off/);
});

test('sizes', () => {
  assert.equal(parseSize('-m', '256', 'M'), 256 << 20);
  assert.equal(parseSize('-m', '1.5G', 'M'), 1.5 * 2 ** 30);
  assert.equal(parseSize('-m', '64k', 'M'), 65536);
  assert.equal(parseSize('-m', '2MiB', 'B'), 2 << 20);
  for (const bad of ['', '-1', '1X', 'x', '1e9', '99999999999999999999E'])
    assert.throws(() => parseSize('-m', bad, 'M'), UsageError, bad);
});

test('the nearest word', () => {
  assert.equal(editDistance('kernel', 'kernle'), 1);
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(nearest('serail', ['serial', 'smp', 'S']), 'serial');
  assert.equal(nearest('qqqq', ['serial', 'smp']), undefined);
});
