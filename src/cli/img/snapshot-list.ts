/** The table of internal snapshots that `snapshot -l` and `info` print. */
import type { SnapshotInfo } from '../../block/node.js';
import { humanSize } from './tool.js';

function two(value: number): string {
  return String(value).padStart(2, '0');
}

export function snapshotHeading(): string {
  return `${'ID'.padEnd(7)}   ${'TAG'.padEnd(16)} ${'VM SIZE'.padStart(8)} ${'DATE'.padStart(19)} ${'VM CLOCK'.padStart(12)} ${'ICOUNT'.padStart(10)}\n`;
}

export function snapshotLine(snapshot: SnapshotInfo): string {
  const date = new Date(snapshot.dateSeconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const seconds = Math.floor(snapshot.vmClockNs / 1e9);
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}.${String(Math.floor(snapshot.vmClockNs / 1e6) % 1000).padStart(3, '0')}`;
  const icount = snapshot.icount === undefined ? '' : String(snapshot.icount);
  return `${snapshot.id.padEnd(9)} ${snapshot.name.padEnd(16)} ${humanSize(snapshot.vmStateBytes).padStart(8)} ${`${day} ${time}`.padStart(19)} ${clock.padStart(12)} ${icount.padStart(10)}\n`;
}
