/** Any bytes, in any mode, translate to a block that ends, and never throw. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockBuilder, BlockOptimizer, Op, opWords } from '../../ir/index.js';
import { ColdSerializer } from '../../wasm/index.js';
import { decodeMode } from './mode.js';
import { routines } from './routines/set.js';
import { STATE_BYTES, x86Vars } from './state.js';
import { createTranslator } from './translate.js';

const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
let state = (seed * 2654435761) >>> 0 || 1;
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

const terminators = new Set<number>([Op.goto, Op.branch, Op.jump, Op.leave, Op.resume]);

test(`random bytes in random modes (seed ${seed})`, () => {
  const translator = createTranslator();
  const optimizer = new BlockOptimizer(x86Vars, routines.list);
  const serializer = new ColdSerializer(x86Vars, routines.list, STATE_BYTES, true);
  const b = new BlockBuilder();
  const page = new Uint8Array(4096);
  const nextPage = new Uint8Array(4096);
  const result = { bytes: 0, instructions: 0, crossesPage: false, needsNextPage: false };
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 4096; i++) page[i] = random() >>> 24;
    for (let i = 0; i < 16; i++) nextPage[i] = random() >>> 24;
    // Opcodes that much depends on come more often than one in 256.
    for (let i = 0; i < 1000; i++)
      page[random() & 4095] = [0x0f, 0x66, 0xf2, 0xf3, 0xf0, 0xc4, 0x48, 0xff, 0x67][random() % 9];
    for (let i = 0; i < 100; i++) {
      let modeKey = random() & 0x3ffffff;
      if ((modeKey & 3) === 3) modeKey &= ~1;
      const mode = decodeMode(modeKey);
      const offset = i < 4 ? 4092 + i : random() & 4095;
      const request = { b, page, offset, nextPage, modeKey, maxInstructions: 1 + (random() % 48) };
      b.clear();
      translator.translate(request, result);
      assert.ok(result.bytes > 0 && result.instructions > 0 && result.instructions <= request.maxInstructions);
      assert.ok(offset + result.bytes <= 4096 || result.crossesPage);
      if (mode.singleStep || mode.shadow) assert.equal(result.instructions, 1);
      optimizer.run(b);
      let last = -1;
      for (let at = 0; at < b.length; ) {
        assert.ok(!terminators.has(last), 'nothing follows the end');
        last = b.words[at];
        at += last === Op.call ? b.words[at + 2] : opWords[last];
      }
      assert.ok(terminators.has(last), 'the block ends');
      serializer.run(b, optimizer, result.instructions);
      assert.ok(serializer.length > 0);
      const line = translator.disassemble(page, offset, nextPage, modeKey, 0x1000n);
      assert.ok(line.bytes >= 1 && line.bytes <= 15 && line.text.length > 0);
    }
  }
});
