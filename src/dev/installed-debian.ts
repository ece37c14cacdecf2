/**
 * A Debian as a person would have installed it, on a disk image: debootstrap's minimal system with systemd, a kernel, ssh, ifupdown
 * and a small web server; an ext4 file system in a DOS partition; GRUB in front of it. Needs root, debootstrap, e2fsprogs, the
 * archive, and `vring img`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

const DISK_BYTES = 2 * 2 ** 30;
const SECTOR = 512;
/** Where the partition begins; GRUB lies before it. */
const FIRST_SECTOR = 2048;
const PACKAGES =
  'systemd-sysv,udev,linux-image-cloud-amd64,openssh-server,grub-pc-bin,grub-common,ifupdown,isc-dhcp-client,busybox,iproute2';

/** What is missing here, or false. */
export function noDebootstrap(): string | false {
  if (process.getuid?.() !== 0) return 'only root can make a system';
  const missing = ['debootstrap', 'mkfs.ext4', 'e2fsck', 'ssh', 'scp', 'ssh-keygen'].filter(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  );
  return missing.length > 0 && `${missing.join(', ')} missing`;
}

function run(command: string, ...args: string[]): void {
  const result = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  if (result.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: ${result.error ?? result.stdout + result.stderr}`);
}

export interface InstalledDebian {
  /** The disk as a raw image. */
  readonly disk: string;
  /** Private key that lets root in. */
  readonly key: string;
  /** What the web server gives for `/`. */
  readonly page: string;
}

/** Makes the system in `folder`. Throws an Error with what the failing tool said. */
export function installDebian(folder: string, mirror = 'http://deb.debian.org/debian'): InstalledDebian {
  const root = join(folder, 'root');
  const write = (path: string, text: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  // Neither documentation nor a well compressed initramfs is looked at.
  write(
    'etc/dpkg/dpkg.cfg.d/quick',
    'force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/locale/*\n',
  );
  write('etc/initramfs-tools/conf.d/quick', 'COMPRESS=gzip\nCOMPRESSLEVEL=1\n');
  run('debootstrap', '--variant=minbase', `--include=${PACKAGES}`, 'bookworm', root, mirror);

  const key = join(folder, 'key');
  run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key);
  write('root/.ssh/authorized_keys', readFileSync(`${key}.pub`, 'utf8'));
  write('etc/hostname', 'vring\n');
  write('etc/hosts', '127.0.0.1 localhost vring\n');
  write('etc/network/interfaces', 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n');
  write('etc/fstab', 'LABEL=root / ext4 errors=remount-ro 0 1\n');
  // A host with much else to do must not make units fail.
  write('etc/systemd/system.conf.d/slow.conf', '[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\n');
  const page = 'a page of the guest\n';
  write('srv/www/index.html', page);
  write(
    'etc/systemd/system/www.service',
    '[Service]\nExecStart=/bin/busybox httpd -f -p 80 -h /srv/www\n[Install]\nWantedBy=multi-user.target\n',
  );
  run('chroot', root, 'systemctl', 'enable', 'www.service');
  const version = readdirSync(join(root, 'boot'))
    .find((name) => name.startsWith('vmlinuz-'))
    ?.slice('vmlinuz-'.length);
  write(
    'boot/grub/grub.cfg',
    [
      'set timeout=0',
      "menuentry 'Debian' {",
      `  linux /boot/vmlinuz-${version} root=LABEL=root ro net.ifnames=0 console=tty0 console=ttyS0`,
      `  initrd /boot/initrd.img-${version}`,
      '}\n',
    ].join('\n'),
  );
  const modules = ['biosdisk', 'part_msdos', 'ext2', 'normal', 'linux', 'configfile', 'test', 'echo'];
  const place = ['-O', 'i386-pc', '-o', '/boot/grub/core.img', '-p', '(hd0,msdos1)/boot/grub'];
  run('chroot', root, 'grub-mkimage', ...place, ...modules);

  const disk = join(folder, 'disk.raw');
  writeBootSectors(disk, root);
  const partition = `${(DISK_BYTES - FIRST_SECTOR * SECTOR) / 1024}k`;
  run('mkfs.ext4', '-q', '-F', '-L', 'root', '-d', root, '-E', `offset=${FIRST_SECTOR * SECTOR}`, disk, partition);
  run('rm', '-rf', '--one-file-system', root);
  return { disk, key, page };
}

/** A master boot record with GRUB's code and one partition, and GRUB's core behind it, as grub-bios-setup leaves them. */
function writeBootSectors(disk: string, root: string): void {
  const boot = readFileSync(join(root, 'usr/lib/grub/i386-pc/boot.img'));
  const image = readFileSync(join(root, 'boot/grub/core.img'));
  const sectors = Math.ceil(image.length / SECTOR);
  const core = Buffer.alloc(sectors * SECTOR);
  image.copy(core);
  // Where boot.img finds the core, and where the core's first sector finds the others: sector, count, segment.
  boot.writeBigUInt64LE(1n, 0x5c);
  core.writeBigUInt64LE(2n, 0x1f4);
  core.writeUInt16LE(sectors - 1, 0x1fc);
  core.writeUInt16LE(0x820, 0x1fe);
  boot.writeUInt32LE(0x76726e67, 0x1b8);
  boot.fill(0, 0x1be, 0x1fe);
  boot.set([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff], 0x1be);
  boot.writeUInt32LE(FIRST_SECTOR, 0x1c6);
  boot.writeUInt32LE(DISK_BYTES / SECTOR - FIRST_SECTOR, 0x1ca);
  boot.set([0x55, 0xaa], 0x1fe);
  if (sectors >= FIRST_SECTOR) throw new Error('GRUB does not fit before the partition');
  const file = openSync(disk, 'w');
  ftruncateSync(file, DISK_BYTES);
  writeSync(file, boot, 0, SECTOR, 0);
  writeSync(file, core, 0, core.length, SECTOR);
  closeSync(file);
}

/** Takes the partition out of a raw disk image, into a file of its own. */
export function takePartition(disk: string, partition: string): void {
  const blocks = `skip=${(FIRST_SECTOR * SECTOR) >> 20}`;
  run('dd', `if=${disk}`, `of=${partition}`, 'bs=1M', blocks, 'conv=sparse', 'status=none');
}

/** SHA-256 of a file in a file system, by way of a file `at` here. */
export function hashOfFile(partition: string, path: string, at: string): string {
  run('debugfs', '-R', `dump ${path} ${at}`, partition);
  return createHash('sha256').update(readFileSync(at)).digest('hex');
}

/** What e2fsck says about a file system once its journal has been read, as at the next start. 0: there is nothing to mend. */
export function checkFileSystem(partition: string): { readonly status: number | null; readonly text: string } {
  const check = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync('e2fsck', [...args, partition], { encoding: 'utf8' });
    return { status, text: stdout + stderr };
  };
  const replayed = check('-y', '-E', 'journal_only');
  return replayed.status === null || replayed.status > 1 ? replayed : check('-f', '-n');
}
