/** What QMP says of itself, against QEMU's own: equal where it is there, and what is left out is listed here by name. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { qmpCommands } from './commands.js';
import { check } from './interface/check.js';
import { qmpInterface } from './interface/grammar.js';
import { qmpSchema } from './schema.js';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-schema-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;

/** Entries of a schema by name. */
type Entries = ReadonlyMap<string, Answer>;
const byName = (schema: Answer[]): Entries => new Map(schema.map((entry) => [entry.name, entry]));

/** Two schemas walked together from their commands and events; what they differ in is told by the way that leads there. */
class Comparison {
  readonly wrong: string[] = [];
  /** What QEMU has and vring has not. */
  readonly less: string[] = [];
  readonly #ours: Entries;
  readonly #theirs: Entries;
  readonly #seen = new Set<string>();

  constructor(ours: Answer[], theirs: Answer[]) {
    this.#ours = byName(ours);
    this.#theirs = byName(theirs);
    for (const entry of ours) if (entry['meta-type'] === 'command' || entry['meta-type'] === 'event') this.#top(entry);
  }

  #top(ours: Answer): void {
    const theirs = this.#theirs.get(ours.name);
    if (theirs?.['meta-type'] !== ours['meta-type']) {
      this.wrong.push(`${ours.name}: QEMU has none`);
      return;
    }
    this.#features(ours, theirs, ours.name);
    this.#types(ours['arg-type'], theirs['arg-type'], ours.name);
    if (ours['ret-type'] !== undefined) this.#types(ours['ret-type'], theirs['ret-type'], `${ours.name} returns`);
  }

  #features(ours: Answer, theirs: Answer, path: string): void {
    const [our, their] = [ours.features ?? [], theirs.features ?? []].map((each) => [...each].sort().join());
    if (our !== their) this.wrong.push(`${path}: features ${our}, QEMU's ${their}`);
  }

  #types(ourName: string, theirName: string, path: string): void {
    const pair = `${ourName} ${theirName}`;
    if (this.#seen.has(pair)) return;
    this.#seen.add(pair);
    const [ours, theirs] = [this.#ours.get(ourName), this.#theirs.get(theirName)];
    if (!ours || ours['meta-type'] !== theirs['meta-type'] || ours['json-type'] !== theirs['json-type']) {
      this.wrong.push(`${path}: ${ours?.['meta-type']} ${ourName}, QEMU's ${theirs['meta-type']} ${theirName}`);
      return;
    }
    this.#features(ours, theirs, path);
    switch (ours['meta-type']) {
      case 'array':
        this.#types(ours['element-type'], theirs['element-type'], `${path}[]`);
        break;
      case 'enum': {
        assert.deepEqual(
          ours.values,
          ours.members.map(({ name }: Answer) => name),
        );
        this.#lists(ours.members, theirs.members, path, ' is ');
        break;
      }
      case 'alternate': {
        if (ours.members.length !== theirs.members.length) this.wrong.push(`${path}: choices`);
        for (const [i, { type }] of ours.members.entries()) this.#types(type, theirs.members[i]?.type, `${path}|${i}`);
        break;
      }
      case 'object':
        this.#lists(ours.members, theirs.members, path, '.');
        if (ours.tag !== theirs.tag) this.wrong.push(`${path}: tag ${ours.tag}, QEMU's ${theirs.tag}`);
        for (const variant of ours.variants ?? []) {
          const there = theirs.variants?.find((each: Answer) => each.case === variant.case);
          if (there) this.#types(variant.type, there.type, `${path}:${variant.case}`);
          else this.wrong.push(`${path}:${variant.case}: QEMU has none`);
        }
    }
  }

  #lists(ours: Answer[], theirs: Answer[], path: string, sign: string): void {
    for (const member of ours) {
      const there = theirs.find(({ name }) => name === member.name);
      const place = `${path}${sign}${member.name}`;
      if (!there) {
        this.wrong.push(`${place}: QEMU has none`);
        continue;
      }
      if ('default' in member !== 'default' in there) this.wrong.push(`${place}: optional`);
      this.#features(member, there, place);
      if (member.type !== undefined) this.#types(member.type, there.type, place);
    }
    const missing = theirs.filter((each) => !ours.some(({ name }) => name === each.name)).map(({ name }) => name);
    if (missing.length > 0) this.less.push(`${path}${sign}${missing.join(' ')}`);
  }
}

/** As `less` of Comparison has it. A line goes away when vring learns it. */
const leftOut: readonly string[] = [
  [
    'query-target returns.arch is alpha avr cris hppa i386 loongarch64 m68k microblaze microblazeel mips mips64',
    'mips64el mipsel nios2 or1k ppc ppc64 riscv32 rx s390x sh4 sh4eb sparc sparc64 tricore xtensa xtensaeb',
  ].join(' '),
  [
    'query-migrate returns.status ram disk vfio xbzrle-cache total-time expected-downtime downtime setup-time',
    'cpu-throttle-percentage error-desc blocked-reasons postcopy-blocktime postcopy-vcpu-blocktime compression',
    'socket-address',
  ].join(' '),
  'query-memory-devices returns[].type is nvdimm virtio-pmem virtio-mem sgx-epc',
  [
    'object-add.qom-type is authz-list authz-listfile authz-pam authz-simple can-bus can-host-socketcan',
    'colo-compare cryptodev-backend cryptodev-backend-builtin cryptodev-backend-lkcf cryptodev-vhost-user',
    'dbus-vmstate filter-buffer filter-dump filter-mirror filter-redirector filter-replay filter-rewriter',
    'input-barrier input-linux main-loop memory-backend-epc memory-backend-file pef-guest pr-manager-helper',
    'qtest rng-egd secret_keyring sev-guest thread-context s390-pv-guest tls-cipher-suites x-remote-object',
    'x-vfio-user-server',
  ].join(' '),
  [
    'object-add:throttle-group.x-iops-total x-iops-total-max x-iops-total-max-length x-iops-read',
    'x-iops-read-max x-iops-read-max-length x-iops-write x-iops-write-max x-iops-write-max-length x-bps-total',
    'x-bps-total-max x-bps-total-max-length x-bps-read x-bps-read-max x-bps-read-max-length x-bps-write',
    'x-bps-write-max x-bps-write-max-length x-iops-size',
  ].join(' '),
  'query-block returns[].inserted.image.format-specific.type is rbd',
  'query-blockstats returns[].stats.rd_latency_histogram wr_latency_histogram flush_latency_histogram',
  'query-blockstats returns[].driver-specific',
  'nbd-server-start.addr.type is vsock',
  'nbd-server-start.tls-creds tls-authz',
  'nbd-server-add.bitmap',
  'block-export-add.type is vhost-user-blk fuse vduse-blk',
  'block-export-add.fixed-iothread iothread writethrough',
  'query-jobs returns[].type is amend snapshot-load snapshot-save snapshot-delete',
  'drive-mirror.replaces',
  'blockdev-mirror.replaces',
  'block-stream.bottom',
  [
    'blockdev-create.options.driver is blklogwrites blkreplay copy-before-write snapshot-access ftp ftps',
    'gluster host_cdrom iscsi nfs nvme preallocate quorum rbd replication ssh vvfat',
  ].join(' '),
  'blockdev-create.options:luks.file|0:blkdebug.take-child-perms unshare-child-perms',
  'blockdev-create.options:luks.file|0:file.pr-manager aio-max-batch',
  [
    'query-migrate-capabilities returns[].capability is xbzrle rdma-pin-all auto-converge zero-blocks compress',
    'postcopy-ram x-colo release-ram block return-path pause-before-switchover multifd dirty-bitmaps',
    'postcopy-blocktime late-block-activate x-ignore-shared validate-uuid background-snapshot zero-copy-send',
    'postcopy-preempt',
  ].join(' '),
  [
    'chardev-add.backend.type is serial parallel mux msmouse wctablet braille testdev console spicevmc spiceport',
    'qemu-vdagent dbus vc',
  ].join(' '),
  'netdev_add.type is none nic l2tpv3 vde bridge hubport netmap vhost-user vhost-vdpa',
  [
    'send-key.keys[]:qcode.data is unmapped stop again props undo front copy open paste find cut lf help pause',
    'ro hiragana henkan yen muhenkan katakanahiragana kp_comma kp_equals power sleep wake audionext audioprev',
    'audiostop audioplay audiomute volumeup volumedown mediaselect mail calculator computer ac_home ac_back',
    'ac_forward ac_refresh ac_bookmarks lang1 lang2',
  ].join(' '),
  'screendump.device head',
  'set_password.protocol is spice',
  'GUEST_PANICKED.info',
];

test('each command, event and type is as QEMU tells of it', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start([]);
  const [{ return: ours }, { return: theirs }] = await machines.ask('query-qmp-schema');
  const { wrong, less } = new Comparison(ours, theirs);
  assert.deepEqual(wrong, []);
  assert.deepEqual(less, leftOut);
  const [{ return: commands }] = await machines.ask('query-commands');
  const told = ours.filter((entry: Answer) => entry['meta-type'] === 'command');
  assert.deepEqual(
    commands.map(({ name }: Answer) => name),
    told.map(({ name }: Answer) => name),
  );
});

/** Asked without arguments, on a machine with something of each kind. */
test('what is answered has the shape that the interface tells of', { skip, timeout: 100_000 }, async () => {
  const image = join(folder, 'disk.qcow2');
  spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', image, '1M']);
  await using machines = new SideBySide(folder);
  await machines.startOurs([
    ...['-drive', `if=none,id=d0,file=${image}`, '-device', 'virtio-blk-pci,drive=d0,id=disk', '-device', 'ide-cd'],
    ...['-netdev', 'user,id=n0', '-device', 'e1000,netdev=n0,id=card', '-chardev', 'ringbuf,id=r', '-name', 'box'],
    ...['-device', 'virtio-balloon-pci', '-device', 'piix3-usb-uhci', '-vnc', `unix:${join(folder, 'vnc')}`],
  ]);
  const { commands } = qmpInterface();
  for (const { name } of qmpCommands.filter(({ name }) => name.startsWith('query-'))) {
    const answer = await machines.ours.ask(JSON.stringify({ execute: name }));
    if (name === 'query-vm-generation-id') assert.equal(answer.error.class, 'GenericError');
    else check(commands.get(name)?.answer ?? assert.fail(name), answer.return, name);
  }
});

test('the interface has what the commands have, each type is told once, and each name leads somewhere', () => {
  const names = qmpCommands.map(({ name }) => name);
  assert.deepEqual([...qmpInterface().commands.keys()].sort(), [...names].sort());
  const schema = qmpSchema(names) as Answer[];
  const entries = byName(schema);
  assert.equal(entries.size, schema.length);
  const types = JSON.stringify(schema).matchAll(/"(?:arg-type|ret-type|element-type|type)":"([^"]+)"/g);
  for (const [, type] of types) assert.ok(entries.has(type), type);
});
