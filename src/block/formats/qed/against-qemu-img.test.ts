/** QED images through qemu-img 7.2 and through vring: same answers, and each goes on with what the other wrote. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

/** Layout of an image with 4 KiB clusters: header, first level table, then in QEMU's order. Damage hits the first level table only. */
const damaged = (patches: string, commands: string) => `
qemu-img create -q -f qed -o cluster_size=4k,table_size=2 d.q 1M
qemu-io -f qed -c 'write -q -P 1 0 16k' -c 'write -q -P 2 600k 4k' d.q
${patches}
${commands}`;

const script = `
create -f qed -o help
create -f qed -o cluster_size=1000 a.q 1M
create -f qed -o cluster_size=2k a.q 1M
create -f qed -o cluster_size=128M a.q 1M
create -f qed -o table_size=3 a.q 1M
create -f qed -o table_size=32 a.q 1M
create -f qed -o cluster_size=4k,table_size=1 a.q 2G
create -f qed a.q 65T
create -f qed a.q 64T
info a.q
create -f qed -o foo=1 a.q 1M
create -f qed a.q 10M
info a.q
info --output=json a.q
check --output=json a.q
check a.q
map --output=json a.q
measure -O qed --size 1M
qemu-io -f qed -c 'write -q -P 1 64k 64k' -c 'write -q -P 2 200k 1k' -c 'write -q -z 1M 128k' -c 'write -q -z 200k 512' a.q
swap a.q
map --output=json a.q
map a.q
check a.q
check --output=json a.q
convert -O raw a.q a.raw
convert -O qed a.raw c.q
swap c.q
check c.q
compare c.q a.raw
map --output=json c.q
convert -c -O qed a.raw z.q
resize a.q 5M
resize --shrink a.q 5M
resize --preallocation=full a.q 30M
resize a.q 20M
info a.q
amend -o size=30M a.q
snapshot -l a.q
create -f qed -b a.q -F qed b.q
info b.q
map --output=json b.q
create -f qed -b a.raw -F raw b.q
info b.q
info --output=json b.q
qemu-io -f qed -c 'write -q -P 7 100k 300k' -c 'write -q -z 64k 64k' b.q
map --output=json b.q
convert -O raw b.q b.raw
rebase -b a.q -F qed b.q
swap b.q
compare b.q b.raw
check b.q
rebase -u -b '' b.q
info b.q
rebase -u -b a.raw -F raw b.q
info --output=json b.q
rebase -u -b ${'x'.repeat(1100)} -F raw b.q
info b.q
rebase -u -b a.raw -F raw b.q
commit b.q
compare a.raw b.raw
dd of=e.q if=a.raw bs=1M count=1 -O qed
swap e.q
info e.q
check e.q
create -q -f qed -o cluster_size=4k,table_size=2 e.q 1000
info e.q
check --output=json e.q
create -q -f qed -o cluster_size=64k,table_size=16 e.q 100M
convert -n -O qed a.raw e.q
swap e.q
qemu-img check e.q
compare e.q a.raw
create -q -f qed -o cluster_size=2M,table_size=2 e.q 100M
convert -n -O qed a.raw e.q
swap e.q
qemu-img check e.q
compare e.q a.raw
${damaged('patch d.q 4104 0,0,0,16', 'check d.q\ncheck --output=json d.q\ncheck -r leaks d.q\ncheck d.q')}
${damaged('patch d.q 4096 0,0,0,16', 'check d.q\nmap d.q\ncheck -r all d.q\ncheck d.q')}
${damaged('patch d.q 28672 0,0,0,16', 'check d.q\nmap --output=json d.q\nconvert -O raw d.q e.raw\ncheck --output=json -r all d.q\ncheck d.q')}
${damaged('patch d.q 28672 1,2', 'check d.q\nmap d.q')}
${damaged('patch d.q 28680 0,48', 'check d.q\ncheck -r all d.q')}
${damaged('patch d.q 4104 0,112', 'check --output=json d.q\ncheck -r all d.q')}
${damaged('patch d.q 28672 0,0', 'check d.q\ncheck -r leaks d.q\ncheck d.q')}
${damaged('patch d.q 16 2', 'info d.q\ncheck d.q\nmap d.q\ncheck -r all d.q\ncheck d.q')}
${damaged('patch d.q 16 128', 'info d.q\ncheck d.q')}
${damaged('patch d.q 24 128', 'info d.q\nmap d.q')}
${damaged('patch d.q 32 128', 'info d.q\nresize d.q 2M')}
${damaged('patch d.q 4 1,0', 'info d.q')}
${damaged('patch d.q 8 3', 'info d.q')}
${damaged('patch d.q 12 0', 'info d.q')}
${damaged('patch d.q 40 1', 'info d.q')}
${damaged('patch d.q 40 0,0,0,32', 'info d.q')}
${damaged('patch d.q 48 1', 'info d.q')}
${damaged('patch d.q 48 0,0,0,0,0,0,1', 'info d.q')}
${damaged('patch d.q 48 0,0,0', 'info d.q')}
${damaged('patch d.q 16 1', 'info d.q')}
${damaged('patch d.q 16 1\npatch d.q 56 255,255,255,0,4', 'info d.q')}
${damaged('patch d.q 12 255,255', 'info d.q')}
info -f qed a.raw
`;

test('QED images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(script.replace(/\n+/g, '\n')),
);
