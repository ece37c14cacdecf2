/** Filter `blkverify`: writes go to two images, reads come from both and must agree. The second (`raw`) is the one trusted. */
import { BlockError } from '../errors.js';
import type { BlockDriver, BlockNode } from '../node.js';
import { FilterNode, isPlainName } from './filter-node.js';

class BlkverifyNode extends FilterNode {
  readonly #raw: BlockNode;

  constructor(test: BlockNode, raw: BlockNode) {
    super(test);
    this.#raw = raw;
  }

  #mismatch(what: string, offset: number, length: number, message: string): BlockError {
    const text = `blkverify: ${what} offset=${offset} bytes=${length} ${message}`;
    this.below.host.report('plain', text);
    return new BlockError('EIO', text);
  }

  async #both(what: string, offset: number, length: number, run: (node: BlockNode) => Promise<void>): Promise<void> {
    const [test, raw] = await Promise.allSettled([run(this.below), run(this.#raw)]);
    if (test.status !== raw.status) {
      const code = (result: PromiseSettledResult<void>): string =>
        result.status === 'rejected' ? (result.reason as BlockError).code : 'success';
      throw this.#mismatch(what, offset, length, `return value mismatch ${code(test)} != ${code(raw)}`);
    }
    if (test.status === 'rejected') throw test.reason;
  }

  override async read(offset: number, buffer: Uint8Array): Promise<void> {
    const other = new Uint8Array(buffer.length);
    await this.#both('read', offset, buffer.length, (node) => node.read(offset, node === this.#raw ? other : buffer));
    if (this.below.host.equal(buffer, other)) return;
    let at = 0;
    while (buffer[at] === other[at]) at++;
    throw this.#mismatch('read', offset, buffer.length, `contents mismatch at offset ${offset + at}`);
  }

  override write(offset: number, buffer: Uint8Array, flags: number): Promise<void> {
    return this.#both('write', offset, buffer.length, (node) => node.write(offset, buffer, flags));
  }

  override writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    return this.#both('write-zeroes', offset, length, (node) => node.writeZeroes(offset, length, flags));
  }

  override async discard(): Promise<void> {
    // The two may differ after a discard: none is made.
  }

  override flush(): Promise<void> {
    return this.below.flush();
  }
}

export const blkverifyDriver: BlockDriver = {
  name: 'blkverify',
  kind: 'filter',
  protocols: ['blkverify'],
  openOptions: [
    { name: 'x-raw', type: 'string', help: 'Filename of the raw image' },
    { name: 'x-image', type: 'string', help: 'Filename of the image to test' },
  ],
  parseFilename(filename) {
    const rest = filename.slice('blkverify:'.length);
    const colon = rest.indexOf(':');
    if (colon < 0) throw new BlockError('EINVAL', 'blkverify requires raw copy and original image path');
    return { 'x-raw': rest.slice(0, colon), 'x-image': rest.slice(colon + 1) };
  },
  formatFilename(_options, children) {
    const [raw, test] = ['raw', 'test'].map(
      (name) => children.find((child) => child.name === name)?.node.filename ?? '',
    );
    return isPlainName(raw!) && isPlainName(test!) ? `blkverify:${raw}:${test}` : undefined;
  },
  async open(context) {
    const rawName = context.options.string('x-raw');
    const testName = context.options.string('x-image');
    // The image to test first: it is what `skipFilters` and queries follow.
    const test = await context.openChild(
      'test',
      'filtered',
      testName === undefined ? {} : { filename: testName, allowProbe: true },
    );
    const raw = await context.openChild('raw', 'data', {
      allowProbe: false,
      ...(rawName === undefined ? {} : { filename: rawName }),
    });
    return new BlkverifyNode(test, raw);
  },
};
