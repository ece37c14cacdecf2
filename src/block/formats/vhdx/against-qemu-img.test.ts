/** VHDX images through qemu-img 7.2 and through vring: same answers, and each goes on with what the other wrote. */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { runImg } from '../../../cli/img/index.js';
import { compareWithQemuImg, skipReason } from '../../../cli/img/testing/side-by-side.js';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { MemoryImage, memoryHost } from '../../testing/memory-host.js';

/** Metadata items of a small image: 64 KiB into the region at 3 MiB. */
const items = 0x310000;
const bat = 0x200000;

const damaged = (patches: string, commands = 'info d.v\ncheck d.v') => `
qemu-img create -q -f vhdx -o block_size=1M d.v 10M
qemu-io -f vhdx -c 'write -q -P 1 0 16k' -c 'write -q -P 2 3M 4k' d.v
${patches}
${commands}`;

const script = `
create -f vhdx -o help
create -f vhdx a.v 65T
create -f vhdx -o block_size=3M a.v 1M
create -f vhdx -o log_size=0 a.v 1M
create -f vhdx -o log_size=4G a.v 1M
create -f vhdx -o subformat=foo a.v 1M
create -f vhdx -o foo=1 a.v 1M
create -f vhdx -b nofile -F raw a.v 1M
create -f vhdx a.v 64T
info a.v
create -f vhdx a.v 40G
info a.v
create -f vhdx -o block_size=100 a.v 150G
info a.v
create -f vhdx -o block_size=1G a.v 150G
info a.v
create -f vhdx -o log_size=1500k a.v 33T
info a.v
create -f vhdx -o block_state_zero=off a.v 1000
info a.v
qemu-img create -q -f raw a.raw 10M
qemu-io -f raw -c 'write -q -P 1 64k 64k' -c 'write -q -P 2 5M 3M' -c 'write -q -P 3 9M 10k' a.raw
create -f vhdx a.v 0
swap a.v
info --output=json a.v
create -f vhdx -o block_size=1M,subformat=fixed a.v 0
swap a.v
info --output=json a.v
create -f vhdx -o block_size=1M a.v 10M
info --output=json a.v
check --output=json a.v
check a.v
map --output=json a.v
measure -O vhdx --size 1M
resize a.v 20M
resize --shrink a.v 2M
amend -o size=30M a.v
snapshot -l a.v
convert -c -O vhdx a.raw z.v
convert -n -O vhdx a.raw a.v
swap a.v
check a.v
compare a.v a.raw
qemu-io -f vhdx -c 'write -q -P 9 2M 100k' -c 'write -q -z 5M 1M' a.v
convert -O raw a.v b.raw
swap a.v
convert -n -f raw -O vhdx b.raw a.v
swap a.v
compare a.v b.raw
check -r all a.v
convert -O vhdx a.raw c.v
swap c.v
check c.v
compare c.v a.raw
convert -O vhdx -o subformat=fixed,block_size=1M a.raw f.v
swap f.v
check f.v
info f.v
compare f.v a.raw
convert -n -f raw -O vhdx b.raw f.v
swap f.v
check f.v
compare f.v b.raw
rebase -b '' a.v
create -q -f vhdx -o subformat=fixed s.v 1536
swap s.v
qemu-io -f vhdx -c 'write -q -P 5 512 1024' s.v
check s.v
map --output=json s.v
info -f vhdx a.raw
${damaged('patch d.v 0 1', 'info -f vhdx d.v')}
${damaged('patch d.v 65540 1,2')}
${damaged('patch d.v 131076 1,2')}
${damaged('patch d.v 65540 1,2\npatch d.v 131076 1,2')}
${damaged('patch d.v 196612 1,2\npatch d.v 262148 1,2')}
${damaged('patch d.v 3145728 1,2')}
${damaged(`patch d.v ${items} 0,0,8,0`)}
${damaged(`patch d.v ${items} 1,0,16,0`)}
${damaged(`patch d.v ${items} 0,0,0,32`)}
${damaged(`patch d.v ${items + 4} 2,0,0,0`)}
${damaged(`patch d.v ${items + 8} 0,0,0,0,128,0,0,0`)}
${damaged(`patch d.v ${items + 8} 1,0,0,0`)}
${damaged(`patch d.v ${items + 32} 0,16,0,0`)}
${damaged(`patch d.v ${items + 36} 0,8,0,0`)}
${damaged(`patch d.v ${bat} 7,0,0,0,0,0,0,0`, 'check d.v\nconvert -O raw d.v e.raw')}
${damaged(`patch d.v ${bat} 6,0,0,1,0,0,0,0`)}
${damaged(`patch d.v ${bat} 6,0,16,0,0,0,0,0`)}
${damaged(`patch d.v ${bat} 6,0,32,0,0,0,0,0`)}
${damaged(`patch d.v ${bat} 6,0,48,0,0,0,0,0`)}
${damaged(`patch d.v ${bat} 6,0,0,0,0,0,240,255`)}
${damaged(`patch d.v ${bat} 6,0,0,0,0,0,240,255\npatch d.v ${bat + 8} 6,0,0,1,0,0,0,0`)}
${damaged(`patch d.v ${bat} 5,0,0,0,0,0,0,0`, 'check d.v\nconvert -O raw d.v e.raw')}
${damaged(`patch d.v ${bat} 6,0,144,0,0,0,0,0`, 'check d.v\nconvert -O raw d.v e.raw')}
`;

test('VHDX images: vring answers as qemu-img does', { skip: skipReason }, () =>
  compareWithQemuImg(script.replace(/\n+/g, '\n')),
);

test('VHDX: a log left behind is refused and replayed as by qemu-img', { skip: skipReason }, async () => {
  // The power goes when the log entry is on disk and the table is not.
  const real = new NodeBlockHost(() => undefined);
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('vhdx', 'disk', { size: 8 * 2 ** 20, block_size: 2 ** 20 });
  const before = host.files.images.get('disk')!.clone();
  host.files.log.length = 0;
  const node = await graph.open({ filename: 'disk', format: 'vhdx', flags: { readOnly: false } });
  await node.write(3 * 2 ** 20, new Uint8Array(70_000 - (70_000 % 512)).fill(5));
  await node.close();
  const image = MemoryImage.from(before.bytes);
  const table = host.files.log.findIndex((entry) => entry.kind === 'write' && entry.offset === bat);
  assert.ok(table > 0, 'the table was written');
  for (const entry of host.files.log.slice(0, table)) image.apply(entry);

  const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-vhdx-'));
  const cwd = process.cwd();
  try {
    process.chdir(directory);
    const ours = async (...words: string[]) => {
      let text = '';
      const say = (part: string) => void (text += part);
      return { code: await runImg(words, { out: say, err: say }, 'qemu-img'), text };
    };
    const theirs = (...words: string[]) => {
      const { status, stdout, stderr } = spawnSync('qemu-img', words, { encoding: 'utf8' });
      return { code: status, text: stdout + stderr };
    };
    for (const words of [['info'], ['check'], ['check', '-r', 'all'], ['compare', '-f', 'vhdx', 'a']]) {
      for (const name of ['a', 'b']) fs.writeFileSync(name, image.bytes);
      const [expected, actual] = [theirs(...words, 'b'), await ours(...words, 'b')];
      if (words.length < 3) assert.deepEqual(actual, expected);
      // Whoever came first has repaired it.
      else assert.equal(actual.code, expected.code, `${words.join(' ')}: ${actual.text} ${expected.text}`);
    }
    fs.writeFileSync('a', image.bytes);
    fs.writeFileSync('b', image.bytes);
    const expected = theirs('check', '-r', 'all', 'a');
    const actual = await ours('check', '-r', 'all', 'b');
    assert.deepEqual(actual, expected);
    assert.match(actual.text, /1 corruptions/);
    assert.deepEqual(theirs('compare', 'a', 'b'), { code: 0, text: 'Images are identical.\n' });
    const read = spawnSync('qemu-io', ['-r', '-c', 'read -P 5 3M 69632', 'b'], { encoding: 'utf8' });
    assert.ok(!read.stdout.includes('Pattern verification failed') && read.status === 0, read.stdout + read.stderr);
  } finally {
    process.chdir(cwd);
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
