/** The options of a command line by name. */
import type { GivenOption } from '../options/parse.js';

export class Options {
  readonly #given: readonly GivenOption[];
  constructor(given: readonly GivenOption[]) {
    this.#given = given;
  }
  all(name: string): string[] {
    return this.#given.filter(({ row }) => row.name === name).map(({ value }) => value ?? '');
  }
  last(name: string): string | undefined {
    return this.all(name).at(-1);
  }
  has(name: string): boolean {
    return this.#given.some(({ row }) => row.name === name);
  }
}
