/**
 * TLS for the servers of NBD and VNC, by node:tls: X.509 (clients show a certificate when peers are verified), pre-shared keys, and
 * anonymous, which keeps listeners out and no one else. The last two go with TLS 1.2: it has such ciphers, and Node the callbacks.
 */
import * as tls from 'node:tls';
import { BlockError } from '../../block/errors.js';
import type { ByteStream } from '../../block/host.js';
import type { TlsCredentials } from '../../block/protocols/nbd/credentials.js';
import { NodeByteStream } from './block-network.js';

const handshakeMs = 10_000;
const pskCiphers =
  'ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:PSK-AES128-GCM-SHA256:PSK';

/** None of them is in a list that a library gives unasked. */
const anonymousCiphers = 'ADH+AES:AECDH+AES:@SECLEVEL=0';

function optionsOf(credentials: TlsCredentials): tls.TlsOptions {
  if (credentials.kind === 'anon')
    return { ciphers: anonymousCiphers, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', dhparam: 'auto' };
  if (credentials.kind === 'psk') {
    const { keys } = credentials;
    return {
      ciphers: pskCiphers,
      maxVersion: 'TLSv1.2',
      pskCallback: (_socket, identity) => {
        const key = keys.get(identity);
        return key ? Buffer.from(key) : null;
      },
    };
  }
  return {
    minVersion: 'TLSv1.2',
    requestCert: credentials.verifyPeer,
    // The verdict is read below, so that it can be told in a sentence.
    rejectUnauthorized: false,
    ...(credentials.ca ? { ca: Buffer.from(credentials.ca) } : {}),
    ...(credentials.crl ? { crl: Buffer.from(credentials.crl) } : {}),
    ...(credentials.cert ? { cert: Buffer.from(credentials.cert) } : {}),
    ...(credentials.key ? { key: Buffer.from(credentials.key) } : {}),
    ...(credentials.passphrase === undefined ? {} : { passphrase: credentials.passphrase }),
  };
}

/** The server's side of TLS with these credentials; `authorize` judges the client's distinguished name. */
export class NodeServerTls {
  readonly #options: tls.TlsOptions;
  readonly #authorize: ((distinguishedName: string) => boolean) | undefined;
  readonly #verifiesPeer: boolean;

  constructor(credentials: TlsCredentials, authorize?: (distinguishedName: string) => boolean) {
    this.#authorize = authorize;
    this.#verifiesPeer = credentials.kind === 'x509' && credentials.verifyPeer;
    this.#options = optionsOf(credentials);
    try {
      // Unreadable keys and certificates are told before anybody connects.
      tls.createSecureContext(this.#options);
    } catch (error) {
      throw new BlockError('EINVAL', `Unable to load TLS credentials: ${(error as Error).message}`, { cause: error });
    }
  }

  accept(stream: ByteStream): Promise<ByteStream> {
    if (!(stream instanceof NodeByteStream)) return Promise.reject(new BlockError('ENOTSUP', 'TLS needs a socket'));
    const { socket } = stream;
    socket.removeAllListeners('readable');
    return new Promise((resolve, reject) => {
      // A server that never listens: it takes the one connection handed to it.
      const server = tls.createServer(this.#options);
      const fail = (sentence: string, cause?: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(new BlockError('EINVAL', `TLS handshake failed: ${sentence}`, { cause }));
      };
      const timer = setTimeout(() => fail('the peer took too long'), handshakeMs);
      const onClose = () => fail('the peer has gone');
      socket.once('close', onClose);
      server.on('tlsClientError', (error) => fail(error.message, error));
      server.once('secureConnection', (secure) => {
        clearTimeout(timer);
        socket.off('close', onClose);
        secure.on('error', () => undefined);
        const problem = this.#judge(secure);
        if (problem === undefined) resolve(new NodeByteStream(secure));
        else {
          secure.destroy();
          reject(new BlockError('EPERM', problem));
        }
      });
      server.emit('connection', socket);
    });
  }

  /** Why the peer isn't let in. */
  #judge(secure: tls.TLSSocket): string | undefined {
    if (!this.#verifiesPeer) return this.#authorize ? 'TLS x509 authz check needs a peer certificate' : undefined;
    const peer = secure.getPeerCertificate();
    if (!peer || Object.keys(peer).length === 0) return 'No certificate was found.';
    if (!secure.authorized) return `The certificate is not trusted: ${String(secure.authorizationError)}`;
    if (!this.#authorize) return undefined;
    const name = distinguishedName(peer.subject);
    return this.#authorize(name) ? undefined : `TLS x509 authz check for ${name} is denied`;
  }
}

/** `C=GB,ST=London,O=Example,CN=laptop`: as GnuTLS prints it, most specific first. */
export function distinguishedName(subject: object): string {
  const parts: string[] = [];
  for (const [key, value] of Object.entries(subject)) {
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`${key}=${String(one).replace(/,/g, '\\,')}`);
  }
  return parts.reverse().join(',');
}
