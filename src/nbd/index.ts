/** `vring/nbd`: a Network Block Device server for block nodes, and a client. */

export {
  NbdConnection,
  type NbdConnectionOptions,
  type NbdExtent,
  type NbdTrouble,
} from '../block/protocols/nbd/client.js';
export { loadTlsCredentials, type TlsEndpoint } from '../block/protocols/nbd/credentials.js';
export {
  connectNbd,
  type ExportInfo,
  type HandshakeOptions,
  listNbdExports,
} from '../block/protocols/nbd/handshake.js';
export { parseNbdName } from '../block/protocols/nbd/uri.js';
export { NbdExport, type NbdExportOptions } from './export.js';
export type { NbdServerTls } from './negotiation.js';
export { NbdServer, type NbdServerOptions, type ServeEvents } from './server.js';
