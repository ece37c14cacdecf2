import assert from 'node:assert/strict';
import test from 'node:test';
import { defineState } from '../schema/index.js';
import { defineRegisters, RegisterBank, registerFields } from './index.js';

interface Chip {
  events: string[];
}
const registers = defineRegisters<Chip>()({
  ID: { offset: 0, width: 4, access: 'ro', reset: 0x12345678, meaning: 'identification' },
  CTRL: {
    offset: 4,
    width: 4,
    access: 'rw',
    reset: 0x0f,
    writable: 0x00ff00ff,
    meaning: 'control',
    changed: (chip, before) => chip.events.push(`CTRL was ${before.toString(16)}`),
  },
  STATUS: { offset: 8, width: 2, access: 'w1c', reset: 0xffff, meaning: 'status' },
  KICK: {
    offset: 10,
    width: 2,
    access: 'wo',
    meaning: 'doorbell',
    write: (chip, value, mask) => chip.events.push(`KICK ${value.toString(16)}/${mask.toString(16)}`),
  },
  NOW: { offset: 12, width: 1, access: 'ro', meaning: 'computed', read: () => 0x99 },
});
const ChipState = defineState('chip', 1, registerFields(registers));

function make() {
  const state = ChipState.allocate();
  const chip: Chip = { events: [] };
  return { state, chip, bank: new RegisterBank(16, registers, chip, state) };
}

test('the declaration gives the state its fields', () => {
  const { state } = make();
  assert.deepEqual(Object.keys(ChipState.fields), ['ID', 'CTRL', 'STATUS']);
  assert.equal(state.ID, 0x12345678);
});

test('reads of any size and place', () => {
  const { bank } = make();
  assert.equal(bank.read(0, 4), 0x12345678);
  assert.equal(bank.read(1, 2), 0x3456);
  assert.equal(bank.read(3, 1), 0x12);
  assert.equal(bank.read(2, 4), 0x000f1234, 'an access across two registers');
  assert.equal(bank.read(10, 4), 0x00990000);
  assert.equal(bank.read(15, 4), 0);
});

test('writes of any size store only what they carry and what is writable', () => {
  const { bank, state, chip } = make();
  bank.write(4, 4, 0xffffffff);
  assert.equal(state.CTRL, 0x00ff00ff);
  bank.write(6, 1, 0x12);
  assert.equal(state.CTRL, 0x001200ff);
  assert.deepEqual(chip.events, ['CTRL was f', 'CTRL was ff00ff']);
  bank.write(0, 4, 0);
  assert.equal(state.ID, 0x12345678);
  bank.write(9, 1, 0x0f);
  assert.equal(state.STATUS, 0xf0ff, 'ones clear, and only in the byte written');
  chip.events.length = 0;
  bank.write(8, 4, 0xabcd0001);
  assert.equal(state.STATUS, 0xf0fe);
  bank.write(11, 1, 0x7f);
  assert.deepEqual(chip.events, ['KICK abcd/ffff', 'KICK 7f00/ff00']);
});

test('bytes of no register are reported', () => {
  const { bank } = make();
  const holes: string[] = [];
  bank.onHole = (offset, isWrite) => holes.push(`${isWrite ? 'w' : 'r'}${offset}`);
  bank.read(12, 4);
  bank.write(14, 2, 0xffff);
  assert.deepEqual(holes, ['r13', 'r14', 'r15', 'w14', 'w15']);
});
