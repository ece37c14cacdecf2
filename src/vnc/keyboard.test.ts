import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VncScreen } from './host.js';
import { ClientKeyboard } from './keyboard.js';

test("characters are typed on the guest's keyboard, with the modifiers that they need there", () => {
  let keys = '';
  const screen = {
    key: (code: number, down: boolean) => {
      keys += `${down ? '+' : '-'}${code.toString(16)} `;
    },
    leds: () => 0,
  } as unknown as VncScreen;
  const keyboard = new ClientKeyboard(screen, 'de');
  const press = (...keysyms: (readonly [number, boolean])[]) => {
    keys = '';
    for (const [keysym, down] of keysyms) keyboard.keysym(keysym, down);
    return keys.trim();
  };
  const tap = (keysym: number) => [[keysym, true] as const, [keysym, false] as const];
  assert.equal(press(...tap(0x7a)), '+15 -15', 'z');
  assert.equal(press(...tap(0xdf)), '+c -c', 'sharp s');
  assert.equal(press(...tap(0x40)), '+e038 +10 -e038 -10', '@ by AltGr');
  assert.equal(press(...tap(0x20ac)), '+e038 +12 -e038 -12', 'euro');
  assert.equal(press(...tap(0xfe52)), '+29 -29', 'dead circumflex');
  assert.equal(press(...tap(0x3f)), '+2a +c -2a -c', '? by shift');
  // The client holds AltGr itself.
  assert.equal(press([0xfe03, true], ...tap(0x7e), [0xfe03, false]), '+e038 +1b -1b -e038');
  assert.equal(press([0xffe1, true], ...tap(0x40), [0xffe1, false]), '+2a -2a +e038 +10 -e038 +2a -10 -2a');
  assert.equal(press(...tap(0x4e2d)), '', 'what has no key');
});
