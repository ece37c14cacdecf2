/** `nbd --list`: what another server exports, in qemu-nbd's lines. */
import { toBlockError } from '../../block/errors.js';
import type { StreamAddress } from '../../block/host.js';
import { loadTlsCredentials } from '../../block/protocols/nbd/credentials.js';
import { clientTls } from '../../block/protocols/nbd/driver.js';
import { type ExportInfo, listNbdExports } from '../../block/protocols/nbd/handshake.js';
import { TransmissionFlag } from '../../block/protocols/nbd/wire.js';
import type { NbdTool, NbdToolOptions } from './options.js';

const flagNames: readonly (readonly [number, string])[] = [
  [TransmissionFlag.readOnly, 'readonly'],
  [TransmissionFlag.sendFlush, 'flush'],
  [TransmissionFlag.sendFua, 'fua'],
  [TransmissionFlag.rotational, 'rotational'],
  [TransmissionFlag.sendTrim, 'trim'],
  [TransmissionFlag.sendWriteZeroes, 'zeroes'],
  [TransmissionFlag.sendDf, 'df'],
  [TransmissionFlag.canMultiConn, 'multi'],
  [TransmissionFlag.sendResize, 'resize'],
  [TransmissionFlag.sendCache, 'cache'],
  [TransmissionFlag.sendFastZero, 'fast-zero'],
  [TransmissionFlag.blockStatusPayload, 'block-status-payload'],
];

/** What a server says may go to a terminal. */
function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, '?');
}

function exportText(entry: ExportInfo): string {
  let text = ` export: '${printable(entry.name)}'\n`;
  if (entry.description !== '') text += `  description: ${printable(entry.description)}\n`;
  if (entry.flags & TransmissionFlag.hasFlags) {
    const names = flagNames.filter(([bit]) => entry.flags & bit).map(([, name]) => ` ${name}`);
    text += `  size:  ${entry.lengthBytes}\n  flags: 0x${entry.flags.toString(16)} (${names.join('')} )\n`;
  }
  if (entry.minimumBlockBytes > 0)
    text += `  min block: ${entry.minimumBlockBytes}\n  opt block: ${entry.preferredBlockBytes}\n  max block: ${entry.maximumBlockBytes}\n`;
  if (entry.contexts.length > 0) {
    text += `  available meta contexts: ${entry.contexts.length}\n`;
    for (const { name } of entry.contexts) text += `   ${printable(name)}\n`;
  }
  return text;
}

export async function listExports(tool: NbdTool, options: NbdToolOptions, address: StreamAddress): Promise<number> {
  try {
    const serverName = options.tlsHostname ?? (address.type === 'inet' ? address.host : undefined);
    const tls =
      options.tlsCreds === undefined
        ? undefined
        : clientTls(await loadTlsCredentials(tool.host, options.tlsCreds, 'client'), serverName);
    const found = await listNbdExports({
      network: await tool.host.network(),
      address,
      // What qemu-nbd asks for: a server answers alike.
      headers: 'structured',
      ...(tls ? { tls } : {}),
    });
    tool.out(`exports available: ${found.length}\n${found.map(exportText).join('')}`);
    return 0;
  } catch (error) {
    tool.fail(toBlockError(error).message);
  }
}
