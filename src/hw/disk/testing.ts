/** A drive's back end in memory, for tests: immediate, or ending its operations when told. Checks what a back end is promised. */
import { assert } from '../../base/index.js';
import type { BlockDone, BlockFailure, DriveBackend } from './block-backend.js';

export class MemoryDrive implements DriveBackend {
  bytes: Uint8Array;
  readonly readonly: boolean;
  inserted = true;
  readonly log: string[] = [];
  readonly trayMoves: boolean[] = [];
  /** What the next requests end with. */
  readonly failures: BlockFailure[] = [];
  /** Operations that wait for `runLater`. */
  later: (() => void)[] | undefined;

  constructor(content: number | Uint8Array, options: { readonly?: boolean; later?: boolean } = {}) {
    this.bytes = typeof content === 'number' ? new Uint8Array(content) : content;
    this.readonly = options.readonly ?? false;
    if (options.later) this.later = [];
  }
  get sizeBytes(): number {
    return this.inserted ? this.bytes.length : 0;
  }
  allocate(sizeBytes: number): Uint8Array {
    return new Uint8Array(sizeBytes);
  }
  drain(): void {
    while (this.later !== undefined && this.later.length > 0) this.runLater();
  }
  trayMoved(open: boolean): void {
    this.trayMoves.push(open);
  }
  runLater(): void {
    for (const run of this.later?.splice(0) ?? []) run();
  }
  #end(what: string, offset: number, length: number, work: () => void, done: BlockDone): void {
    assert(this.inserted, 'a request is made of a medium');
    assert(offset >= 0 && offset % 512 === 0 && length % 512 === 0, `whole sectors: ${what}`);
    assert(offset + length <= this.bytes.length, `within the disk: ${what}`);
    this.log.push(what);
    const run = () => {
      const failure = this.failures.shift();
      if (failure === undefined) work();
      done(failure);
    };
    if (this.later) this.later.push(run);
    else run();
  }
  read(offset: number, targets: readonly Uint8Array[], done: BlockDone): void {
    const length = targets.reduce((sum, each) => sum + each.length, 0);
    const work = () => {
      let at = offset;
      for (const target of targets) {
        target.set(this.bytes.subarray(at, at + target.length));
        at += target.length;
      }
    };
    this.#end(`read ${offset}+${length}`, offset, length, work, done);
  }
  write(offset: number, sources: readonly Uint8Array[], done: BlockDone): void {
    const length = sources.reduce((sum, each) => sum + each.length, 0);
    const work = () => {
      let at = offset;
      for (const source of sources) {
        this.bytes.set(source, at);
        at += source.length;
      }
    };
    assert(!this.readonly, 'no write to what is read-only');
    this.#end(`write ${offset}+${length}`, offset, length, work, done);
  }
  flush(done: BlockDone): void {
    this.#end('flush', 0, 0, () => {}, done);
  }
  discard(offset: number, length: number, done: BlockDone): void {
    this.#end(`discard ${offset}+${length}`, offset, length, () => this.bytes.fill(0, offset, offset + length), done);
  }
  writeZeroes(offset: number, length: number, _mayUnmap: boolean, done: BlockDone): void {
    this.#end(`zero ${offset}+${length}`, offset, length, () => this.bytes.fill(0, offset, offset + length), done);
  }
}
