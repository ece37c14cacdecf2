/** The help text of `nbd`. */
export function helpText(name: string): string {
  return `Usage: ${name} [OPTIONS] FILE
       ${name} -L [OPTIONS]
       ${name} -d DEVICE
Serves a disk image to clients of the Network Block Device protocol.

  -h, --help                  shows this and ends
  -V, --version               shows the version and ends

Where and for whom:
  -p, --port=PORT             TCP port (10809)
  -b, --bind=HOST             address to listen at, or to connect to with -L (0.0.0.0)
  -k, --socket=PATH           unix socket instead of TCP
  -e, --shared=N              at most N clients at once (1; 0: any number)
  -t, --persistent            goes on when the last client has left
  -x, --export-name=NAME      name of the export (empty)
  -D, --description=TEXT      what the export is, for people
      --tls-creds=ID          demands TLS by the credentials of an --object
      --tls-authz=ID          admits only whom the --object authz-simple names
      --tls-hostname=NAME     name to expect in the server's certificate (-L)
      --fork                  goes on in the background once clients are served
      --pid-file=PATH         writes the server's process id there
  -L, --list                  lists the exports of another server

What is served:
  -f, --format=FORMAT         format of the image; guessed when absent
      --image-opts            FILE is a list of block driver options
  -r, --read-only             refuses writes
  -s, --snapshot              writes go to a temporary file and are lost in the end
  -l, --load-snapshot=WHICH   an internal snapshot, read-only: ID_OR_NAME, or
                              snapshot.id=ID,snapshot.name=NAME
  -o, --offset=BYTES          where in the image the disk begins
  -A, --allocation-depth      offers the context qemu:allocation-depth
  -B, --bitmap=NAME           offers the context qemu:dirty-bitmap:NAME (several may be given)
      --resizable             lets clients change the size (protocol extension)
      --cache=MODE            none, writeback (default), writethrough, directsync, unsafe
  -n, --nocache               as --cache=none
      --aio=MODE              accepted: threads, native, io_uring
      --discard=MODE          ignore (default) or unmap
      --detect-zeroes=MODE    off (default), on or unmap
      --object TYPE,id=ID,…   a secret, tls-creds-x509, tls-creds-psk or authz-simple

Kernel client:
  -c, --connect=DEVICE        attaches the image to /dev/nbdN
  -d, --disconnect            detaches the device named

  -v, --verbose               tells of clients' mistakes
  -T, --trace=…               accepted
`;
}
