/** VHD images through qemu-img 7.2 and through vring: same output, and each reads what the other wrote. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

const sizes = ['0', '512', '1M', '10M', '100001792', '540M', '8G', '127G', '128G', '2040G'];

const createLines = `
${sizes
  .map(
    (size) => `create -f vpc a.vpc ${size}
info -f vpc a.vpc
create -f vpc -o force_size=on a.vpc ${size}
info -f vpc a.vpc`,
  )
  .join('\n')}
create -f vpc a.vpc 2041G
create -f vpc -o force_size=on a.vpc 3T
create -f vpc -o subformat=foo a.vpc 1M
create -f vpc -o subformat=fixed a.vpc 10M
info a.vpc
info --output=json -f vpc a.vpc
map --output=json -f vpc a.vpc
create -f vpc -o subformat=fixed,force_size=on b.vpc 10M
info -f vpc b.vpc
create -f vpc -o subformat=fixed,force_size=on,preallocation=full b.vpc 3M
create -f vpc /nonexist/a 1M
create -f vpc -b a.vpc -F vpc b.vpc
resize -f vpc a.vpc +1M
check -f vpc a.vpc
amend -f vpc -o size=1 a.vpc
snapshot -c a b.vpc
measure -O vpc --size 1G
convert -c -O vpc a.vpc b.vpc
info --image-opts driver=vpc,force_size_calc=foo,file.filename=a.vpc
info --image-opts driver=vpc,force_size_calc=chs,file.filename=b.vpc
info --image-opts driver=vpc,force_size_calc=current_size,file.filename=a.vpc
`;

/** [offset, bytes] in a dynamic image; those in the footer also break its checksum. */
const damages: readonly (readonly [number, string])[] = [
  [0, '0'],
  [8, '1'],
  [28, '119'],
  [512, '0'],
  [544, '0,0,0,0'],
  [544, '0,32,0,1'],
  [544, '0,0,2,0'],
  [540, '0,0,0,1'],
  [540, '127,0,0,1'],
  [520, '0'],
  [530, '1'],
  [1536, '0,0,0,1'],
  [1536, '0,0,255,1'],
  [1540, '0,0,0,9'],
];

const damageLines = `
create -q -f vpc good.vpc 10M
qemu-io -c 'write -q -P 1 0 3M' good.vpc
create -q -f vpc -o subformat=fixed fixed.vpc 1M
${damages
  .map(
    ([offset, bytes]) => `cp good.vpc bad.vpc
patch bad.vpc ${offset} ${bytes}
info -f vpc bad.vpc
map -f vpc --output=json bad.vpc`,
  )
  .join('\n')}
patch fixed.vpc 1079296 0
info -f vpc fixed.vpc
create -q short.raw 100
info -f vpc short.raw
`;

function backAndForth(options: string): string {
  // The size is one that both a geometry and `force_size` can say, so that images are as long as the data.
  return `
create -q -f raw data.raw 300039680
qemu-io -f raw -c 'write -q -P 1 0 300k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 3 99M 4M' -c 'write -q -P 4 300039168 512' data.raw
create -f vpc -o ${options} d.vpc 300039680
swap d.vpc
info -f vpc d.vpc
map -f vpc --output=json d.vpc
convert -n --target-is-zero -O vpc data.raw d.vpc
swap d.vpc
map -f vpc --output=json d.vpc
map -f vpc d.vpc
compare -f vpc -F raw d.vpc data.raw
qemu-io -f vpc -c 'write -q -P 9 100k 200k' -c 'write -q -z 20M 3M' -c 'write -q -P 8 150M 10M' d.vpc
swap d.vpc
convert -f vpc -O raw d.vpc out.raw
compare -f vpc -F raw d.vpc out.raw
map -f vpc --output=json d.vpc
convert -f raw -O vpc -o ${options} out.raw e.vpc
swap e.vpc
compare -f vpc -F raw e.vpc out.raw
map -f vpc --output=json e.vpc
convert -f vpc -O qcow2 e.vpc e.qcow2
compare -f vpc -F qcow2 e.vpc e.qcow2
`;
}

const options = { skip: skipReason };

test('vpc: creation and its errors', options, () => compareWithQemuImg(createLines));
test('vpc: damaged images', options, () => compareWithQemuImg(damageLines));
for (const kind of [
  'subformat=dynamic',
  'subformat=dynamic,force_size=on',
  'subformat=fixed',
  'subformat=fixed,force_size=on',
]) {
  test(`vpc: ${kind} goes back and forth between qemu-img and vring`, options, () =>
    compareWithQemuImg(backAndForth(kind)),
  );
}
