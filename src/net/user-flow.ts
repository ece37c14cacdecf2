/** What passes through a user network at the moment, as a person may want to see it. */
import { formatIp } from './addresses.js';

export interface FlowEnd {
  /** Undefined: any of its own, or any at all. */
  readonly address: string | undefined;
  readonly port: number;
}

export interface UserFlow {
  readonly protocol: 'TCP' | 'UDP';
  /** A TCP connection's (RFC 9293, 3.3.2), how long a UDP flow is kept without a datagram, or that it waits for somebody outside. */
  readonly state: string;
  /** Who has begun: the guest, or a port of the host's. */
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
}

export const flowEnd = (address: Uint8Array | undefined, port: number): FlowEnd => ({
  address: address === undefined ? undefined : formatIp(address),
  port,
});
