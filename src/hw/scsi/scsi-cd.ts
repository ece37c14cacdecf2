/** A CD/DVD-ROM drive on a SCSI bus: its commands are those of `cd-packets.ts`, with the block commands of other lengths. */
import { defineState, type StateArena, type StateOf } from '../../schema/index.js';
import { type DriveBackend, transfer } from '../disk/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { cdRows, scsiCdRows } from './cd-packets.js';
import { CdUnit, cdBlockBytes, cdFields } from './cd-unit.js';
import type { UnitNames } from './inquiry.js';
import { answerBytes, failureSense, good, refuse, type ScsiTask, ScsiUnit, unitFields } from './scsi-unit.js';
import { sense } from './sense.js';

const ScsiCdState = defineState('scsi-cd', 1, { ...unitFields, ...cdFields });

const rows = new Map([...cdRows, ...scsiCdRows].map((row) => [row.code, row]));

export interface ScsiCdOptions extends UnitNames {
  readonly backend: DriveBackend;
  readonly arena?: StateArena | undefined;
}

export class ScsiCd extends ScsiUnit {
  readonly state: StateOf<typeof ScsiCdState>;
  readonly parts: readonly StatePart[];
  readonly deviceType = 5;
  readonly removable = true;
  readonly blockBytes = cdBlockBytes;
  readonly vitalPages: readonly number[] = [];
  readonly cd: CdUnit;

  constructor(options: ScsiCdOptions) {
    super(options, options.backend);
    this.state = ScsiCdState.allocate(options.arena);
    this.parts = [statePart(ScsiCdState, this.state)];
    const names = { model: options.product, serial: options.serial, version: options.version };
    this.cd = new CdUnit({ state: this.state, backend: options.backend, names, rows });
  }

  /** Tray and lock are as they would be: closed, open to the button. */
  reset(): void {
    ScsiCdState.reset(this.state);
  }

  vitalPage(): undefined {
    return undefined;
  }

  protected isAlways(code: number): boolean {
    return rows.get(code)?.always ?? false;
  }

  protected run(task: ScsiTask): void {
    const work = this.cd.packet(task.cdb);
    switch (work.kind) {
      case 'done':
        good(task);
        return;
      case 'failed': {
        const { senseKey: key, senseCode: code, senseQualifier: qualifier } = this.state;
        refuse(task, { key, code, qualifier });
        return;
      }
      case 'bytes':
        answerBytes(task, work.bytes);
        return;
      case 'blocks': {
        // Raw sectors would need room that nobody who asks by SCSI has left.
        if (work.raw) {
          refuse(task, sense.invalidField);
          return;
        }
        const [offset, length] = [work.firstBlock * cdBlockBytes, work.blocks * cdBlockBytes];
        transfer(this.backend, false, offset, task.input, length, (failure, done) => {
          if (failure === undefined) good(task, done);
          else refuse(task, failureSense(failure), done);
        });
      }
    }
  }
}
