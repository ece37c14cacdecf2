/** The command language, on raw and qcow2 images, against qemu-io 7.2; after each line the images map alike. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../img/testing/side-by-side.js';

/** Each on a new image. */
const commands = `
nosuch
read
read 0
read x 0
read 0 x
read -1 512
read -P 300 0 4k
read -l 10 0 4k
read -P 0 -s 63k -l 2k 0 64k
read "0" 4k
read -b 1 512
read -b 0 100
write -c 1 64k
write -c 0 100
read 0 3G
read 4M 4k
read -b 0 4k
read -C 0 4k
read -v 1k 37
write
write 1 1
write -P 3 123 4567
write -z 5 10
write -z -u 64k 64k
write -u 0 64k
write -z -P 1 0 4k
write -s nofile 0 4k
write 0 3G
write -f 0 64k
writev 0 4k 8k 512
aio_read -P 1 0 4k
aio_read -i 0 4k
aio_write -i 0 4k
aio_write 5M 4k
aio_write -u 0 4k
discard 1 1
discard 0 5M
alloc 64k 4M
alloc 5M 1
map
map x
length
i
truncate 0
truncate 8M
truncate -m foo 8M
sleep x
sleep -1
sigraise 99
reopen -r
reopen -r -w
reopen -c foo
reopen -c unsafe
reopen -o foo=bar
reopen -o lazy-refcounts=on
reopen -o lazy-refcounts=x
reopen -o overlap-check=foo
reopen -o l2-cache-entry-size=100
reopen -o file.discard=unmap
reopen -o file.filename=b
reopen -o file=abc
reopen -o backing=
reopen -o driver=raw
reopen -o read-only=x
reopen -o cache.writeback=on
reopen -o node-name=foo
open -o driver=qcow2 a
readv 5M 4k
reopen -o discard=ignore
reopen x
break a b
resume x
help nosuch
quit x
`
  .trim()
  .split('\n');

for (const format of ['raw', 'qcow2']) {
  test(`vring io answers as qemu-io does: ${format}`, { skip: skipReason }, () =>
    compareWithQemuImg(
      commands
        .map(
          (command) =>
            `qemu-img create -q -f ${format} a 4M\nio -f ${format} -c '${command}' a\nmap -f ${format} --output=json a\nqemu-img compare -f ${format} -F ${format} a a`,
        )
        .join('\n'),
    ),
  );
}

const lines = `
qemu-img create -q -f raw r 1M
qemu-img create -q -f qcow2 q 1M
io -c 'write 1 1' -c 'write -z 5 10' -c 'read -v 0 16' r
io -U -c length q
io -U -r -c length q
io -i native -c length q
io --image-opts -c length foo=bar
io -c length 'json:{"driver":"qcow2","file":{"driver":"file","filename":"q"}}'
io -c length "json:{'driver':'qcow2','file':{'driver':'file','filename':'q'}}"
io -c length json:foo
io -c length 'json:{"a":}'
io -c length 'json:{"a" 1}'
io -c length 'json:{"a":1,}'
io -c length 'json:{"a":1,"a":2}'
io -c length 'json:{"a":1}}'
io -c length json:
io --object secret,id=x -c length q
io --object secret,id=1x,data=y -c length q
io --object secret,id=x,data=y,foo=z -c length q
io --object secret,id=x,data=y,format=foo -c length q
io --object secret,id=x,data=y --object secret,id=x,data=z -c length q
io --object secret,id=x,data=@@,format=base64 -c length q
io --object '{' -c length q
io --object tls-creds-x509,id=x,dir=nodir -c length q
io -c 'open q' -c 'open q' -c 'length' -c close -c length
create -f qcow2 -o lazy_refcounts=yes a 1M
create -f qcow2 -o lazy_refcounts=maybe a 1M
create -f qcow2 -o refcount_bits=010 a 1M
create -f qcow2 -o refcount_bits=-1 a 1M
create -f qcow2 -o refcount_bits=18446744073709551616 a 1M
create a .5M
create a 0x10k
create a 7E
`;

test('options, objects and JSON names are read as QEMU reads them', { skip: skipReason }, () =>
  compareWithQemuImg(lines),
);

test(
  'a partial write to a probed raw image is refused when it would complete another format',
  { skip: skipReason },
  () =>
    compareWithQemuImg(
      "create r 1M\nio -c 'write -s magic 0 4' -c 'write -s version 4 4' -c 'read -v 0 8' r\nio -c 'write -s both 0 512' r",
      (text) => text,
      {
        magic: Uint8Array.of(0x51, 0x46, 0x49, 0xfb),
        version: Uint8Array.of(0, 0, 0, 3),
        both: Uint8Array.of(0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3),
      },
    ),
);

const grown = `
qemu-img create -q -f qcow2 a 10M
io -c 'write -P 2 3000k 300k' -c 'write 5M 1k' -c 'discard 3100k 100k' a
map --output=json a
check a
`;

test('clusters written in part map as data in whole, as after qemu-io', { skip: skipReason }, () =>
  compareWithQemuImg(grown),
);

/** A block of 4 KiB that a write changes in part is read first; a second write to it waits until the first is done. */
const partialWrites = ['head', 'after_head', 'tail', 'after_tail']
  .map((event) => ({ event: `pwritev_rmw_${event}`, offset: event.endsWith('head') ? 0x1800 : 0x2000 }))
  .concat([
    { event: 'pwritev', offset: 0x1000 },
    { event: 'pwritev_done', offset: 0x1000 },
  ])
  .map(
    ({ event, offset }) => `
io -c 'break ${event} A' -c 'aio_write -P 10 ${offset} 2k' -c 'wait_break A' -c 'aio_write -P 11 ${offset + 512} 512' -c 'resume A' -c aio_flush --image-opts driver=raw,file.driver=blkdebug,file.align=4k,file.image.filename=plain
io -f raw -c 'read -v 0 16k' plain`,
  )
  .join('');

test('partial writes can be stopped at each step', { skip: skipReason }, () =>
  compareWithQemuImg(`qemu-img create -q -f raw plain 1M${partialWrites}`, (text) =>
    text.replace(/^blkdebug: .*\n/gm, ''),
  ),
);
