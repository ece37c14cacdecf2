/** State of one `vring io` run: the open image, requests under way, and how a command line becomes a call. */
import { toBlockError } from '../../block/errors.js';
import type { GraphNode } from '../../block/graph-node.js';
import type { OpenFlags } from '../../block/node.js';
import { cacheFlags } from '../../block/node-flags.js';
import { type OptionDict, parseOptionString } from '../../block/options.js';
import { addTemporaryOverlay } from '../../block/overlay.js';
import { ExitError, parseImageOptions, type Tool } from '../img/tool.js';
import type { IoCommand } from './call.js';
import { findCommand, needsWriting } from './commands.js';
import { splitWords } from './numbers.js';

export class IoSession {
  readonly tool: Tool;
  node: GraphNode | undefined;
  isDone = false;
  /** What is opened is named by option strings. */
  imageOptions = false;
  readonly #running = new Set<Promise<void>>();

  constructor(tool: Tool) {
    this.tool = tool;
  }

  out(text: string): void {
    this.tool.out(text);
  }

  /** A line on standard error, without the tool's name. */
  complain(text: string): void {
    this.tool.io.err(`${text}\n`);
  }

  start(work: () => Promise<void>): void {
    const run: Promise<void> = work().finally(() => this.#running.delete(run));
    this.#running.add(run);
  }

  /** Waits for all asynchronous requests. */
  async settle(): Promise<number> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    return 0;
  }

  async openImage(filename: string | undefined, flags: ReadonlyMap<string, string>): Promise<number> {
    const options: OptionDict = flags.has('o') ? parseOptionString(flags.get('o')!) : {};
    if (this.imageOptions && filename !== undefined) {
      Object.assign(options, parseImageOptions(this.tool, filename));
      filename = undefined;
    }
    const cache = flags.has('t')
      ? cacheFlags(flags.get('t')!)
      : flags.has('n')
        ? cacheFlags('none')
        : cacheFlags('writethrough');
    if (!cache) {
      this.tool.error(`Invalid cache option: ${flags.get('t')}`);
      return -1;
    }
    const discard = flags.get('d');
    if (discard !== undefined && !['ignore', 'off', 'unmap', 'on'].includes(discard)) {
      this.tool.error(`Invalid discard option: ${discard}`);
      return -1;
    }
    const merged: Partial<OpenFlags> = {
      unmap: true,
      ...cache,
      readOnly: flags.has('r'),
      ...(discard === undefined ? {} : { unmap: discard === 'unmap' || discard === 'on' }),
      ...(flags.has('C') ? { copyOnRead: true } : {}),
      ...(flags.has('U') ? { forceShare: true } : {}),
    };
    return this.open(filename, options, merged, flags.has('s'));
  }

  async open(
    filename: string | undefined,
    options: OptionDict,
    flags: Partial<OpenFlags>,
    isSnapshot: boolean,
  ): Promise<number> {
    try {
      const request = {
        ...(filename === undefined ? {} : { filename }),
        options,
      };
      if (isSnapshot) this.node = await this.#openTemporary(request, flags);
      else this.node = await this.tool.graph.open({ ...request, flags });
      return 0;
    } catch (error) {
      this.tool.error(
        `can't open${filename === undefined ? '' : ` device ${filename}`}: ${toBlockError(error).message}`,
      );
      return -1;
    }
  }

  /** `-s`: writes go to an overlay that vanishes when it is closed. */
  async #openTemporary(
    request: { filename?: string; format?: string; options: OptionDict },
    flags: Partial<OpenFlags>,
  ): Promise<GraphNode> {
    const { graph } = this.tool;
    const base = await graph.open({ ...request, flags: { ...flags, readOnly: true } });
    return await addTemporaryOverlay(graph, base, { ...flags, readOnly: false });
  }

  async closeImage(): Promise<number> {
    await this.settle();
    const { node } = this;
    this.node = undefined;
    try {
      await node?.close();
      return 0;
    } catch (error) {
      this.tool.error(toBlockError(error).message);
      return -1;
    }
  }

  /** Runs one line; 0 or negative. */
  async command(line: string): Promise<number> {
    const words = splitWords(line);
    const name = words[0];
    if (name === undefined) return 0;
    const command = findCommand(name);
    if (!command) {
      this.complain(`command "${name}" not found`);
      return -1;
    }
    if (command.needsFile && !this.node) {
      this.complain("no file open, try 'help open'");
      return -1;
    }
    const rest = words.slice(1);
    if (rest.length < command.min || (command.max >= 0 && rest.length > command.max)) {
      const wanted =
        command.max < 0
          ? `at least ${command.min} arguments`
          : command.min === command.max
            ? `${command.min} arguments`
            : `between ${command.min} and ${command.max} arguments`;
      this.complain(`bad argument count ${rest.length} to ${name}, expected ${wanted}`);
      return -1;
    }
    const call = this.#parse(command, rest);
    if (!call) return -1;
    if (needsWriting(command) && this.node?.readOnly) {
      this.tool.error('Block node is read-only');
      return -1;
    }
    try {
      return await command.run(this, { command, ...call });
    } catch (error) {
      if (error instanceof ExitError) return -1;
      this.out(`${command.name} failed: ${toBlockError(error).message}\n`);
      return -1;
    }
  }

  #parse(
    command: IoCommand,
    words: readonly string[],
  ): { readonly flags: Map<string, string>; readonly operands: string[] } | undefined {
    const flags = new Map<string, string>();
    const operands: string[] = [];
    const letters = command.letters;
    if (letters === undefined) return { flags, operands: [...words] };
    for (let index = 0; index < words.length; index++) {
      const word = words[index]!;
      if (!word.startsWith('-') || word === '-') {
        operands.push(word);
        continue;
      }
      for (let at = 1; at < word.length; at++) {
        const letter = word[at]!;
        const place = letter === ':' ? -1 : letters.indexOf(letter);
        if (place < 0) {
          this.tool.io.err(`${command.name}: invalid option -- '${letter}'\n`);
          this.out(`${command.name} ${command.args} -- ${command.oneLine}\n`);
          return undefined;
        }
        if (letters[place + 1] !== ':') {
          flags.set(letter, '');
          continue;
        }
        const value = at + 1 < word.length ? word.slice(at + 1) : words[++index];
        if (value === undefined) {
          this.tool.io.err(`${command.name}: option requires an argument -- '${letter}'\n`);
          this.out(`${command.name} ${command.args} -- ${command.oneLine}\n`);
          return undefined;
        }
        flags.set(letter, value);
        break;
      }
    }
    return { flags, operands };
  }
}
