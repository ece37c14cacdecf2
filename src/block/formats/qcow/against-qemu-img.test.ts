/**
 * qcow (version 1) images through qemu-img 7.2 and through vring: same answers, and each goes on with what the other wrote. qemu-img 7.2
 * ends `convert -c` to qcow with an error though all is written, so compressed images are vring's.
 */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

const secret = '--object secret,id=s,data=abc';
const open = (file: string) => `--image-opts driver=qcow,encrypt.key-secret=s,file.filename=${file}`;

const damaged = (patches: string, commands = 'info d.q') => `
qemu-img create -q -f qcow d.q 1M
qemu-io -f qcow -c 'write -q -P 1 0 16k' -c 'write -q -P 2 600k 4k' d.q
${patches}
${commands}`;

const script = `
create -f qcow -o help
create -f qcow a.q 0
create -f qcow -o encryption=on a.q 1M
create -f qcow ${secret} -o encrypt.format=luks,encrypt.key-secret=s a.q 1M
create -f qcow -o cluster_size=1k a.q 1M
create -f qcow a.q 1
create -f qcow a.q 3T
info a.q
create -f qcow a.q 10M
info --output=json a.q
check a.q
map --output=json a.q
qemu-io -f qcow -c 'write -q -P 1 64k 64k' -c 'write -q -P 2 200k 1k' -c 'write -q -z 1M 128k' -c 'write -q -z 400k 512' a.q
swap a.q
map --output=json a.q
map a.q
resize a.q 20M
measure -O qcow --size 1M
amend -o size=1M a.q
snapshot -l a.q
convert -O raw a.q a.raw
qemu-io -f raw -c 'write -q -P 9 3M 300k' a.raw
convert -O qcow a.raw b.q
swap b.q
compare b.q a.raw
vring convert -c -O qcow a.raw c.q
compare c.q a.raw
map c.q
qemu-io -f qcow -c 'write -q -P 4 3M 10k' c.q
convert -O raw c.q c.raw
swap c.q
compare c.q c.raw
create -f qcow -b a.q -F qcow o.q
info o.q
info --output=json o.q
map --output=json o.q
qemu-io -f qcow -c 'write -q -P 5 100k 3000' o.q
swap o.q
map --output=json o.q
convert -O raw o.q o.raw
rebase -b '' o.q
rebase -u -b c.q -F qcow o.q
commit o.q
compare a.q o.raw
map --output=json o.q
swap o.q
compare o.q o.raw
create -q ${secret} -f qcow -o encrypt.format=aes,encrypt.key-secret=s e.q 10M
info --output=json e.q
map e.q
convert ${secret} -n --target-image-opts -f raw a.raw driver=qcow,encrypt.key-secret=s,file.filename=e.q
swap e.q
convert ${secret} -O raw ${open('e.q')} e.raw
compare -f raw e.raw a.raw
map ${secret} ${open('e.q')}
info ${secret} --image-opts driver=qcow,encrypt.format=luks,encrypt.key-secret=s,file.filename=e.q
convert -c -O qcow -o encryption=on a.raw f.q
info -f qcow a.raw
${damaged('patch d.q 7 2', 'info -f qcow d.q')}
${damaged('patch d.q 7 5', 'info -f qcow d.q')}
${damaged('patch d.q 24 0,0,0,0,0,0,0,1')}
${damaged('patch d.q 24 0,0,0,0,0,0,3,1')}
${damaged('patch d.q 24 255,255')}
${damaged('patch d.q 32 8')}
${damaged('patch d.q 32 17')}
${damaged('patch d.q 33 5')}
${damaged('patch d.q 33 14')}
${damaged('patch d.q 39 1')}
${damaged('patch d.q 39 2')}
${damaged('patch d.q 15 48\npatch d.q 18 16')}
`;

test('qcow images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(script.replace(/\n+/g, '\n')),
);
