/** `vring nbd`, also as `qemu-nbd`: serves one disk image to NBD clients, or lists what another server has. */
import * as fs from 'node:fs';
import { toBlockError } from '../../block/errors.js';
import type { StreamAddress } from '../../block/host.js';
import { loadTlsCredentials, type TlsCredentials } from '../../block/protocols/nbd/credentials.js';
import { defaultPort } from '../../block/protocols/nbd/wire.js';
import { firstPassedFd, type ListenAddress, takePassedSockets } from '../../host/node/nbd-listen.js';
import type { NodeServerTls } from '../../host/node/server-tls.js';
import { referenceVersion } from '../img/index.js';
import { ExitError, type ToolIo } from '../img/tool.js';
import { NbdTool, type NbdToolOptions, parseNbdOptions } from './options.js';

export type { ToolIo } from '../img/tool.js';

/** Set for the process that `--fork` starts. */
const forkedVariable = 'VRING_NBD_FORKED';

/** Runs one command line (without the program's name) and gives the exit code. `toolName` begins every message. */
export async function runNbd(argv: readonly string[], io: ToolIo, toolName: string): Promise<number> {
  const tool = new NbdTool(toolName, io);
  try {
    return await run(tool, argv);
  } catch (error) {
    if (error instanceof ExitError) return error.code;
    throw error;
  }
}

async function run(tool: NbdTool, argv: readonly string[]): Promise<number> {
  const options = await parseNbdOptions(tool, argv);
  if (options.help) {
    tool.out((await import('./help.js')).helpText(tool.name));
    return 0;
  }
  if (options.version) {
    tool.out(`${tool.name} ${referenceVersion} (vring)\n`);
    return 0;
  }
  const isForked = process.env[forkedVariable] !== undefined;
  const passed = isForked ? 0 : takePassedSockets();
  if (passed > 0) checkActivation(tool, options, passed);
  const tls = await checkTls(tool, options);
  const address = addressOf(tool, options);
  if (options.list) return (await import('./list.js')).listExports(tool, options, address);
  if (options.disconnect) {
    const { disconnectDevice } = await import('../../host/node/nbd-device.js');
    try {
      disconnectDevice(options.operand);
    } catch (error) {
      tool.fail(toBlockError(error).message);
    }
    tool.out(`${options.operand} disconnected\n`);
    return 0;
  }
  if (options.fork && !isForked)
    return (await import('../fork.js')).runForked(
      {
        out: (text) => tool.io.out(text),
        err: (text) => tool.io.err(text),
        failed: (reason) => tool.error(`Failed to fork: ${reason}`),
      },
      forkedVariable,
    );
  const listen: ListenAddress | undefined =
    passed > 0
      ? { type: 'fd', fd: firstPassedFd }
      : options.device !== undefined && options.socket === undefined
        ? undefined
        : address.type === 'unix'
          ? { type: 'unix', path: address.path }
          : (address as Extract<StreamAddress, { type: 'inet' }>);
  const { serve } = await import('./serve.js');
  return serve(tool, options, listen, tls, () => {
    if (options.pidFile !== undefined) writePidFile(tool, options.pidFile);
    if (isForked) process.send?.('ready');
  });
}

function checkActivation(tool: NbdTool, options: NbdToolOptions, passed: number): void {
  const because = 'when using socket activation';
  try {
    if (!fs.fstatSync(firstPassedFd).isSocket())
      tool.fail(
        `Socket activation failed: invalid file descriptor fd = ${firstPassedFd}: Socket operation on non-socket`,
      );
  } catch (error) {
    if (error instanceof ExitError) throw error;
    tool.fail(`Socket activation failed: invalid file descriptor fd = ${firstPassedFd}: Bad file descriptor`);
  }
  if (options.device !== undefined) tool.fail(`NBD device can't be set ${because}`);
  if (options.socket !== undefined) tool.fail(`Unix socket can't be set ${because}`);
  if (options.bind !== undefined) tool.fail(`The interface can't be set ${because}`);
  if (options.port !== undefined) tool.fail(`TCP port number can't be set ${because}`);
  if (options.selinuxLabel !== undefined) tool.fail(`SELinux label can't be set ${because}`);
  if (options.list) tool.fail('List mode is incompatible with socket activation');
  if (passed > 1) tool.fail('qemu-nbd only supports socket activation with 1 file descriptors');
}

async function checkTls(tool: NbdTool, options: NbdToolOptions): Promise<NodeServerTls | undefined> {
  const { tlsCreds, tlsAuthz, tlsHostname } = options;
  if (tlsCreds === undefined) {
    if (tlsAuthz !== undefined) tool.fail('--tls-authz is not permitted without --tls-creds');
    if (tlsHostname !== undefined) tool.fail('--tls-hostname is not permitted without --tls-creds');
    return undefined;
  }
  if (options.device !== undefined) tool.fail('TLS is not supported with a host device');
  if (tlsAuthz !== undefined && options.list) tool.fail('TLS authorization is incompatible with export list');
  if (tlsHostname !== undefined && !options.list) tool.fail('TLS hostname is only supported with export list');
  const object = tool.host.secrets.has(tlsCreds) ? { type: 'secret', options: {} } : tool.host.object(tlsCreds);
  if (!object) tool.fail(`Failed to get TLS creds: No TLS credentials with id '${tlsCreds}'`);
  if (!object.type.startsWith('tls-creds-'))
    tool.fail(`Failed to get TLS creds: Object with id '${tlsCreds}' is not TLS credentials`);
  const endpoint = options.list ? 'client' : 'server';
  const stated = object.options['endpoint'] === 'server' ? 'server' : 'client';
  let credentials: TlsCredentials;
  try {
    // As the object that they are, whatever they are then used for.
    credentials = await loadTlsCredentials(tool.host, tlsCreds, stated);
  } catch (error) {
    tool.fail(toBlockError(error).message);
  }
  if (stated !== endpoint) tool.fail(`Failed to get TLS creds: Expecting TLS credentials with a ${endpoint} endpoint`);
  if (options.list) return undefined;
  let authorize: ((name: string) => boolean) | undefined;
  if (tlsAuthz !== undefined) {
    const identity = tool.host.object(tlsAuthz)?.options['identity'];
    // An object that isn't there lets nobody in, as in QEMU.
    authorize = (name) => identity !== undefined && name === identity;
  }
  try {
    const { NodeServerTls } = await import('../../host/node/server-tls.js');
    return new NodeServerTls(credentials, authorize);
  } catch (error) {
    tool.fail(toBlockError(error).message);
  }
}

function addressOf(tool: NbdTool, options: NbdToolOptions): StreamAddress {
  if (options.socket !== undefined) return { type: 'unix', path: options.socket };
  const host = options.bind ?? '0.0.0.0';
  const text = options.port ?? String(defaultPort);
  if (!/^\d+$/.test(text) || Number(text) > 65535)
    tool.fail(`address resolution failed for ${host}:${text}: Servname not supported for ai_socktype`);
  return { type: 'inet', host, port: Number(text) };
}

function writePidFile(tool: NbdTool, path: string): void {
  try {
    fs.writeFileSync(path, `${process.pid}\n`);
  } catch (error) {
    tool.fail(`Could not create '${path}': ${toBlockError(error).message}`);
  }
}
