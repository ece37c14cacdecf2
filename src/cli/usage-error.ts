/** A mistake in what was asked for: one sentence for the person, exit status 1. */
import { VringError } from '../base/index.js';

export class UsageError extends VringError {
  constructor(message: string) {
    super('usage', message);
    this.name = 'UsageError';
  }
}
