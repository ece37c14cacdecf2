/** The options of `vring nbd`: qemu-nbd 7.2's, and what they may not be combined with, in its sentences. */
import { cacheFlags } from '../../block/node-flags.js';
import { parseOptionString } from '../../block/options.js';
import { maxStringBytes } from '../../block/protocols/nbd/wire.js';
import { ExitError, getoptSentence, type OptionSpec, Tool } from '../img/tool.js';

const specs: readonly OptionSpec[] = [
  { key: 'help', short: 'h', long: 'help' },
  { key: 'version', short: 'V', long: 'version' },
  { key: 'port', short: 'p', long: 'port', value: true },
  { key: 'bind', short: 'b', long: 'bind', value: true },
  { key: 'socket', short: 'k', long: 'socket', value: true },
  { key: 'offset', short: 'o', long: 'offset', value: true },
  { key: 'readOnly', short: 'r', long: 'read-only' },
  { key: 'allocationDepth', short: 'A', long: 'allocation-depth' },
  { key: 'bitmap', short: 'B', long: 'bitmap', value: true },
  { key: 'snapshot', short: 's', long: 'snapshot' },
  { key: 'loadSnapshot', short: 'l', long: 'load-snapshot', value: true },
  { key: 'noCache', short: 'n', long: 'nocache' },
  { key: 'cache', long: 'cache', value: true },
  { key: 'aio', long: 'aio', value: true },
  { key: 'discard', long: 'discard', value: true },
  { key: 'detectZeroes', long: 'detect-zeroes', value: true },
  { key: 'connect', short: 'c', long: 'connect', value: true },
  { key: 'disconnect', short: 'd', long: 'disconnect' },
  { key: 'shared', short: 'e', long: 'shared', value: true },
  { key: 'format', short: 'f', long: 'format', value: true },
  { key: 'persistent', short: 't', long: 'persistent' },
  { key: 'verbose', short: 'v', long: 'verbose' },
  { key: 'exportName', short: 'x', long: 'export-name', value: true },
  { key: 'description', short: 'D', long: 'description', value: true },
  { key: 'list', short: 'L', long: 'list' },
  { key: 'object', long: 'object', value: true },
  { key: 'imageOptions', long: 'image-opts' },
  { key: 'tlsCreds', long: 'tls-creds', value: true },
  { key: 'tlsHostname', long: 'tls-hostname', value: true },
  { key: 'tlsAuthz', long: 'tls-authz', value: true },
  { key: 'fork', long: 'fork' },
  { key: 'pidFile', long: 'pid-file', value: true },
  { key: 'selinuxLabel', long: 'selinux-label', value: true },
  { key: 'trace', short: 'T', long: 'trace', value: true },
  // Beyond QEMU's: the protocol's resize extension.
  { key: 'resizable', long: 'resizable' },
];

export interface NbdToolOptions {
  readonly port: string | undefined;
  readonly bind: string | undefined;
  readonly socket: string | undefined;
  readonly offset: number;
  readonly readOnly: boolean;
  readonly allocationDepth: boolean;
  readonly bitmaps: readonly string[];
  readonly snapshot: boolean;
  readonly loadSnapshot:
    | { readonly id: string | undefined; readonly name: string | undefined; readonly either: string | undefined }
    | undefined;
  readonly cacheMode: string;
  readonly discard: boolean;
  readonly detectZeroes: 'off' | 'on' | 'unmap';
  readonly device: string | undefined;
  readonly disconnect: boolean;
  readonly shared: number;
  readonly format: string | undefined;
  readonly persistent: boolean;
  readonly verbose: boolean;
  readonly exportName: string | undefined;
  readonly description: string | undefined;
  readonly list: boolean;
  readonly imageOptions: boolean;
  readonly tlsCreds: string | undefined;
  readonly tlsHostname: string | undefined;
  readonly tlsAuthz: string | undefined;
  readonly fork: boolean;
  readonly pidFile: string | undefined;
  readonly selinuxLabel: string | undefined;
  readonly resizable: boolean;
  readonly operand: string;
  readonly help: boolean;
  readonly version: boolean;
}

export class NbdTool extends Tool {
  /** getopt's sentences, as qemu-nbd passes them on. */
  override misuse(message: string): never {
    this.error(getoptSentence(message, specs));
    this.error(`Try \`${this.name} --help' for more information.`);
    throw new ExitError(1);
  }

  wrongCount(): never {
    this.io.err(`${this.name}: Invalid number of arguments\nTry \`${this.name} --help' for more information.\n`);
    throw new ExitError(1);
  }
}

export async function parseNbdOptions(tool: NbdTool, argv: readonly string[]): Promise<NbdToolOptions> {
  const { options, operands } = tool.parse(argv, specs);
  const texts = new Map<string, string>();
  const flags = new Set<string>();
  const bitmaps: string[] = [];
  let offset = 0;
  let shared = 1;
  let isNative = false;
  let cacheMode: string | undefined;
  let detectZeroes: NbdToolOptions['detectZeroes'] = 'off';
  let discard: boolean | undefined;
  let loadSnapshot: NbdToolOptions['loadSnapshot'];
  for (const [key, value] of options) {
    switch (key) {
      case 'help':
      case 'version':
        // Told at once, whatever else is wrong.
        flags.add(key);
        return finish();
      case 'offset':
        if (!/^\d+$/.test(value) || !Number.isSafeInteger(Number(value))) tool.fail(`Invalid offset '${value}'`);
        offset = Number(value);
        flags.add(key);
        break;
      case 'shared':
        if (!/^\d+$/.test(value) || Number(value) >= 2 ** 31) tool.fail(`Invalid shared device number '${value}'`);
        shared = Number(value);
        break;
      case 'noCache':
      case 'cache': {
        if (cacheMode !== undefined) tool.fail('-n and --cache can only be specified once');
        cacheMode = key === 'noCache' ? 'none' : value;
        if (!cacheFlags(cacheMode)) tool.fail(`Invalid cache mode \`${value}'`);
        break;
      }
      case 'aio':
        if (flags.has('aio')) tool.fail('--aio can only be specified once');
        if (value !== 'threads' && value !== 'native' && value !== 'io_uring') tool.fail(`Invalid aio mode '${value}'`);
        isNative = value === 'native';
        flags.add(key);
        break;
      case 'discard':
        if (discard !== undefined) tool.fail('--discard can only be specified once');
        if (!['ignore', 'off', 'unmap', 'on'].includes(value)) tool.fail(`Invalid discard mode \`${value}'`);
        discard = value === 'unmap' || value === 'on';
        break;
      case 'detectZeroes':
        if (value !== 'off' && value !== 'on' && value !== 'unmap')
          tool.fail(`Failed to parse detect_zeroes mode: invalid parameter value: ${value}`);
        if (value === 'unmap' && !discard)
          tool.fail('setting detect-zeroes to unmap is not allowed without setting discard operation to unmap');
        detectZeroes = value;
        break;
      case 'socket':
        if (!value.startsWith('/')) tool.fail('socket path must be absolute');
        texts.set(key, value);
        break;
      case 'bitmap':
        // Contexts are listed with the last one first, as qemu-nbd lists them.
        bitmaps.unshift(value);
        break;
      case 'loadSnapshot': {
        const given = value.startsWith('snapshot.') ? parseOptionString(value) : {};
        const text = (name: string) => (typeof given[name] === 'string' ? (given[name] as string) : undefined);
        const [id, name] = [text('snapshot.id'), text('snapshot.name')];
        if (value.startsWith('snapshot.') && id === undefined && name === undefined)
          tool.fail(`Failed in parsing snapshot param \`${value}'`);
        loadSnapshot = { id, name, either: value.startsWith('snapshot.') ? undefined : value };
        break;
      }
      case 'exportName':
      case 'description': {
        const what = key === 'exportName' ? 'export name' : 'export description';
        if (new TextEncoder().encode(value).length > maxStringBytes) tool.fail(`${what} '${value}' too long`);
        texts.set(key, value);
        break;
      }
      case 'object':
        await tool.addObject(value);
        break;
      case 'trace':
        break;
      default:
        if (specs.some((spec) => spec.key === key && spec.value)) texts.set(key, value);
        else flags.add(key);
    }
  }
  if (flags.has('list')) {
    if (operands.length > 0) tool.fail('List mode is incompatible with a file name');
    const isPerDevice =
      ['exportName', 'description', 'connect', 'format'].some((key) => texts.has(key)) ||
      ['disconnect', 'allocationDepth', 'aio', 'offset'].some((key) => flags.has(key)) ||
      loadSnapshot !== undefined ||
      bitmaps.length > 0 ||
      discard !== undefined ||
      cacheMode !== undefined;
    if (isPerDevice) tool.fail('List mode is incompatible with per-device settings');
    if (flags.has('fork')) tool.fail('List mode is incompatible with forking');
  } else if (operands.length !== 1) tool.wrongCount();
  if (isNative && operands[0] !== undefined && !(cacheFlags(cacheMode ?? 'writeback')?.direct ?? false)) {
    tool.fail(
      `Failed to blk_new_open '${operands[0]}': aio=native was specified, but it requires cache.direct=on, which was not specified.`,
    );
  }
  return finish();

  function finish(): NbdToolOptions {
    return {
      port: texts.get('port'),
      bind: texts.get('bind'),
      socket: texts.get('socket'),
      offset,
      readOnly: flags.has('readOnly') || loadSnapshot !== undefined,
      allocationDepth: flags.has('allocationDepth'),
      bitmaps,
      snapshot: flags.has('snapshot'),
      loadSnapshot,
      cacheMode: cacheMode ?? 'writeback',
      discard: discard ?? false,
      detectZeroes,
      device: texts.get('connect'),
      disconnect: flags.has('disconnect'),
      shared,
      format: texts.get('format'),
      persistent: flags.has('persistent'),
      verbose: flags.has('verbose'),
      exportName: texts.get('exportName'),
      description: texts.get('description'),
      list: flags.has('list'),
      imageOptions: flags.has('imageOptions'),
      tlsCreds: texts.get('tlsCreds'),
      tlsHostname: texts.get('tlsHostname'),
      tlsAuthz: texts.get('tlsAuthz'),
      fork: flags.has('fork'),
      pidFile: texts.get('pidFile'),
      selinuxLabel: texts.get('selinuxLabel'),
      resizable: flags.has('resizable'),
      operand: operands[0] ?? '',
      help: flags.has('help'),
      version: flags.has('version'),
    };
  }
}
