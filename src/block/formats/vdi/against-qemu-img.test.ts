/** VDI images through qemu-img 7.2 and through vring: same output, and each reads and checks what the other wrote. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

const createLines = `
create -f vdi a.vdi 0
info a.vdi
check a.vdi
create -f vdi a.vdi 1000
info a.vdi
create -f vdi -o static=on a.vdi 10M
info --output=json a.vdi
map --output=json a.vdi
check a.vdi
create -f vdi -o static=foo a.vdi 10M
create -f vdi -o static=on,block_size=1 a.vdi 10M
create -f vdi -o static=on,preallocation=full b.vdi 3M
create -f vdi a.vdi 1T
create -f vdi a.vdi 1P
create -f vdi a.vdi 5G
info a.vdi
create -f vdi -b a.vdi -F vdi b.vdi 10M
create -f vdi /nonexist/x.vdi 1M
resize a.vdi +1M
amend -o size=1 a.vdi
snapshot -c a a.vdi
check -r all a.vdi
check -r leaks a.vdi
measure -O vdi --size 1G
create -q r.raw 1M
convert -c -O vdi r.raw b.vdi
convert -O vdi -o static=on r.raw b.vdi
map --output=json b.vdi
`;

/** Header fields one after the other: [offset, bytes]. */
const damages: readonly (readonly [number, string])[] = [
  [0x177, '16'],
  [0x170, '1'],
  [0x40, '5'],
  [0x44, '5'],
  [0x154, '5'],
  [0x158, '5'],
  [0x168, '5'],
  [0x178, '5'],
  [0x173, '2'],
  [0x1a8, '5'],
  [0x1b8, '5'],
  [0x183, '63'],
  [0x184, '5'],
  [0x204, '0'],
  [0x204, '7'],
  [0x204, '70'],
  [0x204, '254,255,255,255'],
  [0x4c, '7'],
  [0x4c, '2'],
  [0x200, '5,0,0,0,5,0,0,0,50'],
];

const damageLines = `
qemu-img create -q -f vdi good.vdi 10M
qemu-io -c 'write -q -P 1 0 3M' good.vdi
${damages
  .map(
    ([offset, bytes]) => `cp good.vdi bad.vdi
patch bad.vdi ${offset} ${bytes}
info -f vdi bad.vdi
check -f vdi bad.vdi
check -f vdi --output=json bad.vdi
map -f vdi --output=json bad.vdi`,
  )
  .join('\n')}
`;

function backAndForth(options: string): string {
  return `
create -q -f raw data.raw 300000256
qemu-io -f raw -c 'write -q -P 1 0 300k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 3 99M 4M' -c 'write -q -P 4 299999744 512' data.raw
create -f vdi -o ${options} d.vdi 300000256
swap d.vdi
info d.vdi
map --output=json d.vdi
convert -n --target-is-zero -O vdi data.raw d.vdi
swap d.vdi
map --output=json d.vdi
map d.vdi
check d.vdi
compare d.vdi data.raw
qemu-io -c 'write -q -P 9 100k 200k' -c 'write -q -z 20M 3M' -c 'write -q -P 8 150M 10M' d.vdi
swap d.vdi
convert -O raw d.vdi out.raw
compare d.vdi out.raw
map --output=json d.vdi
check d.vdi
check --output=json d.vdi
convert -O vdi -o ${options} out.raw e.vdi
swap e.vdi
compare e.vdi out.raw
check e.vdi
map --output=json e.vdi
convert -O qcow2 e.vdi e.qcow2
compare e.vdi e.qcow2
`;
}

const options = { skip: skipReason };

test('vdi: creation and its errors', options, () => compareWithQemuImg(createLines));
test('vdi: damaged images', options, () => compareWithQemuImg(damageLines));
for (const kind of ['static=off', 'static=on']) {
  test(`vdi: ${kind} goes back and forth between qemu-img and vring`, options, () =>
    compareWithQemuImg(backAndForth(kind)),
  );
}
