/** announce-self: cards tell their networks several times where they are, as QEMU's do. */
import { setTimeout as wait } from 'node:timers/promises';
import type { MonitoredRun } from './monitor.js';
import { networkOf } from './named-devices.js';

export interface AnnouncePace {
  readonly initial: number;
  readonly max: number;
  readonly rounds: number;
  readonly step: number;
}

/** QEMU's, where a person asks. */
export const defaultPace: AnnouncePace = { initial: 50, max: 550, rounds: 5, step: 100 };

const MOST_ROUNDS = 1000;

/** `cards`: by their names; all unless given. Times are milliseconds. Returns at once: the last has gone out later. */
export function announce(
  { machine, namedDevices }: MonitoredRun,
  pace: AnnouncePace,
  cards: readonly string[] | undefined,
): void {
  const { networks } = machine;
  const wanted = cards?.map((name) => networkOf(namedDevices, networks, name));
  const ids = networks.filter(({ id, card }) => card && (wanted?.includes(id) ?? true)).map(({ id }) => id);
  const work = async () => {
    for (let round = 0; round < Math.min(pace.rounds, MOST_ROUNDS); round++) {
      if (round > 0) await wait(Math.min(pace.initial + (round - 1) * pace.step, pace.max), undefined, { ref: false });
      for (const id of ids) await machine.announce(id);
    }
  };
  // The machine, or a network, may end meanwhile.
  void work().catch(() => undefined);
}
