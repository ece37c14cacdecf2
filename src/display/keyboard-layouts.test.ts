/** Layouts against QEMU's own tables of the host, where they are installed: each character that both have is on a key that they have it on. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { keyboardLayouts, keyOfCharacter } from './keyboard-layouts.js';

const folder = '/usr/share/qemu/keymaps';
const skip = !existsSync(folder) && 'no keymaps of QEMU';

/** Lines `NAME CODE [MODIFIER…]`, where a name is a character's, or U and its number: of each all ways to type it. */
function theirs(layout: string): ReadonlyMap<string, readonly string[]> {
  const keys = new Map<string, string[]>();
  for (const line of readFileSync(`${folder}/${layout}`, 'utf8').split('\n')) {
    const [, name, code, modifiers = ''] = /^(\w+) (0x[\da-f]+)((?: \w+)*)$/.exec(line) ?? [];
    if (name !== undefined) keys.set(name, [...(keys.get(name) ?? []), `${Number(code)}${modifiers}`]);
  }
  return keys;
}

const names: Readonly<Record<string, string>> = {
  '@': 'at',
  '{': 'braceleft',
  '[': 'bracketleft',
  ']': 'bracketright',
  '}': 'braceright',
  '\\': 'backslash',
  '|': 'bar',
  '#': 'numbersign',
  '/': 'slash',
  '?': 'question',
  '&': 'ampersand',
  '"': 'quotedbl',
  "'": 'apostrophe',
  '(': 'parenleft',
  '=': 'equal',
  '+': 'plus',
  '-': 'minus',
  _: 'underscore',
  ';': 'semicolon',
  ':': 'colon',
  ',': 'comma',
  '.': 'period',
  '<': 'less',
  '>': 'greater',
  '*': 'asterisk',
  '%': 'percent',
  $: 'dollar',
  '!': 'exclam',
  ß: 'ssharp',
  ü: 'udiaeresis',
  ö: 'odiaeresis',
  ä: 'adiaeresis',
  é: 'eacute',
  è: 'egrave',
  à: 'agrave',
  ù: 'ugrave',
  ç: 'ccedilla',
  ñ: 'ntilde',
  '£': 'sterling',
  '€': 'EuroSign',
  '§': 'section',
  '°': 'degree',
  '²': 'twosuperior',
  µ: 'mu',
};

test('characters are where QEMU has them', { skip }, () => {
  for (const layout of keyboardLayouts) {
    const keys = theirs(layout);
    let compared = 0;
    const characters = [...'abcdefghijklmnopqrstuvwxyzABCXYZ0123456789', ...Object.keys(names)];
    for (const character of characters) {
      const ours = keyOfCharacter(character, layout);
      const their = keys.get(names[character] ?? character);
      if (!ours || !their) continue;
      compared++;
      const way = `${ours.code}${ours.shift ? ' shift' : ''}${ours.altGr ? ' altgr' : ''}`;
      assert.ok(their.includes(way), `${character} of ${layout}: ${way}, theirs ${their}`);
    }
    assert.ok(compared > 60, `${layout}: ${compared}`);
  }
});

test('what has no key has none', () => {
  assert.equal(keyOfCharacter('ß'), undefined);
  assert.equal(keyOfCharacter('', 'de'), undefined);
  assert.equal(keyOfCharacter('a', 'no-such'), undefined);
  assert.equal(keyOfCharacter('a', 'constructor'), undefined);
});
