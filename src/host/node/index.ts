/** `vring/node`: what Node.js gives to `vring/block` and `vring/nbd`: files, sockets, TLS. */

export { NodeBlockHost } from './block-host.js';
export { NodeByteStream } from './block-network.js';
export { type ListenAddress, listenForNbd, type NbdListener } from './nbd-listen.js';
export { NodeServerTls } from './server-tls.js';
