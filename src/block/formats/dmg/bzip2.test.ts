/** The bzip2 decoder, on what libbz2 1.0.8 and, where installed, the program bzip2 made. */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { BlockError } from '../../errors.js';
import { randomFrom } from '../../testing/memory-host.js';
import { bunzip2 } from './bzip2.js';

/** All byte values, then runs about the lengths where the first run-length coding changes. */
const mixed = Buffer.from(
  'QlpoOTFBWSZTWZgAUNIAAAB/////////////////////////////////////////////wAI8AACTAATAAEwAAAAAAAAAAAAAAAAAAAAAAAAAAA' +
    'AAAAAAAAAASYACYAAmAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACTAATAAEwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACqqRNDUwA' +
    '0AJphMEwAAI00wCYTAmAGmEAAAENGAADRoAJpgAAABMAEMIwAAABGIZMkF74EPERMdImPEfIU+AkBISREjJISUkxJyUEpIYlRKyWEtJcS8mBMS' +
    'ZHwkzPiJoTUmxNz4ycE5J0Tsnh8hPSfE/KAUEoRQyiFFKMUcpBSSlFLKYU0px8p8xTz5yoH0FRKkVMqhVSrFXKwfSVkrRWyuH1FdK8V8sBYSxH' +
    '1ljLIWUsxZy0FpLUWsthDltPbAiIoRRBEVA78GRECJhCLgQsVBo6QUXAhI9Bo4QUBbi3lwLiXIuZdC6l2LuXgvJei9l8L6X4v5gDAmCMGfYfaf' +
    'cYQ+8/AwphjDmIMSYoxZjDGmOMeZAyJkjJmUMqRhljLkaZgzJmjNmcM6Z4z5oDQn4miPyNGaQ0ppjTmoNSao1ZrDWmuNebA2JsjZm0NqbY25uD' +
    'cm6N2bw3pvj8zfnAOCcI4ZxDinGOOcg5J+h+p+xyjlnMOafufwc4550DonSOmdQ6p1jrnYOydo7Z3DuneMP3zEngPCeI8Z5DynmPOeg/k/o9J6' +
    'j1n9n+H+nsIaBGRntI0/49x7z/xdyRThQkJgAUNIA=',
  'base64',
);
/** Three blocks of the smallest size, of a text that repeats. */
const manyBlocks = Buffer.from(
  'QlpoMTFBWSZTWR7YY7UAE4cBAD/wIABwQAwClUMJnFQVHlUFR6qCo+VBUYVBUZVBUaVBUbVBUfqgqOKgqOmKCskymst9hr3AAThwCAH/gQADgg' +
    'BgFKoYTOKgqPFQVHtUFR8qCowqCoyqCo0qCo2qCo/VBUcVBUdMUFZJlNZZusS1AA6lQEAP/AgAHBADAKVQwmcVBUeKgqPVQVH1UFRhUFRlUFRp' +
    'UFRtUFR+qCo4qCo6YoKyTKazyBmVbgAADwIAf+BAAGIAYCKE0MxISUmk4Nj0fD8cHRdyRThQkGHarFY=',
  'base64',
);

function mixedContents(): Buffer {
  const values = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const run = (letter: string, count: number) => Buffer.from(letter.repeat(count));
  const runs = [run('a', 1000), run('b', 4), run('c', 5), run('d', 259), run('e', 260)];
  return Buffer.concat([values, values, values, values, ...runs]);
}

test('bzip2: runs and all byte values', () => {
  const expected = mixedContents();
  assert.deepEqual(Buffer.from(bunzip2(mixed, expected.length)), expected);
});

test('bzip2: several blocks', () => {
  const expected = Buffer.from('abcdefghij'.repeat(30000));
  assert.ok(Buffer.from(bunzip2(manyBlocks, expected.length)).equals(expected));
  // Fewer bytes may be asked for, not more.
  assert.ok(Buffer.from(bunzip2(manyBlocks, 1234)).equals(expected.subarray(0, 1234)));
  assert.throws(() => bunzip2(manyBlocks, expected.length + 1), BlockError);
});

test('bzip2: damage ends in an error or in some bytes', () => {
  const random = randomFrom(1);
  for (let round = 0; round < 300; round++) {
    const copy = Buffer.from(round % 2 ? mixed : manyBlocks.subarray(0, 400));
    for (let hit = 0; hit <= random(3); hit++) copy[random(copy.length)] = random(256);
    try {
      assert.equal(bunzip2(copy, 2552).length, 2552);
    } catch (error) {
      assert.ok(error instanceof BlockError, String(error));
    }
  }
});

const hasBzip2 = spawnSync('bzip2', ['--version']).status === 0;
test('bzip2: what the program makes', { skip: hasBzip2 ? false : 'bzip2 is not installed' }, () => {
  const random = randomFrom(2);
  for (const letters of [2, 20, 256]) {
    for (const level of [1, 5, 9]) {
      const data = Buffer.from(Array.from({ length: 150_000 + random(100_000) }, () => random(letters)));
      const packed = spawnSync('bzip2', [`-${level}`, '-c'], { input: data, maxBuffer: 2 ** 24 }).stdout;
      assert.ok(Buffer.from(bunzip2(packed, data.length)).equals(data), `${letters} letters, level ${level}`);
    }
  }
});
