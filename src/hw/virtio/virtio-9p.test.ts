/** A folder of the host by 9P, with the messages that a client sends. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { MappedOwners } from '../../host/node/mapped-owners.js';
import { openSharedFolder, type SecurityModel } from '../../host/node/shared-folder.js';
import { StateError } from '../../schema/index.js';
import { linuxErrno } from '../ninep/host-folder.js';
import { MessageReader, MessageWriter } from '../ninep/message.js';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { Virtio9p } from './virtio-9p.js';

const skip = process.platform !== 'linux' && 'folders are shared on Linux';
const top = mkdtempSync(join(tmpdir(), 'vring-9p-'));
after(() => rmSync(top, { recursive: true }));
let folders = 0;

const T = {
  ...{ statfs: 8, lopen: 12, lcreate: 14, symlink: 16, mknod: 18, rename: 20, readlink: 22, getattr: 24, setattr: 26 },
  ...{ xattrwalk: 30, readdir: 40, fsync: 50, link: 70, mkdir: 72, renameat: 74, unlinkat: 76, version: 100 },
  ...{ attach: 104, walk: 110, read: 116, write: 118, clunk: 120, remove: 122 },
} as const;
const requestGpa = 0x20000;
const answerGpa = 0x40000;
const answerBytes = 0x10000;

/** A machine with a folder `inside`, beside which lies `secret`. */
function shared(
  options: { readonly isReadOnly?: boolean; readonly model?: SecurityModel; readonly uid?: number } = {},
) {
  const around = join(top, `f${folders++}`);
  const inside = join(around, 'inside');
  mkdirSync(inside, { recursive: true });
  writeFileSync(join(around, 'secret'), 'secret');
  const folder = openSharedFolder(inside, options.model ?? 'none', options.isReadOnly ?? false);
  const machine = testMachine(new Virtio9p(folder, 'share'));
  const driver = new ModernDriver(machine);
  driver.start();
  /** What was sent is answered with these bytes; undefined: with none. */
  const raw = (message: Uint8Array, room = answerBytes): Uint8Array | undefined => {
    machine.ram.set(message, requestGpa);
    driver.queues[0]!.add([
      { gpa: requestGpa, length: message.length },
      { gpa: answerGpa, length: room, write: true },
    ]);
    driver.kick(0);
    const [done] = driver.queues[0]!.completions();
    return done!.length === 0 ? undefined : machine.ram.slice(answerGpa, answerGpa + done!.length);
  };
  /** The answer's fields, or Linux's number of the error. */
  const ask = (type: number, fill: (out: MessageWriter) => unknown): MessageReader | number => {
    const out = new MessageWriter();
    out.u32(0).u8(type).u16(1);
    fill(out);
    out.patch(0, out.length);
    const answer = raw(out.written);
    assert.ok(answer);
    const reader = new MessageReader(answer, 0);
    assert.equal(reader.u32(), answer.length);
    const kind = reader.u8();
    assert.equal(reader.u16(), 1);
    if (kind === 7) return reader.u32();
    assert.equal(kind, type + 1);
    return reader;
  };
  const ok = (type: number, fill: (out: MessageWriter) => unknown): MessageReader => {
    const answer = ask(type, fill);
    assert.ok(typeof answer !== 'number', `message ${type}: errno ${answer}`);
    return answer;
  };
  const walk = (fid: number, names: readonly string[], from = 0) =>
    ask(T.walk, (out) => {
      out.u32(from).u32(fid).u16(names.length);
      for (const name of names) out.text(name);
    });
  const begin = () => {
    assert.equal(ok(T.version, (out) => out.u32(0x8000).text('9P2000.L')).u32(), 0x8000);
    ok(T.attach, (out) =>
      out
        .u32(0)
        .u32(0xffffffff)
        .text('root')
        .text('')
        .u32(options.uid ?? 0),
    );
  };
  return { around, inside, folder, machine, driver, raw, ask, ok, walk, begin };
}

const text = (reader: MessageReader): string => Buffer.from(reader.bytes(reader.u32())).toString();
/** Names of `readdir`'s answer. */
function namesIn(reader: MessageReader): string[] {
  const names: string[] = [];
  let left = reader.u32();
  while (left > 0) {
    reader.bytes(13);
    reader.u64();
    reader.u8();
    const name = reader.text();
    names.push(name);
    left -= 13 + 8 + 1 + 2 + name.length;
  }
  return names;
}

/** Why attributes cannot be kept here. */
function noAttributes(): string | false {
  const probe = join(top, 'probe');
  const fd = openSync(probe, 'w');
  try {
    new MappedOwners().write({ fd }, { uid: 1 });
    return false;
  } catch {
    return 'no koffi, or no extended attributes in the temporary folder';
  }
}

for (const model of ['mapped-xattr', 'mapped-file'] as const)
  test(`${model}: what the guest says of its files lies beside them`, {
    skip: skip || (model === 'mapped-xattr' && noAttributes()),
  }, () => {
    const { inside, begin, ok, ask, walk, folder } = shared({ model, uid: 1234 });
    begin();
    const at = (...names: string[]) => {
      const { mode, uid, gid, rdev } = folder.stat(names);
      return [mode, uid, gid, rdev];
    };
    const own = process.getuid?.();
    ok(T.mkdir, (out) => out.u32(0).text('sub').u32(0o40750).u32(55));
    assert.deepEqual(at('sub'), [0o40750, 1234, 55, 0n]);
    walk(1, ['sub']);
    ok(T.lcreate, (out) => out.u32(1).text('a').u32(0o2).u32(0o104755).u32(66));
    assert.deepEqual(at('sub', 'a'), [0o104755, 1234, 66, 0n]);
    ok(T.symlink, (out) => out.u32(0).text('link').text('../secret').u32(7));
    assert.deepEqual(at('link').slice(0, 3), [0o120777, 1234, 7]);
    assert.ok(typeof walk(2, ['link']) !== 'number');
    assert.equal(ok(T.readlink, (out) => out.u32(2)).text(), '../secret');
    // A link is no file to be opened, nor is a device.
    assert.equal(
      ask(T.lopen, (out) => out.u32(2).u32(0)),
      13,
    );
    ok(T.mknod, (out) => out.u32(0).text('null').u32(0o20666).u32(1).u32(3).u32(0));
    assert.deepEqual(at('null'), [0o20666, 1234, 0, 0x103n]);
    assert.ok(typeof walk(3, ['null']) !== 'number');
    assert.equal(
      ask(T.lopen, (out) => out.u32(3).u32(0)),
      13,
    );
    assert.equal(
      ask(T.mknod, (out) => out.u32(0).text('no').u32(0o120666).u32(1).u32(3).u32(0)),
      22,
    );
    // To the host all are plain, and its own.
    for (const [name, mode] of [
      ['sub', 0o40700],
      ['sub/a', 0o100600],
      ['link', 0o100600],
      ['null', 0o100600],
    ] as const) {
      const stats = lstatSync(join(inside, name));
      assert.deepEqual([stats.mode, stats.uid], [mode, own], name);
    }
    // Mode, owner and group.
    ok(T.setattr, (out) => out.u32(3).u32(7).u32(0o640).u32(9).u32(8).u64(0n).u64(0n).u64(0n).u64(0n).u64(0n));
    assert.deepEqual(at('null'), [0o20640, 9, 8, 0x103n]);
    // What others have made is as it is; a link of theirs stays one.
    writeFileSync(join(inside, 'theirs'), '', { mode: 0o644 });
    symlinkSync('/etc/passwd', join(inside, 'out'));
    assert.deepEqual(at('theirs').slice(0, 2), [lstatSync(join(inside, 'theirs')).mode, own]);
    assert.equal(folder.readLink(['out']), '/etc/passwd');
    assert.equal(folder.stat(['out']).mode & 0o170000, 0o120000);
    const change = () => folder.change(['out'], { uid: 1 });
    if (model === 'mapped-file') change();
    else assert.throws(change, { errno: 1 });
  });

test('mapped-file: names that guests do not see, and what becomes of the files beside files', { skip }, () => {
  const { inside, folder } = shared({ model: 'mapped-file', uid: 1234 });
  const file = (name: string, uid: number) => ({ name, mode: 0o640, uid, gid: 2 });
  const beside = (...names: string[]) => join(inside, ...names.slice(0, -1), '.virtfs_metadata', names.at(-1)!);
  folder.makeFolder([], file('sub', 1));
  folder.create(['sub'], file('a', 7), 2).close();
  folder.makeNode(['sub'], { ...file('tty', 8), mode: 0o20600 }, 0x405n);
  assert.equal(readFileSync(beside('sub', 'a'), 'latin1'), `virtfs.uid=7\nvirtfs.gid=2\nvirtfs.mode=${0o100640}\n`);
  assert.match(readFileSync(beside('sub', 'tty'), 'latin1'), /^virtfs\.rdev=1029$/m);
  folder.change([], { uid: 99 });
  assert.equal(readFileSync(join(inside, '.virtfs_metadata_root'), 'latin1'), 'virtfs.uid=99\n');
  assert.equal(folder.stat([]).uid, 99);
  assert.deepEqual([folder.list([]), folder.list(['sub']).toSorted()], [['sub'], ['a', 'tty']]);
  for (const name of ['.virtfs_metadata', '.virtfs_metadata_root']) {
    assert.throws(() => folder.stat([name]), { errno: 22 });
    assert.throws(() => folder.create([], file(name, 1), 2), { errno: 22 });
    assert.throws(() => folder.makeFolder(['sub'], file(name, 1)), { errno: 22 });
    assert.throws(() => folder.rename(['sub', 'a'], ['sub', name]), { errno: 22 });
    assert.throws(() => folder.remove([name], true), { errno: 22 });
  }
  folder.link([], 'hard', ['sub', 'a']);
  folder.rename(['sub', 'a'], ['b']);
  assert.deepEqual([folder.stat(['b']).uid, folder.stat(['hard']).uid], [7, 7]);
  assert.equal(existsSync(beside('sub', 'a')), false);
  // A name that is taken over by a file of the host's is that file's.
  writeFileSync(join(inside, 'plain'), '');
  folder.rename(['plain'], ['b']);
  assert.equal(folder.stat(['b']).uid, process.getuid?.());
  assert.throws(() => folder.remove(['sub'], true), { errno: 39 });
  folder.remove(['sub', 'tty'], false);
  folder.remove(['sub'], true);
  assert.deepEqual([existsSync(join(inside, 'sub')), existsSync(beside('sub'))], [false, false]);
  // What lies there may be anything: a link leads nowhere, and lines that are none say nothing.
  symlinkSync('/etc/passwd', beside('x'));
  writeFileSync(join(inside, 'x'), '');
  assert.throws(() => folder.stat(['x']), { errno: 40 });
  writeFileSync(beside('b'), 'virtfs.uid=-1\nvirtfs.gid=5\nvirtfs.mode=zz\nvirtfs.uid=99999999999999999999999999\n');
  assert.equal(folder.stat(['b']).gid, 5);
});

test('files and folders are made, read, written, renamed, listed and removed', { skip }, () => {
  const { inside, begin, ok, ask, walk, folder } = shared();
  begin();
  ok(T.mkdir, (out) => out.u32(0).text('sub').u32(0o750).u32(0));
  assert.equal(lstatSync(join(inside, 'sub')).mode & 0o7777, 0o750);
  assert.ok(typeof walk(1, ['sub']) !== 'number');
  ok(T.lcreate, (out) => out.u32(1).text('a').u32(0o2).u32(0o640).u32(0));
  const written = ok(T.write, (out) => out.u32(1).u64(3n).u32(5).bytes(Buffer.from('hello')));
  assert.equal(written.u32(), 5);
  assert.equal(readFileSync(join(inside, 'sub/a'), 'latin1'), '\0\0\0hello');
  assert.equal(text(ok(T.read, (out) => out.u32(1).u64(4n).u32(100))), 'ello');
  ok(T.fsync, (out) => out.u32(1).u32(0));
  ok(T.symlink, (out) => out.u32(0).text('link').text('../secret').u32(0));
  assert.equal(readlinkSync(join(inside, 'link')), '../secret');
  assert.ok(typeof walk(2, ['link']) !== 'number');
  assert.equal(ok(T.readlink, (out) => out.u32(2)).text(), '../secret');
  // The open file follows its name.
  ok(T.renameat, (out) => out.u32(0).text('sub').u32(0).text('other'));
  const attributes = ok(T.getattr, (out) => out.u32(1).u64(0x7ffn));
  attributes.bytes(8 + 13);
  assert.equal(attributes.u32(), 0o100640);
  // Of the size, and the times to a second.
  ok(T.setattr, (out) =>
    out
      .u32(1)
      .u32(1 | 8 | 32 | 256)
      .u32(0o600)
      .u32(0)
      .u32(0)
      .u64(4n)
      .u64(0n)
      .u64(0n)
      .u64(1000n)
      .u64(0n),
  );
  const { mode, size, mtimeMs } = lstatSync(join(inside, 'other/a'));
  assert.deepEqual([mode & 0o7777, size, mtimeMs], [0o600, 4, 1_000_000]);
  assert.ok(typeof walk(3, []) !== 'number');
  ok(T.lopen, (out) => out.u32(3).u32(0o200000));
  const listed = namesIn(ok(T.readdir, (out) => out.u32(3).u64(0n).u32(1000)));
  assert.deepEqual(listed.sort(), ['.', '..', 'link', 'other']);
  assert.deepEqual(namesIn(ok(T.readdir, (out) => out.u32(3).u64(4n).u32(1000))), []);
  assert.equal(namesIn(ok(T.readdir, (out) => out.u32(3).u64(2n).u32(35))).length, 1);
  assert.equal(
    ask(T.unlinkat, (out) => out.u32(0).text('other').u32(0x200)),
    39,
  );
  ok(T.clunk, (out) => out.u32(1));
  assert.ok(typeof walk(1, ['other', 'a']) !== 'number');
  ok(T.link, (out) => out.u32(0).u32(1).text('twin'));
  ok(T.remove, (out) => out.u32(1));
  ok(T.unlinkat, (out) => out.u32(0).text('other').u32(0x200));
  ok(T.unlinkat, (out) => out.u32(0).text('link').u32(0));
  assert.deepEqual(readdirSync(inside), ['twin']);
  assert.equal(
    ask(T.xattrwalk, (out) => out.u32(0).u32(9).text('user.x')),
    linuxErrno.notSupported,
  );
  assert.equal(ok(T.statfs, (out) => out.u32(0)).u32() > 0, true);
  folder.close();
});

test('a folder of many names is listed piece by piece, each name once', { skip }, () => {
  const { inside, begin, ok, walk, folder } = shared();
  const made = Array.from({ length: 500 }, (_, i) => `${'n'.repeat(i % 60)}${i}`);
  for (const name of made) writeFileSync(join(inside, name), '');
  begin();
  walk(1, []);
  ok(T.lopen, (out) => out.u32(1).u32(0o200000));
  const names: string[] = [];
  for (;;) {
    const more = namesIn(ok(T.readdir, (out) => out.u32(1).u64(BigInt(names.length)).u32(4000)));
    if (more.length === 0) break;
    names.push(...more);
  }
  assert.deepEqual(names.sort(), ['.', '..', ...made].sort());
  folder.close();
});

test('no name and no link leads out of the folder', { skip }, () => {
  const { around, inside, begin, ask, walk, folder } = shared();
  begin();
  symlinkSync('..', join(inside, 'up'));
  symlinkSync(join(around, 'secret'), join(inside, 'absolute'));
  mkdirSync(join(inside, 'sub'));
  spawnSync('mkfifo', [join(inside, 'pipe')]);
  // `..` of the root is the root.
  assert.ok(typeof walk(1, ['..', '..', 'sub', '..', '..']) !== 'number');
  assert.equal(walk(2, ['secret'], 1), linuxErrno.noEntry);
  for (const name of ['../secret', '/etc', 'sub/../../secret', '', 'a\0b'])
    assert.equal(walk(2, [name]), linuxErrno.noEntry, JSON.stringify(name));
  // A walk that does not get to its end gives no fid.
  assert.ok(typeof walk(2, ['up', 'secret']) !== 'number');
  assert.equal(
    ask(T.getattr, (out) => out.u32(2).u64(0x7ffn)),
    linuxErrno.badFile,
  );
  for (const [name, errno] of [
    ['absolute', linuxErrno.access],
    ['pipe', linuxErrno.access],
  ] as const) {
    assert.ok(typeof walk(3, [name]) !== 'number');
    assert.equal(
      ask(T.lopen, (out) => out.u32(3).u32(0o2)),
      errno,
      name,
    );
    ask(T.clunk, (out) => out.u32(3));
  }
  // Made through a link: not.
  assert.ok(typeof walk(4, ['up']) !== 'number');
  assert.equal(
    ask(T.lcreate, (out) => out.u32(4).text('new').u32(0o1).u32(0o600).u32(0)),
    20,
  );
  assert.equal(
    ask(T.mkdir, (out) => out.u32(4).text('new').u32(0o700).u32(0)),
    20,
  );
  for (const name of ['..', '../x', '/tmp/x', ''])
    assert.notEqual(typeof ask(T.lcreate, (out) => out.u32(0).text(name).u32(0o1).u32(0o600).u32(0)), 'object', name);
  assert.equal(typeof ask(T.renameat, (out) => out.u32(0).text('sub').u32(0).text('../sub')), 'number');
  // A folder that becomes a link while a client stands in it.
  assert.ok(typeof walk(5, ['sub']) !== 'number');
  renameSync(join(inside, 'sub'), join(inside, 'was'));
  symlinkSync('..', join(inside, 'sub'));
  assert.equal(walk(6, ['secret'], 5), 20);
  assert.deepEqual(readdirSync(around).sort(), ['inside', 'secret']);
  assert.equal(readFileSync(join(around, 'secret'), 'utf8'), 'secret');
  folder.close();
});

test('a folder to be read is not written', { skip }, () => {
  const { inside, begin, ask, ok, walk, folder } = shared({ isReadOnly: true });
  writeFileSync(join(inside, 'a'), 'abc');
  begin();
  assert.ok(typeof walk(1, ['a']) !== 'number');
  assert.equal(
    ask(T.lopen, (out) => out.u32(1).u32(0o2)),
    30,
  );
  assert.equal(
    ask(T.unlinkat, (out) => out.u32(0).text('a').u32(0)),
    30,
  );
  assert.equal(
    ask(T.mkdir, (out) => out.u32(0).text('b').u32(0o700).u32(0)),
    30,
  );
  ok(T.lopen, (out) => out.u32(1).u32(0));
  assert.equal(text(ok(T.read, (out) => out.u32(1).u64(0n).u32(9))), 'abc');
  folder.close();
});

test('a client goes on after its machine was saved and loaded in the middle of work', { skip }, () => {
  const first = shared();
  first.begin();
  first.walk(1, []);
  first.ok(T.lcreate, (out) => out.u32(1).text('a').u32(0o2).u32(0o600).u32(0));
  first.ok(T.write, (out) => out.u32(1).u64(0n).u32(3).bytes(Buffer.from('one')));
  first.walk(2, []);
  first.ok(T.lopen, (out) => out.u32(2).u32(0o200000));
  const saved = first.machine.pci.save();
  // As on a machine that has just been made.
  first.machine.device.model.reset();
  first.machine.pci.load(saved);
  first.ok(T.write, (out) => out.u32(1).u64(3n).u32(3).bytes(Buffer.from('two')));
  assert.equal(readFileSync(join(first.inside, 'a'), 'utf8'), 'onetwo');
  assert.deepEqual(namesIn(first.ok(T.readdir, (out) => out.u32(2).u64(0n).u32(500))), ['.', '..', 'a']);
  const random = seededRandom(5);
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const damaged = saved.slice();
    for (let k = 0; k < 3; k++) damaged[random(damaged.length)] = random(256);
    try {
      first.machine.pci.load(damaged);
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 20);
  assert.deepEqual(readdirSync(first.around).sort(), ['inside', 'secret']);
  first.folder.close();
});

test('random messages are answered or refused, and touch nothing outside', { skip, timeout: 60_000 }, () => {
  const { around, begin, raw, folder } = shared();
  begin();
  const random = seededRandom(4711);
  const types = [...Object.values(T), 2, 18, 32, 52, 54, 102, 108, 255];
  const names = ['a', 'b', '..', '.', '', '../secret', 'sub', 'x'.repeat(300), '/', 'a\0'];
  for (let i = 0; i < 6000; i++) {
    const out = new MessageWriter();
    out.u32(0).u8(types[random(types.length)]!).u16(random(4));
    for (let k = random(8); k > 0; k--) {
      const kind = random(5);
      if (kind === 0) out.u32(random(6));
      else if (kind === 1) out.text(names[random(names.length)]!);
      else if (kind === 2) out.u64(BigInt(random(64)));
      else if (kind === 3) out.u16(random(3));
      else out.u32(random(2) === 0 ? 0xffffffff : random(0x1000));
    }
    const length = random(20) === 0 ? random(0x10000) : out.length;
    out.patch(0, length);
    raw(out.written, random(10) === 0 ? random(32) + 1 : answerBytes);
    if (i % 500 === 0) begin();
  }
  assert.deepEqual(readdirSync(around).sort(), ['inside', 'secret']);
  assert.equal(readFileSync(join(around, 'secret'), 'utf8'), 'secret');
  folder.close();
});
