/** Jobs of one transaction that end together: all well, or none (QEMU's completion-mode `grouped`). */
import type { BlockJob } from './block-job.js';

export class JobGroup {
  readonly #members: BlockJob[] = [];
  readonly #waiting: (() => void)[] = [];
  #isComplete = false;
  #isCancelled = false;

  add(job: BlockJob): void {
    this.#members.push(job);
  }

  /** No more will come. */
  complete(): void {
    this.#isComplete = true;
    this.#look();
  }

  /** Whether somebody is to say that their ends take effect. */
  get needsFinalize(): boolean {
    return this.#members.some(({ description }) => !description.autoFinalize);
  }

  /** Resolves when all others have done their work too. Whoever is cancelled meanwhile has to look for that. */
  others(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#look();
    });
  }

  /** One ends without its work's effect, and so all do. */
  cancel(): void {
    if (this.#isCancelled) return;
    this.#isCancelled = true;
    for (const job of this.#members) job.cancelWithGroup();
  }

  finalize(): void {
    for (const job of this.#members) job.finalizeWithGroup();
  }

  #look(): void {
    if (!this.#isComplete || this.#isCancelled || this.#waiting.length < this.#members.length) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
