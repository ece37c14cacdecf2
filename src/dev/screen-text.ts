/** Typing at a guest's console through VNC, and reading its text back: from the VGA's cells, or from pixels once their font is known. */
import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import type { Machine } from '../vmm/index.js';
import type { RfbClient } from './rfb-client.js';

/** A shell on the first virtual terminal, after `setUp`. */
export const consoleInit = (setUp = '') => `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PS1='# '
[ -e /bin/mount ] || /bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
${setUp}
exec setsid sh -c 'exec sh -i </dev/tty1 >/dev/tty1 2>&1'
`;

export async function textLines(machine: Machine): Promise<string[] | undefined> {
  const screen = await machine.screenText();
  if (!screen) return undefined;
  const { columns, rows, cells } = screen;
  return Array.from({ length: rows }, (_, row) =>
    String.fromCharCode(...cells.subarray(row * columns, (row + 1) * columns).map((cell) => cell & 0xff)).trimEnd(),
  );
}

export async function until<T>(what: string, limitMs: number, look: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < deadline, what);
    await wait(100);
  }
}

export async function type(client: RfbClient, text: string): Promise<void> {
  for (const character of text) {
    const keysym = character === '\n' ? 0xff0d : character.charCodeAt(0);
    await client.key(keysym, true);
    await client.key(keysym, false);
    await wait(20);
  }
}

export async function refreshed(client: RfbClient): Promise<void> {
  await client.request(true);
  await client.update();
}

/** Cells of 8x16 pixels, each as a text of its dots. */
function cellsOf({ width, height, pixels }: RfbClient, row: number): string[] {
  assert.ok((row + 1) * 16 <= height);
  return Array.from({ length: width >> 3 }, (_, column) => {
    let dots = '';
    for (let y = 0; y < 16; y++)
      for (let x = 0; x < 8; x++) dots += pixels[(row * 16 + y) * width + column * 8 + x] === 0 ? ' ' : '#';
    return dots;
  });
}

/** So long is waited until the same is typed once more. */
const RETYPE_MS = 15_000;
const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.';

/** Has the shell print an alphabet, which says what its cells look like; gives what reads a row of text. */
export async function learnFont(client: RfbClient, limitMs: number): Promise<(row: number) => string> {
  // A guest whose keyboard is not ready yet loses what is typed.
  let typedAt = Number.NEGATIVE_INFINITY;
  const font = await until('the alphabet', limitMs, async () => {
    if (Date.now() - typedAt > RETYPE_MS) {
      await type(client, `\nclear; echo ${alphabet}\n`);
      typedAt = Date.now();
    }
    await refreshed(client);
    const cells = cellsOf(client, 0).slice(0, alphabet.length);
    const learned = new Map(cells.map((dots, i) => [dots, alphabet[i]!]));
    return learned.size === alphabet.length && !learned.has(' '.repeat(128)) && learned;
  });
  return (row) =>
    cellsOf(client, row)
      .map((dots) => font.get(dots) ?? ' ')
      .join('')
      .trimEnd();
}
