/** Damaged qcow2 images, and errors of the file below in the middle of work, against the real qemu-img and qemu-io: sentences and statuses. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from './testing/side-by-side.js';

const newDisk = `
fresh
qemu-img create -q -f qcow2 disk 64M`;

/** Over version 3's header of 112 bytes an extension lies at 112; the backing file's name would begin within it. */
const headerExtensions = `${newDisk}
patch disk 112 18,52,86,120,127,255,255,255
io -c 'read 0 512' disk
patch disk 8 0,0,0,0,0,0,0,116
io -c 'read 0 512' disk
patch disk 112 0,0,0,0,0,0,0,9
io -c 'read 0 512' disk
patch disk 112 0,0,0,0,255,0,0,0
patch disk 8 0,0,0,0,0,0,0,0
io -c 'read 0 512' disk`;

test('header extensions that reach too far are refused', { skip: skipReason }, () =>
  compareWithQemuImg(headerExtensions),
);

/** 65,536 snapshots, the most there may be, in a table past the end of the file. */
const snapshotTablePastEnd = `${newDisk}
patch disk 60 0,1,0,0,0,0,0,0,1,0,0,0
snapshot -c test disk
io -c 'read 0 512' disk`;

test('a snapshot table past the end of the file is one of zeroes', { skip: skipReason }, () =>
  compareWithQemuImg(snapshotTablePastEnd),
);

/** Offset of the one L2 table, of its data cluster, and of the snapshot table, that qemu-img chooses. */
const [l2Offset, snapshotTableOffset] = [0x40000, 0x70000];
const withData = `${newDisk}
qemu-io -c 'write -q 0 512' disk`;

const farClusters = `${withData}
patch disk ${l2Offset} 191,255,255,255,255,255,0,0
snapshot -c test disk
${withData}
patch disk ${l2Offset} 128,0,0,255,255,255,0,0
snapshot -c test disk`;

test('clusters far past the end can not be shared with a snapshot', { skip: skipReason }, () =>
  compareWithQemuImg(farClusters),
);

const snapshotTables = [`${snapshotTableOffset} 0,0,0,0,0,64,2,0`, `${snapshotTableOffset + 8} 16,0,0,0`]
  .map(
    (damage) => `${withData}
qemu-img snapshot -c test disk
patch disk ${damage}
convert -l test -O raw disk copy
amend -o compat=0.10 disk
snapshot -a test disk
snapshot -d test disk
check disk`,
  )
  .join('');

test('snapshots with an impossible L1 table', { skip: skipReason }, () => compareWithQemuImg(snapshotTables));

/** The refcount block's entry of the data cluster, whose L2 entry is no longer marked as this disk's alone. */
const largestCount = `
fresh
qemu-img create -q -f qcow2 -o refcount_bits=64 disk 64M
qemu-io -c 'write -q 0 512' disk
patch disk ${0x20028} 128,0,0,0,0,0,0,0
patch disk ${l2Offset} 0,0,0,0,0,5,0,0
io -c 'write 0 512' disk
io -c 'read 0 512' disk`;

test('a write to a cluster with a count of 2^63 succeeds', { skip: skipReason }, () =>
  compareWithQemuImg(largestCount),
);

/** A leaked cluster, and a bit that its count contradicts; then the same with a cluster in use that is counted as free. */
const copiedBits = `${withData}
patch disk ${0x20000 + 20} 0,1
patch disk ${l2Offset} 0,0,0,0,0,5,0,0
check disk
check -r leaks disk
check disk
${withData}
patch disk ${0x20000 + 8} 0,0
patch disk ${l2Offset} 0,0,0,0,0,5,0,0
check -r leaks disk
check -r all disk`;

test('repairing leaks mends COPIED bits where nothing else is wrong', { skip: skipReason }, () =>
  compareWithQemuImg(copiedBits),
);

const failingFlush =
  'json:{"driver":"qcow2","file":{"driver":"blkdebug","image.filename":"disk","inject-error":[{"event":"none","iotype":"flush"}]}}';

test('a disk that was only read closes without a word, though a flush would fail', { skip: skipReason }, () =>
  compareWithQemuImg(`${newDisk}
io -c 'read 0 4k' '${failingFlush}'`),
);

const failedEmptying = `
qemu-img create -q -f raw base 64M
qemu-img create -q -f qcow2 -b base -F raw disk
qemu-io -c 'write -q 0 64k' disk
commit blkdebug:rules:disk
qemu-io -c 'read -q 0 64k' disk`;

test('a commit that could not empty the overlay says so', { skip: skipReason }, () =>
  compareWithQemuImg(failedEmptying, undefined, {
    rules: new TextEncoder().encode('[inject-error]\nevent = "empty_image_prepare"\nonce = "on"\n'),
  }),
);

const failingRead =
  'json:{"driver":"raw","file":{"driver":"blkdebug","image.filename":"other","inject-error":[{"event":"none","iotype":"read","sector":8192}]}}';

/** What lies at 4 MiB of `other` can't be read; `change` makes a difference. */
const faultAmidst = (change: string) => `
fresh
qemu-img create -q -f raw disk 8M
qemu-img create -q -f raw other 8M
qemu-io -f raw -c 'write -q -P 1 0 8M' disk
qemu-io -f raw -c 'write -q -P 1 0 8M' other
qemu-io -f raw -c '${change}' disk
compare -f raw disk '${failingRead}'
compare -F raw '${failingRead}' disk`;

test('compare tells of what comes first, a difference or a fault', { skip: skipReason }, () =>
  compareWithQemuImg(`${faultAmidst('write -q -P 2 3M 64k')}${faultAmidst('write -q -P 2 7M 64k')}`),
);

const failingTable =
  'json:{"driver":"qcow2","file":{"driver":"blkdebug","image.filename":"other","inject-error":[{"event":"l2_load"}]}}';

test('compare says whose clusters it can not find', { skip: skipReason }, () =>
  compareWithQemuImg(`${withData}
qemu-img create -q -f qcow2 other 64M
qemu-io -c 'write -q 0 64k' other
compare disk '${failingTable}'
compare '${failingTable}' disk`),
);
