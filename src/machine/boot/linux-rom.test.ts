import assert from 'node:assert/strict';
import { test } from 'node:test';
import { videoMode } from './linux-rom.js';

test("a boot loader's part of vga=", () => {
  for (const [commandLine, mode] of [
    ['quiet', undefined],
    ['novga=1 xvga=7', undefined],
    ['vga=791', 791],
    ['console=tty0 vga=0x317 quiet', 0x317],
    ['vga=0', 0],
    ['vga=01427', 791],
    ['quiet vga=normal', 0xffff],
    ['vga=ext', 0xfffe],
    ['vga=ask root=/dev/vga=1', 0xfffd],
    ['vga=3\tvga=4', 3],
  ] as const)
    assert.equal(videoMode(commandLine), mode, commandLine);
  for (const bad of ['', 'asks', '0x', '0x10000', '65536', '-1', '08', '7b', 'constructor'])
    assert.throws(() => videoMode(`vga=${bad}`), { code: 'boot-video-mode' }, bad);
});
