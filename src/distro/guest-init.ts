/**
 * `/init` of the Debian guest, for busybox's shell, and the small files that tell it what to do in this run. The protocol
 * that it speaks is guest-protocol.ts's.
 *
 * The command's streams are pipes with a `cat` between each and its port, because a port can be opened only once and so would
 * make `echo x >/dev/stderr` fail. Pipes, not FIFOs: to open /dev/stdin again when its writer has ended must not block. The
 * command runs in the foreground of this shell: in the background a shell without job control would have it ignore SIGINT.
 * When it has ended, what it left running is killed, as a container's processes are, so that the pipes end and the last bytes
 * can be waited for.
 */
import { VringError } from '../base/errors.js';
import { guestPorts, guestProtocolVersion } from './guest-protocol.js';

export const guestInit = `#!/bin/busybox sh
# /init of vring's Debian guest.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root SHELL=/bin/sh
[ -e /bin/mount ] || /bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# A console whose driver is a module is not there yet, and the kernel then starts /init without open files.
[ -e /proc/self/fd/0 ] || exec </dev/null
[ -e /proc/self/fd/1 ] || exec >/dev/null
[ -e /proc/self/fd/2 ] || exec 2>/dev/null
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
 * The part of /init after the drivers. What sources it may have defined `find_port NAME`, `open_control`, `end_others` and
 * `finish` before: so the tests run it on the host, with FIFOs for ports.
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

# A port can be opened only once: reading is a copy of the same.
type open_control >/dev/null 2>&1 || open_control() {
  exec 9<>"$found" 8<&9
}

type finish >/dev/null 2>&1 || finish() {
  ! grep -q '^/dev/' /proc/mounts || umount -a -r 2>/dev/null
  poweroff -f
}

fail() {
  echo "failed $1" >&9
  finish
}

# Kills every process but the first, this one and the relays of what is still to be written; again, for what forks meanwhile.
# The kernel's own processes, and those that have ended, have no exe.
type end_others >/dev/null 2>&1 || end_others() {
  read -r self rest </proc/self/stat
  while
    others=
    for each in /proc/[0-9]*; do
      [ -e "$each/exe" ] || continue
      each=\${each#/proc/}
      case " 1 $self $relay_out $relay_err " in
        *" $each "*) ;;
        *) others="$others $each" ;;
      esac
    done
    [ -n "$others" ]
  do
    kill -9 $others
  done
}

# Copies its input to its output, and leaves its process number where the others find it.
relay() {
  read -r self rest </proc/self/stat
  echo $self >"$state/relay-$1"
  exec cat 8<&- 9>&-
}

relay_number() {
  while [ ! -s "$state/relay-$1" ]; do sleep 0.01; done
  read -r number rest <"$state/relay-$1"
}

# The command itself: its errors go to 3. sh gives 126 and 127, and the word about it, for a command that cannot be run. In
# parentheses the redirections are the child's, and this shell's own words ("Killed") stay out of the command's errors.
run_command() {
  (exec setsid sh -c 'echo $$ >"$VRING_PID"; unset VRING_PID; exec "$@"' sh "$@") 2>&3 3>&- 4>&- 8<&- 9>&-
  echo $? >"$state/status"
  relay_number in
  relay_in=$number
  relay_number out
  relay_out=$number
  relay_number err
  relay_err=$number
  exec >/dev/null 3>&- 4>&-
  kill $relay_in
  end_others
}

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
          stdout) relay_number out && kill $number ;;
          stderr) relay_number err && kill $number ;;
        esac
        ;;
    esac
  done
}

tries=0
size=
until find_port ${guestPorts.control}; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || break
  sleep 0.01
done
if [ $tries -lt 500 ]; then
  open_control
  echo 'hello ${guestProtocolVersion}' >&9
  while read -r verb rest <&8 && [ "$verb" != start ]; do
    [ "$verb" != winsize ] || size="cols \${rest% *} rows \${rest#* }"
  done
else
  exec 8</dev/null 9>/dev/null
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
  exec 2>/dev/null
  export VRING_PID="$state/pid"
  read_control <&8 >/dev/null &
  {
    {
      relay in <"$stdin" | run_command "$@"
    } 3>&1 >&4 4>&- | relay err >"$stderr"
  } 4>&1 | relay out >"$stdout"
  # Of a pipeline whose middle has been killed, the ends may still be at work.
  relay_number out
  while [ -e "/proc/$number/exe" ]; do sleep 0.01; done
  relay_number err
  while [ -e "/proc/$number/exe" ]; do sleep 0.01; done
  read -r status <"$state/status"
else
  read_control <&8 >/dev/null 2>&1 &
  # The size is set by the shell's own process: when nobody has the terminal open it is forgotten.
  VRING_PID="$state/pid" VRING_SIZE=$size setsid -c sh -c 'echo $$ >"$VRING_PID"
    [ -z "$VRING_SIZE" ] || stty $VRING_SIZE
    unset VRING_PID VRING_SIZE
    exec sh -l' <>"/dev/$console" >&0 2>&1 8<&- 9>&-
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
