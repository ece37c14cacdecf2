import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plan, refusal } from './testing/plans.js';

test('virtio network cards: what they offer', () => {
  const settings = (properties: string) => {
    const { machine } = plan('-netdev', 'user,id=n', '-device', `virtio-net-pci,netdev=n,${properties}`);
    const device = machine.devices?.find((each) => each.type === 'virtio-net');
    assert.ok(device?.type === 'virtio-net');
    return device;
  };
  const many = settings(
    'mq=on,vectors=10,ctrl_vq=on,ctrl_mac_addr=off,host_tso4=off,guest_ufo=on,mrg_rxbuf=off,rx_queue_size=1024,' +
      'tx_queue_size=512,speed=10000,duplex=full,status=off,event_idx=off,indirect_desc=on,romfile=,tx=bh,rss=off',
  );
  assert.deepEqual(many.features, {
    multiQueue: true,
    controlQueue: true,
    controlMac: false,
    hostTso4: false,
    mergeableBuffers: false,
    status: false,
  });
  assert.deepEqual(
    [many.vectors, many.rxQueueSize, many.speed, many.duplex, many.eventIndex, many.indirectDescriptors],
    [10, 1024, 10000, 'full', false, true],
  );
  assert.equal(settings('speed=-1').speed, undefined);
  const refused = (property: string) =>
    refusal('-netdev', 'user,id=n', '-device', `virtio-net-pci,netdev=n,${property}`);
  assert.match(
    refused('rx_queue_size=300'),
    /Invalid rx_queue_size \(= 300\), must be a power of 2 between 256 and 1024/,
  );
  assert.match(refused('duplex=both'), /half, full/);
  assert.match(refused('rss=on'), /rss=on is not supported yet/);
  assert.match(refused('mq=maybe'), /mq is on or off/);
  assert.match(refusal('-netdev', 'user,id=n,queues=2'), /there is no queues=/);
});

test('tap networks', () => {
  const { machine } = plan(
    ...['-netdev', 'tap,id=a,ifname=tap7,script=no,downscript=no,queues=4,vhost=off,sndbuf=1M,vnet_hdr=off'],
    ...['-netdev', 'tap,id=b,fds=5:6', '-netdev', 'tap,id=c,fd=9'],
  );
  assert.deepEqual(
    machine.networks?.map(({ captures: _captures, ...each }) => JSON.parse(JSON.stringify(each))),
    [
      { kind: 'tap', ifname: 'tap7', queues: 4, vnetHeader: false, sendBufferBytes: 1 << 20, id: 'a' },
      { kind: 'tap', descriptors: [5, 6], id: 'b' },
      { kind: 'tap', descriptors: [9], id: 'c' },
    ],
  );
});

test('networks', () => {
  const { machine } = plan(
    '-netdev',
    'user,id=n,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-10.0.2.16:5353,restrict=on,guestfwd=:10.0.2.100:80-cmd:cat,guestfwd=tcp:10.0.2.101:81-tcp:localhost:8000,guestfwd=tcp:10.0.2.102:82-unix:/s',
    '-device',
    'virtio-net-pci,netdev=n,mac=52:54:00:00:00:01',
    '-nic',
    'socket,connect=:1234,model=virtio',
    '-object',
    'filter-dump,id=f,netdev=n,file=out.pcap,maxlen=128',
  );
  const [user, socket] = machine.networks ?? [];
  assert.equal(user.kind === 'user' && user.user?.restrict, true);
  assert.deepEqual(user.kind === 'user' && user.user?.hostForwards, [
    { protocol: 'tcp', hostAddress: undefined, hostPort: 2222, guestAddress: undefined, guestPort: 22 },
    {
      protocol: 'udp',
      hostAddress: Uint8Array.of(127, 0, 0, 1),
      hostPort: 53,
      guestAddress: Uint8Array.of(10, 0, 2, 16),
      guestPort: 5353,
    },
  ]);
  assert.deepEqual(
    user.kind === 'user' && user.user?.guestForwards?.map(({ address, port, target }) => [address[3], port, target]),
    [
      [100, 80, { kind: 'command', command: 'cat' }],
      [101, 81, { kind: 'stream', host: 'localhost', port: 8000 }],
      [102, 82, { kind: 'stream', path: '/s' }],
    ],
  );
  assert.deepEqual(user.captures, [{ path: 'out.pcap', snapLength: 128 }]);
  assert.deepEqual(socket, { kind: 'connect', place: { host: '127.0.0.1', port: 1234 }, id: '#nic0', captures: [] });
  const cards = (machine.devices ?? []).filter(({ type }) => type === 'virtio-net');
  assert.deepEqual(
    cards.map((card) => card.type === 'virtio-net' && [card.network, card.mac]),
    [
      ['n', '52:54:00:00:00:01'],
      ['#nic0', undefined],
    ],
  );
  for (const [text, backend] of [
    ['addr.type=unix,addr.path=/s', { kind: 'connect', place: { path: '/s' } }],
    ['server=on,addr.type=unix,addr.path=/s', { kind: 'listen', place: { path: '/s' } }],
    ['server=on,addr.type=inet,addr.host=::1,addr.port=0', { kind: 'listen', place: { host: '::1', port: 0 } }],
    ['server=off,addr.type=fd,addr.str=7', { kind: 'descriptor', fd: 7 }],
  ] as const)
    assert.deepEqual(plan('-netdev', `stream,id=s,${text}`).machine.networks, [{ ...backend, id: 's', captures: [] }]);
  assert.deepEqual(plan('-netdev', 'dgram,id=d,local.type=fd,local.str=8').machine.networks, [
    { kind: 'descriptor', fd: 8, isDatagram: true, id: 'd', captures: [] },
  ]);
  for (const [text, why] of [
    ['stream,id=s', /addr\.type= is missing/],
    ['stream,id=s,addr.type=inet,addr.host=h,addr.port=99999', /addr\.port is a whole number from 0 to 65535/],
    ['stream,id=s,addr.type=fd,addr.str=x', /Invalid file descriptor number 'x'/],
    ['dgram,id=d,local.type=fd,local.str=8,remote.type=inet,remote.host=h', /don't set remote with local\.fd/],
  ] as const)
    assert.throws(() => plan('-netdev', text), why);
  assert.deepEqual(plan('-nic', 'none').machine.networks, []);
  assert.deepEqual(plan('-net', 'nic', '-net', 'user').machine.networks?.length, 1);
  const typesOf = (...words: string[]) => (plan(...words).machine.devices ?? []).map(({ type }) => type);
  assert.ok(typesOf('-nic', 'user').includes('e1000'), 'as QEMU on a PC');
  assert.ok(typesOf('-arch', 'riscv64', '-nic', 'user').includes('virtio-net'));
  assert.ok(typesOf('-nic', 'user,model=rtl8139').includes('rtl8139'));
  assert.ok(typesOf('-net', 'nic,model=ne2k_pci', '-net', 'user').includes('ne2k_pci'));
  const roms = (...words: string[]) =>
    (plan(...words).machine.devices ?? []).flatMap((device) => ('rom' in device ? [device.rom] : []));
  assert.deepEqual(roms('-netdev', 'user,id=n', '-device', 'e1000,netdev=n,romfile='), [undefined]);
  assert.match(
    refusal('-netdev', 'user,id=n', '-device', 'e1000,netdev=n,romfile=/nowhere.rom'),
    /no option ROM '\/nowhere\.rom'/,
  );
  const isa = plan('-netdev', 'user,id=n', '-device', 'ne2k_isa,netdev=n,iobase=0x320,irq=5').machine.devices ?? [];
  assert.deepEqual(
    isa.filter(({ type }) => type === 'ne2k_isa'),
    [{ type: 'ne2k_isa', network: 'n', mac: undefined, port: 0x320, irq: 5 }],
  );
});

test('a card without a network is there, and told of; -global of what is not there changes nothing', () => {
  const { machine, notices } = plan(
    ...['-device', 'e1000', '-device', 'e1000,id=c', '-k', 'de', '-global', 'e1000e.x=1', '-global', 'foo.bar=1'],
    ...['-global', 'rtl8139.x=1'],
  );
  assert.deepEqual(
    machine.networks?.map(({ kind, id }) => [kind, id]),
    [
      ['none', '#none:e1000.0'],
      ['none', '#none:c'],
    ],
  );
  assert.deepEqual(notices, [
    'warning: nic e1000.0 has no peer',
    'warning: nic c has no peer',
    'warning: global foo.bar has invalid class name',
  ]);
  assert.match(
    refusal('-global', 'virtio-net-pci.romfile=', '-nic', 'user,model=virtio'),
    /for devices of -device only/,
  );
});
