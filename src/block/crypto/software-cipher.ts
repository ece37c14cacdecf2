/** Ciphers that the host's library lacks, computed here a block at a time, in the modes that `BlockCipher` offers. */
import type { BlockCipher } from '../host.js';
import { makeCast5 } from './cast5.js';
import { makeSerpent } from './serpent.js';
import { makeTwofish } from './twofish.js';

/** A block cipher with its key: each call changes `blockBytes` bytes in place. */
export interface BlockFunction {
  readonly blockBytes: number;
  encrypt(view: DataView, at: number): void;
  decrypt(view: DataView, at: number): void;
}

const makers: Readonly<Record<string, (key: Uint8Array) => BlockFunction>> = {
  'cast5-128': makeCast5,
  'serpent-128': makeSerpent,
  'serpent-192': makeSerpent,
  'serpent-256': makeSerpent,
  'twofish-128': makeTwofish,
  'twofish-192': makeTwofish,
  'twofish-256': makeTwofish,
};

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function xorAt(target: Uint8Array, at: number, mask: Uint8Array, maskAt: number, count: number): void {
  for (let index = 0; index < count; index++) target[at + index]! ^= mask[maskAt + index]!;
}

/** `new Uint8Array(…)` copies; `slice` of a Node buffer would not. */
function ecb(block: BlockFunction): BlockCipher {
  const each = (input: Uint8Array, step: (view: DataView, at: number) => void): Uint8Array => {
    const result = new Uint8Array(input);
    const view = viewOf(result);
    for (let at = 0; at < result.length; at += block.blockBytes) step(view, at);
    return result;
  };
  return {
    encrypt: (_iv, input) => each(input, block.encrypt),
    decrypt: (_iv, input) => each(input, block.decrypt),
  };
}

function cbc(block: BlockFunction): BlockCipher {
  const size = block.blockBytes;
  return {
    encrypt(iv, input) {
      const result = new Uint8Array(input);
      const view = viewOf(result);
      for (let at = 0; at < result.length; at += size) {
        if (at === 0) xorAt(result, at, iv!, 0, size);
        else xorAt(result, at, result, at - size, size);
        block.encrypt(view, at);
      }
      return result;
    },
    decrypt(iv, input) {
      const result = new Uint8Array(input);
      const view = viewOf(result);
      for (let at = 0; at < result.length; at += size) {
        block.decrypt(view, at);
        if (at === 0) xorAt(result, at, iv!, 0, size);
        else xorAt(result, at, input, at - size, size);
      }
      return result;
    },
  };
}

/** The counter is the whole block, big-endian. */
function ctr(block: BlockFunction): BlockCipher {
  const size = block.blockBytes;
  const apply = (iv: Uint8Array | undefined, input: Uint8Array): Uint8Array => {
    const counter = new Uint8Array(iv!.subarray(0, size));
    const result = new Uint8Array(input);
    const pad = new Uint8Array(size);
    const view = viewOf(pad);
    for (let at = 0; at < result.length; at += size) {
      pad.set(counter);
      block.encrypt(view, 0);
      xorAt(result, at, pad, 0, Math.min(size, result.length - at));
      for (let index = size - 1; index >= 0 && ++counter[index]! === 256; index--);
    }
    return result;
  };
  return { encrypt: apply, decrypt: apply };
}

const modes: Readonly<Record<string, (block: BlockFunction) => BlockCipher>> = { ecb, cbc, ctr };

/** Undefined for an algorithm or a mode that is not known. Modes: `ecb cbc ctr`. */
export function softwareCipher(algorithm: string, mode: string, key: Uint8Array): BlockCipher | undefined {
  const [make, wrap] = [makers[algorithm], modes[mode]];
  return make && wrap?.(make(key));
}
