/** Hashes and ciphers from node:crypto (OpenSSL). */
import * as crypto from 'node:crypto';
import { BlockError } from '../../block/errors.js';
import type { BlockCipher, CryptoHost } from '../../block/host.js';

const ciphers = new Set(crypto.getCiphers());

class NodeCipher implements BlockCipher {
  readonly #name: string;
  readonly #key: crypto.KeyObject;
  constructor(name: string, key: Uint8Array) {
    this.#name = name;
    this.#key = crypto.createSecretKey(key);
  }
  encrypt(iv: Uint8Array | undefined, input: Uint8Array): Uint8Array {
    const cipher = crypto.createCipheriv(this.#name, this.#key, iv ?? null);
    cipher.setAutoPadding(false);
    return cipher.update(input);
  }
  decrypt(iv: Uint8Array | undefined, input: Uint8Array): Uint8Array {
    const cipher = crypto.createDecipheriv(this.#name, this.#key, iv ?? null);
    cipher.setAutoPadding(false);
    return cipher.update(input);
  }
}

export const nodeCrypto: CryptoHost = {
  randomBytes: (count) => crypto.randomBytes(count),
  hash(algorithm, input) {
    try {
      return crypto.createHash(algorithm).update(input).digest();
    } catch {
      return undefined;
    }
  },
  pbkdf2(algorithm, secret, salt, iterations, size) {
    return new Promise((resolve, reject) =>
      crypto.pbkdf2(secret, salt, iterations, size, algorithm, (error, key) =>
        error ? reject(new BlockError('EINVAL', error.message)) : resolve(key),
      ),
    );
  },
  threadCpuMs() {
    const usage = process.cpuUsage();
    return (usage.user + usage.system) / 1000;
  },
  cipher(name, key) {
    return ciphers.has(name) ? new NodeCipher(name, key) : undefined;
  },
};
