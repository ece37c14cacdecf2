/** What resize, amend and writes to damaged images leave of a disk's contents, read by the real qemu-io, and what both tools say. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from './testing/side-by-side.js';

/** The end of the old disk lies in a cluster, or not; the backing file is longer than both. */
const preallocations = ['off', 'on']
  .flatMap((extended) =>
    ['off', 'metadata', 'falloc', 'full'].flatMap((preallocation) =>
      [31744, 1048576].map(
        (size) => `
qemu-img create -q -f qcow2 -o extended_l2=${extended} -F raw -b back.raw top ${size}
resize --preallocation=${preallocation} top 3M
qemu-io -r -c 'read -q -P 1 0 ${size}' -c 'read -q -P 0 ${size} ${3 * 2 ** 20 - size}' top
qemu-img check -q top`,
      ),
    ),
  )
  .join('');

test('resize with preallocation shows what was there, then zeroes', { skip: skipReason }, () =>
  compareWithQemuImg(`
qemu-img create -q -f raw back.raw 4M
qemu-io -f raw -c 'write -q -P 1 0 4M' back.raw${preallocations}
`),
);

const staleClusters = ['metadata', 'falloc', 'full'].map(
  (preallocation) => `
qemu-img create -q -f qcow2 disk 1M
qemu-io -c 'write -q -P 7 0 1M' -c 'discard -q 0 512k' --image-opts driver=qcow2,discard=unmap,pass-discard-request=off,file.filename=disk
resize --preallocation=${preallocation} disk 3M
qemu-io -r -c 'read -q -P 0 1M 2M' -c 'read -q -P 7 512k 512k' disk
qemu-img check -q disk`,
);

test('preallocated clusters that were free inside the file read as zero', { skip: skipReason }, () =>
  compareWithQemuImg(staleClusters.join('')),
);

/**
 * Zero clusters of snapshots: shared with the disk or not, with a place of their own or another snapshot's data in it. qemu-img writes
 * its zeroes over that data (7.2), so that only the outcome of vring's is looked at.
 */
const downgrade = (backing: string): string => `
qemu-img create -q -f qcow2 ${backing} disk 1M
qemu-io -c 'write -q -P 5 0 512k' disk
qemu-img snapshot -c data disk
qemu-io -c 'write -q -z 0 128k' -c 'write -q -z 768k 64k' disk
qemu-img snapshot -c zeroes disk
qemu-img snapshot -c twice disk
qemu-io -c 'write -q -P 6 64k 128k' disk
vring amend -o compat=0.10 disk
info disk
check disk
qemu-io -r -c 'read -q -P 0 0 64k' -c 'read -q -P 6 64k 128k' -c 'read -q -P 5 192k 320k' -c 'read -q -P 0 768k 64k' disk
qemu-img snapshot -a twice disk
qemu-io -r -c 'read -q -P 0 0 128k' -c 'read -q -P 5 128k 384k' -c 'read -q -P 0 768k 64k' disk
qemu-img snapshot -d twice disk
qemu-img snapshot -a zeroes disk
qemu-io -r -c 'read -q -P 0 0 128k' -c 'read -q -P 5 128k 384k' -c 'read -q -P 0 768k 64k' disk
qemu-img snapshot -a data disk
qemu-io -r -c 'read -q -P 5 0 512k' disk
qemu-img snapshot -d data disk
qemu-img snapshot -d zeroes disk
qemu-img check -q disk
`;

test('amend to version 2 keeps what snapshots show', { skip: skipReason }, () =>
  compareWithQemuImg(`
qemu-img create -q -f raw back.raw 1M
qemu-io -f raw -c 'write -q -P 1 0 1M' back.raw
${downgrade('')}
${downgrade('-b back.raw -F raw')}
`),
);

/** An L2 entry made to name the cluster of another, in an image that counts to one. */
const overflow = `
qemu-img create -q -f qcow2 -o refcount_bits=1 disk 128k
qemu-io -c 'write -q 0 128k' disk
patch disk 0x40008 128,0,0,0,0,5,0,0
check disk
check --output=json disk
check -r all disk
`;

const refused = `
qemu-img create -q -f qcow2 -o data_file=there.raw disk 1M
amend -o compat=0.10 disk
amend -o data_file=missing.raw disk
info disk
info --image-opts data-file.filename=there.raw,file.filename=disk
io -r -c 'read 0 64k' --image-opts driver=qcow2,data-file.filename=there.raw,file.filename=disk
io -r -c 'read 0 64k' disk
check disk
fresh
qemu-img create -q -f qcow2 -o extended_l2=on disk 1M
amend -o compat=0.10 disk
fresh
qemu-img create -q -f qcow2 disk 1M
amend -o compat=0.10,refcount_bits=32 disk
info disk
amend -o compat=0.10,refcount_bits=16 disk
amend -o refcount_bits=8 disk
info disk
amend -o compat=1.1,refcount_bits=8 disk
amend -o compat=0.10,refcount_bits=16 disk
info disk
`;

test('a count that the image can not hold is told by check', { skip: skipReason }, () => compareWithQemuImg(overflow));

test('data files named by options; amendments that are refused change nothing', { skip: skipReason }, () =>
  compareWithQemuImg(refused),
);

/** The refcount block says that the header, the tables and itself are free. */
const uncounted = `
qemu-img create -q -f qcow2 disk 64M
patch disk 0x20000 0,0,0,0,0,0,0,0
io -c 'write 64k 64k' disk
info disk
io -c 'write 64k 64k' disk
fresh
qemu-img create -q -f qcow2 disk 64M
qemu-io -c 'write -q -P 3 0 64k' disk
patch disk 0x20000 0,1,0,1,0,1,0,1,0,0,0,0
io -c 'write 32M 64k' disk
info disk
qemu-io -r -c 'read -q -P 3 0 64k' disk
fresh
qemu-img create -q -f qcow2 disk 64M
qemu-io -c 'write -q -P 3 0 64k' disk
patch disk 0x20000 0,1,0,1,0,1,0,0,0,1,0,1
io -c 'write 1M 64k' disk
info disk
`;

test('what is counted as free but holds a table is not given away', { skip: skipReason }, () =>
  compareWithQemuImg(uncounted),
);
