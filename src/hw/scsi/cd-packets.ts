/**
 * Commands of a CD/DVD-ROM drive, a row each, whatever carries them (SPC-2, MMC-3). Answers are cut to the allocation length of
 * the command.
 */
import { be16, be24, be32, be64, bytes16, bytes32, bytes64 } from './big-endian.js';
import type { CdUnit, PacketWork } from './cd-unit.js';
import { senseCode, senseKey } from './sense.js';

export interface PacketRow {
  readonly code: number;
  readonly name: string;
  /** Runs while a unit attention waits. */
  readonly always?: boolean;
  /** Needs a medium in a closed tray. */
  readonly needsMedium?: boolean;
  run(drive: CdUnit, packet: Uint8Array): PacketWork;
}

const done: PacketWork = { kind: 'done' };
/** 80 minutes: what is longer is a DVD. */
const cdBlocks = 80 * 60 * 75;
const profile = { none: 0, cdRom: 0x08, dvdRom: 0x10 } as const;
/** From here to the first block of a CD are two seconds. */
const leadInFrames = 150;

/** An answer, or the start of it. */
export function answer(bytes: readonly number[] | Uint8Array, allocation: number): PacketWork {
  const all = bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
  return allocation === 0 ? done : { kind: 'bytes', bytes: all.subarray(0, allocation) };
}

export const invalidField = (drive: CdUnit) => drive.fail(senseKey.illegalRequest, senseCode.invalidField);

/** Minute, second and frame of a block. */
function msf(block: number): number[] {
  const frame = block + leadInFrames;
  return [Math.floor(frame / (75 * 60)), Math.floor(frame / 75) % 60, frame % 75];
}
const position = (block: number, asMsf: boolean) => (asMsf ? [0, ...msf(block)] : bytes32(block));

/** The mode pages that a command asks for; undefined: it is refused. */
function modePages(drive: CdUnit, packet: Uint8Array): number[] | undefined {
  const control = packet[2]! >> 6;
  if (control === 3) {
    drive.fail(senseKey.illegalRequest, senseCode.savingNotSupported);
    return undefined;
  }
  // Nothing can be changed; defaults are what is current.
  const changeable = control === 1;
  const page = packet[2]! & 0x3f;
  const pages: [number, number[]][] = [
    [0x01, [0, 5, 0, 0, 0, 0]],
    [0x0e, [4, 0, 0, 0, 0, 75, 1, 0xff, 2, 0xff, 0, 0, 0, 0]],
    [
      0x2a,
      [
        0x3b, // reads CD-R, CD-RW and DVD-ROM
        0,
        0x70, // Mode 2 forms, multisession
        0x03, // CD audio commands' accuracy bits: READ CD is there
        0x29 | (drive.isLocked ? 2 : 0), // tray, eject, lock
        0,
        ...bytes16(706),
        ...bytes16(2),
        ...bytes16(512),
        ...bytes16(706),
        0,
        0,
        0,
        0,
      ],
    ],
  ];
  const chosen = pages.filter(([code]) => page === 0x3f || page === code);
  if (chosen.length === 0) {
    invalidField(drive);
    return undefined;
  }
  return chosen.flatMap(([code, content]) => [code, content.length, ...(changeable ? content.map(() => 0) : content)]);
}

const mediumType = (drive: CdUnit) => (!drive.backend.inserted ? 0x70 : drive.isOpen ? 0x71 : 0x01);

function modeSense(drive: CdUnit, packet: Uint8Array): PacketWork {
  const body = modePages(drive, packet);
  if (!body) return { kind: 'failed' };
  return answer([...bytes16(body.length + 6), mediumType(drive), 0, 0, 0, 0, 0, ...body], be16(packet, 7));
}

function modeSense6(drive: CdUnit, packet: Uint8Array): PacketWork {
  const body = modePages(drive, packet);
  if (!body) return { kind: 'failed' };
  return answer([body.length + 3, mediumType(drive), 0, 0, ...body], packet[4]!);
}

/** One session with one data track from block 0 on. */
function readToc(drive: CdUnit, packet: Uint8Array): PacketWork {
  const asMsf = (packet[1]! & 2) !== 0;
  const format = packet[2]! & 0x0f || packet[9]! >> 6;
  const start = packet[6]!;
  const allocation = be16(packet, 7);
  const track = (number: number, block: number) => [
    0,
    number === 0xaa ? 0x16 : 0x14,
    number,
    0,
    ...position(block, asMsf),
  ];
  switch (format) {
    case 0: {
      if (start > 1 && start !== 0xaa) return invalidField(drive);
      const body = [...(start <= 1 ? track(1, 0) : []), ...track(0xaa, drive.blocks)];
      return answer([...bytes16(body.length + 2), 1, 1, ...body], allocation);
    }
    case 1:
      return answer([...bytes16(10), 1, 1, ...track(1, 0)], allocation);
    case 2: {
      const point = (number: number, address: readonly number[]) => [1, 0x14, 0, number, 0, 0, 0, 0, ...address];
      const body = [
        ...point(0xa0, [1, 0, 0]),
        ...point(0xa1, [1, 0, 0]),
        ...point(0xa2, msf(drive.blocks)),
        ...point(1, msf(0)),
      ];
      return answer([...bytes16(body.length + 2), 1, 1, ...body], allocation);
    }
    default:
      return invalidField(drive);
  }
}

function blocks(drive: CdUnit, firstBlock: number, count: number, raw = false): PacketWork {
  if (count === 0) return done;
  if (firstBlock + count > drive.blocks) return drive.fail(senseKey.illegalRequest, senseCode.addressOutOfRange);
  return { kind: 'blocks', firstBlock, blocks: count, raw };
}

function readCd(drive: CdUnit, packet: Uint8Array): PacketWork {
  const count = be24(packet, 6);
  switch (packet[9]! & 0xf8) {
    case 0x00:
      return done;
    case 0x10:
      return blocks(drive, be32(packet, 2), count);
    case 0xf8:
      return blocks(drive, be32(packet, 2), count, true);
    default:
      return invalidField(drive);
  }
}

function currentProfile(drive: CdUnit): number {
  if (!drive.isReady) return profile.none;
  return drive.blocks > cdBlocks ? profile.dvdRom : profile.cdRom;
}

function getConfiguration(drive: CdUnit, packet: Uint8Array): PacketWork {
  const wanted = packet[1]! & 3;
  const from = be16(packet, 2);
  if (wanted === 3) return invalidField(drive);
  const current = currentProfile(drive);
  const entry = (code: number) => [...bytes16(code), code === current ? 1 : 0, 0];
  const features: [number, number[]][] = [
    [0, [0, 0, 3, 8, ...entry(profile.dvdRom), ...entry(profile.cdRom)]],
    [1, [0, 1, 0x0b, 8, 0, 0, 0, 2, 1, 0, 0, 0]], // core: ATAPI, device busy events
    [3, [0, 3, 3, 4, 0x29, 0, 0, 0]], // removable medium: tray, eject, lock
  ];
  const body = features
    .filter(([code]) => (wanted === 2 ? code === from : code >= from))
    .flatMap(([, content]) => content);
  return answer([...bytes32(body.length + 4), 0, 0, ...bytes16(current), ...body], be16(packet, 7));
}

/** Polled; of the media class alone. */
function getEvent(drive: CdUnit, packet: Uint8Array): PacketWork {
  const r = drive.state;
  if ((packet[1]! & 1) === 0) return invalidField(drive);
  const classes = 0x10;
  if ((packet[4]! & classes) === 0) return answer([0, 2, 0x80, classes], be16(packet, 7));
  let event = 0;
  if (r.newMedium) {
    event = 2;
    r.newMedium = false;
  } else if (r.ejectRequested) {
    event = 1;
    r.ejectRequested = false;
  }
  const state = (r.trayOpen ? 1 : 0) | (drive.backend.inserted ? 2 : 0);
  return answer([0, 4, 4, classes, event, state, 0, 0], be16(packet, 7));
}

function startStop(drive: CdUnit, packet: Uint8Array): PacketWork {
  const start = (packet[4]! & 1) !== 0;
  const loadEject = (packet[4]! & 2) !== 0;
  if ((packet[4]! & 0xf0) !== 0 || !loadEject) return done;
  if (drive.moveTray(!start)) return done;
  // The guest itself holds the tray.
  return drive.fail(drive.backend.inserted ? senseKey.notReady : senseKey.illegalRequest, senseCode.removalPrevented);
}

function mechanismStatus(_drive: CdUnit, packet: Uint8Array): PacketWork {
  return answer([0, 0, 0, 0, 0, 1, 0, 0], be16(packet, 8));
}

function readDiscInformation(drive: CdUnit, packet: Uint8Array): PacketWork {
  if ((packet[1]! & 7) !== 0) return invalidField(drive);
  const information = new Uint8Array(34);
  // Complete, one session, one track; not erasable, for unrestricted use.
  information.set([0, 32, 0x0e, 1, 1, 1, 1, 0x20]);
  return answer(information, be16(packet, 7));
}

export const cdRows: readonly PacketRow[] = [
  { code: 0x00, name: 'TEST UNIT READY', needsMedium: true, run: () => done },
  { code: 0x1b, name: 'START STOP UNIT', run: startStop },
  {
    code: 0x1e,
    name: 'PREVENT ALLOW MEDIUM REMOVAL',
    run: (drive, packet) => {
      drive.state.trayLocked = (packet[4]! & 1) !== 0;
      return done;
    },
  },
  {
    code: 0x25,
    name: 'READ CAPACITY',
    needsMedium: true,
    run: (drive) => answer([...bytes32(drive.blocks - 1), ...bytes32(2048)], 8),
  },
  {
    code: 0x28,
    name: 'READ (10)',
    needsMedium: true,
    run: (drive, packet) => blocks(drive, be32(packet, 2), be16(packet, 7)),
  },
  {
    code: 0x2b,
    name: 'SEEK (10)',
    needsMedium: true,
    run: (drive, packet) =>
      be32(packet, 2) < drive.blocks ? done : drive.fail(senseKey.illegalRequest, senseCode.addressOutOfRange),
  },
  { code: 0x43, name: 'READ TOC/PMA/ATIP', needsMedium: true, run: readToc },
  { code: 0x46, name: 'GET CONFIGURATION', always: true, run: getConfiguration },
  { code: 0x4a, name: 'GET EVENT STATUS NOTIFICATION', always: true, run: getEvent },
  { code: 0x51, name: 'READ DISC INFORMATION', needsMedium: true, run: readDiscInformation },
  { code: 0x5a, name: 'MODE SENSE (10)', run: modeSense },
  {
    code: 0xa8,
    name: 'READ (12)',
    needsMedium: true,
    run: (drive, packet) => blocks(drive, be32(packet, 2), be32(packet, 6)),
  },
  { code: 0xbb, name: 'SET CD SPEED', run: () => done },
  { code: 0xbd, name: 'MECHANISM STATUS', run: mechanismStatus },
  { code: 0xbe, name: 'READ CD', needsMedium: true, run: readCd },
];

/** Of drives on a SCSI bus alone, where commands have other lengths too. */
export const scsiCdRows: readonly PacketRow[] = [
  {
    code: 0x08,
    name: 'READ (6)',
    needsMedium: true,
    run: (drive, packet) => blocks(drive, be24(packet, 1) & 0x1fffff, packet[4]! || 256),
  },
  { code: 0x1a, name: 'MODE SENSE (6)', run: modeSense6 },
  {
    code: 0x88,
    name: 'READ (16)',
    needsMedium: true,
    run: (drive, packet) => blocks(drive, be64(packet, 2), be32(packet, 10)),
  },
  {
    code: 0x9e,
    name: 'READ CAPACITY (16)',
    needsMedium: true,
    run: (drive, packet) => {
      if ((packet[1]! & 0x1f) !== 0x10) return invalidField(drive);
      const capacity = [...bytes64(drive.blocks - 1), ...bytes32(2048), ...new Array<number>(20).fill(0)];
      return answer(capacity, be32(packet, 10));
    },
  },
  ...[0x2f, 0x8f, 0xaf].map(
    (code): PacketRow => ({
      code,
      name: 'VERIFY',
      needsMedium: true,
      run: (drive, packet) => ((packet[1]! & 6) !== 0 ? invalidField(drive) : done),
    }),
  ),
  ...[0x0a, 0x2a, 0x8a, 0xaa].map(
    (code): PacketRow => ({
      code,
      name: 'WRITE',
      needsMedium: true,
      run: (drive) => drive.fail(senseKey.dataProtect, senseCode.writeProtected),
    }),
  ),
];
