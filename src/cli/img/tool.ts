/** What the disk tools share: output, getopt-like options, numbers, opening images as qemu-img does. */
import { BlockError, toBlockError } from '../../block/errors.js';
import { BlockGraph } from '../../block/graph.js';
import type { GraphNode } from '../../block/graph-node.js';
import { parseJson } from '../../block/json.js';
import type { OpenFlags } from '../../block/node.js';
import { cacheFlags } from '../../block/node-flags.js';
import { flattenOptions, integerText, type OptionDict, parseOptionString, parseSize } from '../../block/options.js';
import { NodeBlockHost } from '../../host/node/block-host.js';

/** SIGUSR1, which asks for a line of progress. */
const progressSignal = { isHeard: false, isPending: false };

function listenForProgress(): void {
  if (progressSignal.isHeard) return;
  progressSignal.isHeard = true;
  process.on('SIGUSR1', () => {
    progressSignal.isPending = true;
  });
}

export interface ToolIo {
  out(text: string): void;
  /** The same for text as UTF-8, which is not held on to; absent: as a string. */
  outBytes?(text: Uint8Array): void;
  err(text: string): void;
}

/** Ends the command with this exit code; the message, if any, has been printed. */
export class ExitError extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

export interface OptionSpec {
  readonly key: string;
  readonly short?: string;
  readonly long?: string;
  readonly value?: boolean;
}

export interface ParsedOptions {
  readonly options: readonly (readonly [string, string])[];
  readonly operands: readonly string[];
}

export class Tool {
  readonly name: string;
  readonly io: ToolIo;
  readonly host: NodeBlockHost;
  readonly graph: BlockGraph;
  quiet = false;
  readonly #progress = { isOn: false, last: -100, min: 1 };

  constructor(name: string, io: ToolIo) {
    this.name = name;
    this.io = io;
    this.host = new NodeBlockHost((severity, message) => {
      if (severity === 'plain') io.err(`${message}\n`);
      else io.err(`${name}: ${severity === 'warning' ? 'warning: ' : ''}${message}\n`);
    });
    this.graph = new BlockGraph(this.host);
  }

  out(text: string): void {
    this.io.out(text);
  }

  outBytes(text: Uint8Array): void {
    if (this.io.outBytes) this.io.outBytes(text);
    else this.io.out(Buffer.from(text).toString());
  }

  /** Output that `-q` silences. */
  say(text: string): void {
    if (!this.quiet) this.io.out(text);
  }

  error(message: string): void {
    this.io.err(`${this.name}: ${message}\n`);
  }

  warn(message: string): void {
    this.io.err(`${this.name}: warning: ${message}\n`);
  }

  fail(message: string, code = 1): never {
    this.error(message);
    throw new ExitError(code);
  }

  /** A usage mistake. */
  misuse(message: string): never {
    this.io.err(`${this.name}: ${message}\nTry '${this.name} --help' for more information\n`);
    throw new ExitError(1);
  }

  // ---- options

  parse(
    argv: readonly string[],
    specs: readonly OptionSpec[],
    misuse: (message: string) => never = (message) => this.misuse(message),
  ): ParsedOptions {
    const options: [string, string][] = [];
    const operands: string[] = [];
    for (let index = 0; index < argv.length; index++) {
      const argument = argv[index]!;
      if (argument === '--') {
        operands.push(...argv.slice(index + 1));
        break;
      }
      if (argument.startsWith('--')) {
        const equals = argument.indexOf('=');
        const name = argument.slice(2, equals < 0 ? undefined : equals);
        const exact = specs.find((spec) => spec.long === name);
        const matches = exact ? [exact] : specs.filter((spec) => spec.long?.startsWith(name));
        const spec = matches.length === 1 ? matches[0]! : misuse(`unrecognized option '${argument}'`);
        if (!spec.value && equals >= 0) misuse(`unrecognized option '${argument}'`);
        if (!spec.value) options.push([spec.key, '']);
        else if (equals >= 0) options.push([spec.key, argument.slice(equals + 1)]);
        else if (++index < argv.length) options.push([spec.key, argv[index]!]);
        else misuse(`missing argument for option '${argument}'`);
        continue;
      }
      if (!argument.startsWith('-') || argument === '-') {
        operands.push(argument);
        continue;
      }
      for (let at = 1; at < argument.length; at++) {
        const letter = argument[at]!;
        const spec = specs.find((candidate) => candidate.short === letter);
        if (!spec) return misuse(`unrecognized option '${argument}'`);
        if (!spec.value) {
          options.push([spec.key, '']);
          continue;
        }
        const inline = argument.slice(at + 1);
        if (inline !== '') options.push([spec.key, inline]);
        else if (++index < argv.length) options.push([spec.key, argv[index]!]);
        else misuse(`missing argument for option '${argument}'`);
        break;
      }
    }
    return { options, operands };
  }

  /** A size as qemu-img's arguments take it; the error sentence names `what`. */
  size(text: string, what: string, max = 2 ** 63 - 1024, min = 0): number {
    const value = parseSize(text);
    if (/^\s*\+?0x[0-9a-f]+[kmgtp]$/i.test(text))
      this.warn(`Using a multiplier suffix on hex numbers is deprecated: ${text}`);
    if (value === undefined) {
      this.error(`Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for`);
      this.fail('kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.');
    }
    if (value === 'range' || value > max || value < min) {
      this.fail(
        `Invalid ${what} specified. Must be between ${min} and ${max > Number.MAX_SAFE_INTEGER ? '9223372036854775807' : max}.`,
      );
    }
    return value;
  }

  cache(mode: string, what = 'cache option', exitCode = 1): Partial<OpenFlags> {
    return cacheFlags(mode) ?? this.fail(`Invalid ${what}: ${mode}`, exitCode);
  }

  output(format: string): boolean {
    if (format === 'json') return true;
    if (format === 'human') return false;
    return this.fail('--output must be used with human or json as argument.');
  }

  /** `--object TYPE,…`, or JSON; `help` in its place ends the command. */
  async addObject(text: string, exitCode = 1): Promise<void> {
    const { defineObject, objectHelp } = await import('./objects.js');
    try {
      const isJson = text.trimStart().startsWith('{');
      const options = isJson
        ? flattenOptions(parseJson(text))
        : parseOptionString(text, 'qom-type', (spelling) => {
            throw new BlockError('EINVAL', `Expected '=' after parameter '${spelling}'`);
          });
      const type = options['qom-type'];
      const help =
        type === 'help' || type === '?' ? objectHelp(undefined) : options['help'] && objectHelp(String(type));
      if (typeof help === 'string') {
        this.out(help);
        throw new ExitError(0);
      }
      await defineObject(this.host, options);
    } catch (error) {
      if (error instanceof ExitError) throw error;
      this.fail(toBlockError(error).message, exitCode);
    }
  }

  // ---- images

  /** Opens an image; on failure prints the sentence and ends with `code`. */
  async open(how: OpenHow): Promise<GraphNode> {
    const flags: Partial<OpenFlags> = { readOnly: true, ...how.flags, ...(how.forceShare ? { forceShare: true } : {}) };
    try {
      if (how.imageOptions) {
        if (how.format !== undefined) this.fail('--image-opts and --format are mutually exclusive', how.exitCode);
        const id = /(?:^|,)id=([^,]*)/.exec(how.filename)?.[1];
        if (id !== undefined && !/^[a-zA-Z][\w.-]*$/.test(id)) {
          this.fail(
            "Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
            how.exitCode,
          );
        }
        const options = parseImageOptions(this, how.filename, 'file');
        return await this.graph.open({ options, flags: optionFlags(flags), ...use(how) });
      }
      return await this.graph.open({
        filename: how.filename,
        ...(how.format === undefined ? {} : { format: how.format }),
        ...(how.options === undefined ? {} : { options: how.options }),
        flags,
        ...use(how),
      });
    } catch (error) {
      if (error instanceof ExitError) throw error;
      this.failWith(`Could not open ${how.what ?? ''}'${how.givenName ?? how.filename}': `, error, how.exitCode);
    }
  }

  /** Prints an error with its hint lines after it, as QEMU does. */
  failWith(prefix: string, error: unknown, code = 1): never {
    if (error instanceof ExitError) throw error;
    this.error(prefix + toBlockError(error).message);
    throw new ExitError(code);
  }

  // ---- progress

  /** From here on to `endProgress`, which the end of the command calls too, whatever goes wrong. */
  startProgress(isOn: boolean, minPercent: number): void {
    this.#progress.isOn = isOn && !this.quiet;
    this.#progress.last = -100;
    this.#progress.min = minPercent;
    // Without a running display, SIGUSR1 asks for one line.
    if (!this.#progress.isOn) listenForProgress();
  }

  /** `percent` of the whole. */
  progress(percent: number): void {
    const progress = this.#progress;
    if (progressSignal.isPending) {
      progressSignal.isPending = false;
      this.io.err(`    (${percent.toFixed(2)}/100%)\n`);
    }
    if (!progress.isOn) return;
    if (percent - progress.last < progress.min && percent !== 0 && percent < 100) return;
    progress.last = percent;
    this.io.out(`    (${percent.toFixed(2)}/100%)\r`);
  }

  endProgress(): void {
    if (this.#progress.isOn) this.io.out('\n');
    this.#progress.isOn = false;
  }
}

/** What `--image-opts` makes of an image's name. */
export function parseImageOptions(
  tool: { warn(message: string): void; readonly io: Pick<ToolIo, 'err'> },
  text: string,
  implied?: string,
): OptionDict {
  return parseOptionString(text, implied, (spelling, key, value) => {
    tool.warn(`short-form boolean option '${spelling}' deprecated`);
    tool.io.err(`Please use ${key}=${value} instead\n`);
  });
}

function optionFlags(flags: Partial<OpenFlags>): Partial<OpenFlags> {
  return flags;
}

function use(how: OpenHow): { permissions?: number; shared?: number } {
  return {
    ...(how.permissions === undefined ? {} : { permissions: how.permissions }),
    ...(how.shared === undefined ? {} : { shared: how.shared }),
  };
}

export interface OpenHow {
  readonly filename: string;
  readonly format?: string | undefined;
  readonly imageOptions?: boolean;
  /** Beside a file name: options of the top node. */
  readonly options?: OptionDict;
  readonly flags?: Partial<OpenFlags>;
  readonly forceShare?: boolean;
  readonly exitCode?: number;
  /** What the image is, for the message: words and a blank. */
  readonly what?: string;
  /** The name for the message, where it is another one. */
  readonly givenName?: string;
  readonly permissions?: number;
  readonly shared?: number;
}

/** `-o` may come several times: joined by commas. `help` anywhere asks for the list. */
export function joinOptions(before: string | undefined, more: string, tool: Tool): string {
  if (!isValidOptionList(more)) tool.fail(`Invalid option list: ${more}`);
  return before === undefined ? more : `${before},${more}`;
}

/** A list must not begin or end in a comma that is not doubled. */
function isValidOptionList(text: string): boolean {
  if (text === '') return false;
  if (text.startsWith(',') && !text.startsWith(',,')) return false;
  const trailing = /,*$/.exec(text)![0].length;
  return trailing % 2 === 0;
}

/** What getopt says of a mistake that `Tool.misuse` is told of: qemu-io and qemu-nbd pass that on. */
export function getoptSentence(message: string, specs: readonly OptionSpec[]): string {
  const quoted = /'(.*)'$/s.exec(message)?.[1] ?? '';
  const isLong = quoted.startsWith('--');
  if (message.startsWith('unrecognized option') && !isLong) {
    const letter = [...quoted.slice(1)].find((each) => !specs.some((spec) => spec.short === each));
    return `invalid option -- '${letter ?? quoted.slice(1, 2)}'`;
  }
  if (!message.startsWith('missing argument')) return message;
  return isLong ? `option '${quoted}' requires an argument` : `option requires an argument -- '${quoted.slice(-1)}'`;
}

export function hasHelpOption(text: string): boolean {
  return text.split(/(?<!,),(?!,)/).some((part) => part === 'help' || part === '?');
}

/** Bytes as `1.5 MiB`: three significant digits, as QEMU prints sizes. */
export function humanSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  // The exponent steps up at 1000, so that at most three digits stand before the point.
  let exponent = 0;
  while (exponent < units.length - 1 && bytes / 1024 ** exponent >= 1000) exponent++;
  return `${threeDigits(bytes / 1024 ** exponent)} ${units[exponent]}`;
}

/** C's %0.3g. */
export function threeDigits(value: number): string {
  if (value === 0) return '0';
  let text = value.toPrecision(3);
  // Of two that are as near C takes the even one.
  if (Number(value.toPrecision(4)) === value && value.toPrecision(4).endsWith('5') && !text.includes('e')) {
    const below = value.toPrecision(4).slice(0, -1).replace(/\.$/, '');
    if (Number(below.at(-1)) % 2 === 0) text = below;
  }
  const plain = text.includes('e') ? String(Number(text)) : text;
  return plain.includes('.') ? plain.replace(/\.?0+$/, '') : plain;
}

/** JSON with QEMU's indentation: four spaces, an empty list on two lines. */
export function prettyJson(value: unknown, indent = ''): string {
  const inner = `${indent}    `;
  if (Array.isArray(value)) {
    if (value.length === 0) return `[\n${indent}]`;
    return `[\n${value.map((member) => inner + prettyJson(member, inner)).join(',\n')}\n${indent}]`;
  }
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    if (entries.length === 0) return `{\n${indent}}`;
    return `{\n${entries.map(([key, member]) => `${inner}${JSON.stringify(key)}: ${prettyJson(member, inner)}`).join(',\n')}\n${indent}}`;
  }
  return typeof value === 'number' ? integerText(value) : JSON.stringify(value);
}

export function isBlockError(error: unknown): error is BlockError {
  return error instanceof BlockError;
}
