/** LUKS images through qemu-img 7.2 and through vring: same answers, and each goes on with what the other wrote. */
import test from 'node:test';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';

const secrets = '--object secret,id=s,data=abc --object secret,id=t,data=xyz --object secret,id=u,data=uuu';
const open = (file: string, key = 's') => `--image-opts driver=luks,key-secret=${key},file.filename=${file}`;

/** Salts are random and iteration counts measured. */
function withoutRandom(text: string): string {
  return text.replace(/("?uuid"?: ).*/g, '$1UUID').replace(/(iters"?: )\d+/g, '$1N');
}

/** Made by both sides, each filled and read by the other. qemu-img measures the host's speed for seconds at a creation, so this is one only. */
const bothWays = `
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=essiv,cipher-alg=aes-128 c.l 1M
swap c.l
info --output=json c.l
convert ${secrets} -n --target-image-opts -f raw data.raw driver=luks,key-secret=s,file.filename=c.l
swap c.l
convert ${secrets} -O raw ${open('c.l')} c.raw
compare -f raw data.raw c.raw`;

/** Made by vring only, filled and read by both. */
const moreCiphers = [
  ',cipher-alg=aes-192',
  ',cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5,cipher-alg=aes-128',
  ',cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha1',
  ',cipher-mode=ctr,hash-alg=sha384',
  ',cipher-mode=ecb,hash-alg=ripemd160',
  ',hash-alg=sha224,ivgen-alg=plain',
  ',ivgen-hash-alg=sha1,hash-alg=md5',
  ',cipher-alg=serpent-192',
  ',cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=md5',
  ',cipher-alg=twofish-256,cipher-mode=ctr,ivgen-alg=essiv',
  ',cipher-alg=cast5-128,cipher-mode=cbc',
  ',cipher-alg=cast5-128,cipher-mode=ctr,ivgen-alg=plain',
];

const moreWays = moreCiphers.map(
  (options) => `
vring create ${secrets} -q -f luks -o key-secret=s,iter-time=10${options} c.l 1M
info c.l
convert ${secrets} -n --target-image-opts -f raw data.raw driver=luks,key-secret=s,file.filename=c.l
swap c.l
compare ${secrets} --image-opts driver=luks,key-secret=s,file.filename=c.l driver=raw,file.filename=data.raw`,
);

const script = `
create -f luks x.l 1M
create ${secrets} -f luks -o key-secret=nope x.l 1M
create ${secrets} -f luks -o key-secret=s,cipher-alg=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,cipher-alg=3des x.l 1M
create ${secrets} -f luks -o key-secret=s,cipher-mode=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-alg=cast5-128 x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-alg=cast5-128,cipher-mode=cbc,ivgen-alg=essiv x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1 x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-alg=twofish-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha512 x.l 1M
create ${secrets} -f luks -o key-secret=s,ivgen-alg=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,ivgen-hash-alg=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,hash-alg=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=foo x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha512 x.l 1M
create ${secrets} -f luks -o key-secret=s,iter-time=10 -b foo -F raw x.l 1M
create -f luks -o help
amend -f luks -o help
vring create ${secrets} -q -f luks -o key-secret=s,iter-time=10,preallocation=falloc x.l 1M
qemu-img create -q -f raw data.raw 1M
qemu-io -f raw -c 'write -q -P 1 0 64k' -c 'write -q -P 2 512 100' -c 'write -q -P 3 600k 300k' data.raw
${moreWays.join('')}
${bothWays}
info x.l
info --output=json x.l
info ${secrets} ${open('x.l', 't')}
map x.l
map ${secrets} ${open('x.l', 't')}
map ${secrets} ${open('x.l')}
map --output=json ${secrets} ${open('x.l')}
check x.l
check ${secrets} ${open('x.l')}
snapshot -l ${secrets} ${open('x.l')}
measure -O luks --size 1G
measure -O luks --size 1000 -o cipher-alg=foo
resize ${secrets} ${open('x.l')} 2M
resize ${secrets} --preallocation=full ${open('x.l')} 3M
resize ${secrets} ${open('x.l')} 1M
resize --shrink ${secrets} ${open('x.l')} 1M
info x.l
resize x.l 2M
vring amend ${secrets} -o state=active,new-secret=t,iter-time=10 ${open('x.l')}
map ${secrets} ${open('x.l', 't')}
vring amend ${secrets} -o state=active,new-secret=t,keyslot=4,iter-time=10 ${open('x.l')}
swap x.l
info x.l
amend ${secrets} -o state=inactive,old-secret=u ${open('x.l')}
amend ${secrets} -o state=inactive,old-secret=t,keyslot=0 ${open('x.l')}
amend ${secrets} -o state=inactive,old-secret=t,keyslot=9 ${open('x.l')}
amend ${secrets} -o state=inactive,keyslot=5 ${open('x.l')}
amend ${secrets} -o state=inactive,old-secret=nope ${open('x.l')}
amend ${secrets} -o state=active,new-secret=nope ${open('x.l')}
amend ${secrets} -o state=foo ${open('x.l')}
amend ${secrets} -o keyslot=3 ${open('x.l')}
amend ${secrets} -o nope=3 ${open('x.l')}
amend ${secrets} -o state=active ${open('x.l')}
amend ${secrets} -o state=inactive ${open('x.l')}
amend ${secrets} -o state=active,keyslot=1,new-secret=s ${open('x.l')}
amend ${secrets} -o state=active,keyslot=5,new-secret=s,old-secret=t ${open('x.l')}
amend ${secrets} -o state=inactive,new-secret=s,old-secret=t ${open('x.l')}
amend ${secrets} -o state=inactive,old-secret=s ${open('x.l')}
map ${secrets} ${open('x.l')}
swap x.l
amend ${secrets} -o state=inactive,keyslot=4 ${open('x.l', 't')}
amend ${secrets} -o state=inactive,keyslot=1 ${open('x.l', 't')}
amend ${secrets} -o state=inactive,old-secret=t ${open('x.l', 't')}
vring amend ${secrets} --force -o state=active,keyslot=1,new-secret=u,iter-time=10 ${open('x.l', 't')}
map --output=json ${secrets} ${open('x.l', 'u')}
amend ${secrets} --force -o state=inactive,keyslot=1 ${open('x.l', 'u')}
info x.l
amend -o state=inactive,keyslot=1 x.l
vring convert ${secrets} -O luks -o key-secret=s,iter-time=10 data.raw n.l
swap n.l
compare ${secrets} --image-opts driver=luks,key-secret=s,file.filename=n.l driver=raw,file.filename=data.raw
convert -O luks data.raw z.l
cp n.l y.l
patch y.l 6 0,2
info y.l
info -f luks y.l
info -f luks data.raw
map -f luks data.raw
cp n.l y.l
patch y.l 8 102,111,111,0
info -f luks y.l
cp n.l y.l
patch y.l 40 120,116,115,45,102,111,111,0
info y.l
cp n.l y.l
patch y.l 40 120,116,115,0
info y.l
cp n.l y.l
patch y.l 40 102,111,111,45,112,108,97,105,110,0
info y.l
cp n.l y.l
patch y.l 72 102,111,111,0
info y.l
cp n.l y.l
patch y.l 104 0,0,0,0
info y.l
cp n.l y.l
patch y.l 104 0,0,0,8
info y.l
cp n.l y.l
patch y.l 108 0,0,0,17
info y.l
cp n.l y.l
patch y.l 164 0,0,0,0
info y.l
cp n.l y.l
patch y.l 208 1
info y.l
cp n.l y.l
patch y.l 212 0,0,0,0
info y.l
cp n.l y.l
patch y.l 248 0,0,0,0
info y.l
cp n.l y.l
patch y.l 252 0,0,0,1
info y.l
cp n.l y.l
patch y.l 248 0,0,2,0
info y.l
`;

test('luks images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(script.replace(/\n+/g, '\n'), withoutRandom),
);
