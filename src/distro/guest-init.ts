/**
 * `/init` of the Debian guest, for busybox's shell, and the small files that tell it what to do in this run. The protocol
 * that it speaks is guest-protocol.ts's.
 *
 * The command's streams are FIFOs with a `cat` between each and its port, because a port can be opened only once and so would
 * make `echo x >/dev/stderr` fail. The command runs in the foreground of this shell: in the background a shell without job
 * control would have it ignore SIGINT. When it has ended, what it left running is killed, as a container's processes are, so
 * that the FIFOs end and the last bytes can be waited for.
 */
import { VringError } from '../base/errors.js';
import { guestPorts, guestProtocolVersion } from './guest-protocol.js';

/** Paths of `run`, `command` and `environment` are fixed: /vring. `root` is another root for tests on the host. */
export const guestInit = `#!/bin/busybox sh
# /init of vring's Debian guest.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root SHELL=/bin/sh
[ -e /bin/mount ] || /bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
hostname -F /etc/hostname
ip link set lo up 2>/dev/null

# Drivers for what is there; loading virtio_pci makes the virtio devices appear.
modprobe -qab virtio_pci virtio_mmio $(cat /sys/bus/pci/devices/*/modalias 2>/dev/null) 2>/dev/null
modprobe -qab $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null) 2>/dev/null
[ -z "$(ls /sys/class/scsi_host 2>/dev/null)" ] || modprobe -qa sd_mod sr_mod 2>/dev/null

. /vring/session
finish
`;

/**
 * The part of /init after the drivers: it is also run on a host under busybox, with FIFOs for ports, by the tests. It takes
 * `find_port NAME` and `finish` from what sources it when they are defined already.
 */
export const guestSession = `# Runs the shell or the command of this run, and tells the host how it ended.
state=\${VRING_STATE:-/run/vring}
mkdir -p "$state"
. "\${VRING_RUN:-/vring}/run"
. "\${VRING_RUN:-/vring}/environment"

type find_port >/dev/null 2>&1 || find_port() {
  for port in /sys/class/virtio-ports/*; do
    { read -r name <"$port/name"; } 2>/dev/null || continue
    [ "$name" != "$1" ] || { found=/dev/\${port##*/}; return 0; }
  done
  return 1
}

type finish >/dev/null 2>&1 || finish() {
  ! grep -q '^/dev/' /proc/mounts || umount -a -r 2>/dev/null
  poweroff -f
}

fail() {
  echo "failed $1" >&9
  finish
}

# Every process but this one, the kernel's (which do not mind) and the relays of what is still to be written.
end_others() {
  others=
  for each in /proc/[0-9]*; do
    each=\${each#/proc/}
    case " 1 $$ $relay_out $relay_err " in
      *" $each "*) ;;
      *) others="$others $each" ;;
    esac
  done
  kill -9 $others 2>/dev/null
}
[ $$ = 1 ] || end_others() { kill -9 $relay_in $reader 2>/dev/null; }

read_control() {
  while read -r verb first second; do
    case $verb in
      signal)
        while [ ! -s "$state/pid" ]; do sleep 0.01; done
        read -r target <"$state/pid"
        kill -"$first" -"$target" 2>/dev/null
        ;;
      winsize) stty -F "/dev/$console" cols "$first" rows "$second" 2>/dev/null ;;
      close)
        case $first in
          stdout) kill $relay_out 2>/dev/null ;;
          stderr) kill $relay_err 2>/dev/null ;;
        esac
        ;;
    esac
  done
}

relay_in= relay_out= relay_err=
tries=0
until find_port ${guestPorts.control}; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || break
  sleep 0.01
done
if [ $tries -lt 500 ]; then
  exec 9<>"$found"
  echo 'hello ${guestProtocolVersion}' >&9
  while read -r verb rest <&9 && [ "$verb" != start ]; do
    [ "$verb" != winsize ] || stty -F "/dev/$console" cols "\${rest% *}" rows "\${rest#* }" 2>/dev/null
  done
else
  exec 9>/dev/null
fi
cd "$HOME" 2>/dev/null || cd /

if [ "$mode" = command ]; then
  . "\${VRING_RUN:-/vring}/command"
  find_port ${guestPorts.stdin} || fail 'The port ${guestPorts.stdin} is missing.'
  stdin=$found
  find_port ${guestPorts.stdout} || fail 'The port ${guestPorts.stdout} is missing.'
  stdout=$found
  find_port ${guestPorts.stderr} || fail 'The port ${guestPorts.stderr} is missing.'
  stderr=$found
  mkfifo "$state/in" "$state/out" "$state/err" || fail 'No pipe can be made.'
  cat <"$stdin" >"$state/in" 2>/dev/null 9>&- &
  relay_in=$!
  cat <"$state/out" >"$stdout" 2>/dev/null 9>&- &
  relay_out=$!
  cat <"$state/err" >"$stderr" 2>/dev/null 9>&- &
  relay_err=$!
  read_control <&9 9>&- >/dev/null 2>&1 &
  reader=$!
  # sh gives 126 and 127, and the word about it, for a command that cannot be run.
  VRING_PID="$state/pid" setsid sh -c 'echo $$ >"$VRING_PID"; unset VRING_PID; exec "$@"' sh "$@" \\
    <"$state/in" >"$state/out" 2>"$state/err" 9>&-
  status=$?
  end_others
  wait $relay_out $relay_err
else
  read_control <&9 9>&- >/dev/null 2>&1 &
  reader=$!
  VRING_PID="$state/pid" setsid -c sh -c 'echo $$ >"$VRING_PID"; unset VRING_PID; exec sh -l' \\
    <>"/dev/$console" >&0 2>&1 9>&-
  status=$?
fi
echo "status $status" >&9
`;

/** A word for the shell, whatever is in it but NUL. */
function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

export interface GuestRun {
  /** Undefined for a login shell on the console. */
  readonly command?: readonly string[] | undefined;
  /** Device name without /dev. */
  readonly console: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** The files of one run, by name in /vring. Throws VringError `command-invalid`. */
export function guestRunFiles(run: GuestRun): Record<'run' | 'command' | 'environment', string> {
  const { command = [] } = run;
  if (run.command !== undefined && (command.length === 0 || command[0] === '')) {
    throw new VringError('command-invalid', 'The command is empty.');
  }
  if (command.some((word) => word.includes('\0'))) {
    throw new VringError(
      'command-invalid',
      'A word of the command holds a NUL character, which no program can be given.',
    );
  }
  const variables = Object.entries(run.environment).filter(
    ([name, value]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !value.includes('\0'),
  );
  return {
    run: `mode=${run.command === undefined ? 'shell' : 'command'}\nconsole=${quote(run.console)}\n`,
    command: `set -- ${command.map(quote).join(' ')}\n`,
    environment: variables.map(([name, value]) => `export ${name}=${quote(value)}\n`).join(''),
  };
}
