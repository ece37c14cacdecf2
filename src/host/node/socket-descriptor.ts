/** The descriptor of a socket of Node's, which tells it in no public place. */
import type { Socket } from 'node:net';

/** Undefined: there is none, or no more. */
export function socketDescriptor(socket: Socket): number | undefined {
  const { fd } = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {};
  return fd === undefined || fd < 0 ? undefined : fd;
}
