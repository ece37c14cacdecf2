/**
 * An installed Debian, used as a person would: from a qcow2 disk through SeaBIOS and GRUB, reached by ssh and http over forwarded
 * ports, a large file copied both ways, names looked up; then the process is killed in the middle of writes, and the file system is
 * whole. Needs root, debootstrap and the archive.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findFirmware } from '../host/node/firmware-file.js';
import { freePort } from '../host/node/testing/free-port.js';
import {
  checkFileSystem,
  hashOfFile,
  type InstalledDebian,
  installDebian,
  noDebootstrap,
  takePartition,
} from './installed-debian.js';

const main = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const COPY_BYTES = Number(process.env['VRING_COPY_MIB'] ?? '32') << 20;
const folder = mkdtempSync(join(tmpdir(), 'vring-installed-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const call = promisify(execFile);

class Running {
  readonly child: ChildProcess;
  text = '';

  constructor(disk: string, ssh: number, http: number) {
    const forward = `hostfwd=tcp:127.0.0.1:${ssh}-:22,hostfwd=tcp:127.0.0.1:${http}-:80`;
    const words = ['-m', '512', '-display', 'none', '-serial', 'stdio', '-hda', disk];
    this.child = spawn(process.execPath, [main, 'run', ...words, '-nic', `user,model=virtio-net-pci,${forward}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout?.setEncoding('latin1').on('data', (chunk: string) => {
      this.text += chunk;
    });
  }

  async waitFor(words: string, milliseconds: number): Promise<void> {
    for (const end = Date.now() + milliseconds; !this.text.includes(words); ) {
      assert.ok(Date.now() < end && this.child.exitCode === null, `no '${words}' in: ${this.text.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await gone;
  }
}

const skip = noDebootstrap() || (!findFirmware('bios-256k.bin', []) && 'no seabios here');

test('an installed Debian: boot, ssh, http, names, scp, and a file system that outlives SIGKILL', {
  skip,
  timeout: 1_500_000,
}, async (t) => {
  let system: InstalledDebian;
  try {
    system = installDebian(folder);
  } catch (error) {
    if (/Failed getting release file|Couldn't download/.test((error as Error).message)) return t.skip('no archive');
    throw error;
  }
  const disk = join(folder, 'disk.qcow2');
  const converted = spawnSync(process.execPath, [main, 'img', 'convert', '-O', 'qcow2', system.disk, disk]);
  assert.equal(converted.status, 0, String(converted.stderr));
  rmSync(system.disk);
  const sshPort = await freePort();
  const httpPort = await freePort();
  let hash = '';
  const machine = new Running(disk, sshPort, httpPort);
  try {
    await machine.waitFor('vring login:', 600_000);
    const common = ['-i', system.key, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'];
    common.push('-o', 'LogLevel=ERROR', '-o', 'ConnectTimeout=120', '-o', 'BatchMode=yes');
    const ssh = async (command: string) =>
      (await call('ssh', [...common, '-p', String(sshPort), 'root@127.0.0.1', command])).stdout;
    // The prompt may be there before the network is.
    for (
      const end = Date.now() + 240_000;
      Date.now() < end &&
      !(await ssh('true').then(
        () => true,
        () => false,
      ));
    )
      await new Promise((resolve) => setTimeout(resolve, 1000));
    const shown = await ssh('ip -4 -o addr show eth0; cat /etc/resolv.conf; systemctl is-system-running --wait');
    assert.match(shown, /inet 10\.0\.2\.15\/24 .*dynamic/);
    assert.match(shown, /^nameserver 10\.0\.2\.3$/m);
    assert.match(shown, /^running$/m);
    const page = await fetch(`http://127.0.0.1:${httpPort}/`);
    assert.equal(await page.text(), system.page);
    assert.match(await ssh('getent hosts deb.debian.org'), /^[0-9a-f.:]+\s+\S*debian\S*/);

    const bytes = randomBytes(COPY_BYTES);
    hash = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(join(folder, 'sent'), bytes);
    await call('scp', [...common, '-P', String(sshPort), join(folder, 'sent'), 'root@127.0.0.1:/root/file']);
    assert.equal((await ssh('sha256sum /root/file')).split(' ')[0], hash);
    await call('scp', [...common, '-P', String(sshPort), 'root@127.0.0.1:/root/file', join(folder, 'back')]);
    assert.equal(
      createHash('sha256')
        .update(readFileSync(join(folder, 'back')))
        .digest('hex'),
      hash,
    );

    // What was synced is there for good. Then many files are written, and forced to the disk now and then, until nothing answers.
    await ssh('sync');
    const one = 'mkdir -p /root/d$((i%20)); head -c 40000 /dev/urandom >/root/d$((i%20))/f$i';
    const load = ssh(`i=0; while :; do i=$((i+1)); ${one}; [ $((i%8)) -ne 0 ] || sync; done`).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 6000));
    await machine.kill();
    await load;
  } finally {
    if (machine.child.exitCode === null && machine.child.signalCode === null) await machine.kill();
  }
  const checked = spawnSync(process.execPath, [main, 'img', 'check', disk], { encoding: 'utf8' });
  // Clusters that nothing refers to may be left behind (status 3), but nothing is damaged.
  assert.ok(checked.status === 0 || checked.status === 3, checked.stdout + checked.stderr);
  const raw = join(folder, 'after.raw');
  assert.equal(spawnSync(process.execPath, [main, 'img', 'convert', '-O', 'raw', disk, raw]).status, 0);
  const partition = join(folder, 'partition');
  takePartition(raw, partition);
  const found = checkFileSystem(partition);
  assert.equal(found.status, 0, found.text);
  assert.equal(hashOfFile(partition, '/root/file', join(folder, 'dumped')), hash);
});
