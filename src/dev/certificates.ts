/** Certificates for tests, as QEMU's and GnuTLS's tools lay them out in a directory; made by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Makes `directory`, with an authority, and a server and a client (`O=Vring`, `CN=client`) that it knows. Gives the directory. */
export function makeCertificates(directory: string): string {
  mkdirSync(directory, { recursive: true });
  const file = (name: string) => join(directory, name);
  const openssl = (...args: readonly string[]) => void execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'rsa:2048', '-nodes'];
  const authority = ['-subj', '/CN=Test CA', '-addext', 'basicConstraints=critical,CA:TRUE'];
  const uses = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  const [caKey, caCert] = [file('ca-key.pem'), file('ca-cert.pem')];
  openssl('req', '-x509', ...key, '-keyout', caKey, '-out', caCert, '-days', '2', ...authority, ...uses);
  for (const [name, usage] of [
    ['server', 'serverAuth'],
    ['client', 'clientAuth'],
  ] as const) {
    const [request, extensions] = [file(`${name}.csr`), file('extensions')];
    openssl('req', ...key, '-keyout', file(`${name}-key.pem`), '-out', request, '-subj', `/O=Vring/CN=${name}`);
    writeFileSync(
      extensions,
      `subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=${usage}\nkeyUsage=digitalSignature,keyEncipherment\nbasicConstraints=CA:FALSE\n`,
    );
    const signed = ['-CA', caCert, '-CAkey', caKey, '-CAcreateserial', '-days', '2', '-extfile', extensions];
    openssl('x509', '-req', '-in', request, ...signed, '-out', file(`${name}-cert.pem`));
  }
  return directory;
}
