/**
 * What is said by QMP: commands with what they are given and what they answer, and events. Names and shapes are QEMU 7.2's (its
 * query-qmp-schema), without what vring lacks. How it is written: grammar.ts.
 */
export const commandsText = `
command qmp_capabilities { enable?:[(oob)] }
command query-version -> { qemu:{ major:int minor:int micro:int } package:str }
command query-commands -> [{ name:str }]
command query-qmp-schema -> [SchemaInfo]
command query-name -> { name?:str }
command query-uuid -> { UUID:str }
command query-target -> { arch:SysEmuTarget }
command query-status -> { running:bool singlestep:bool status:(debug inmigrate internal-error io-error paused postmigrate prelaunch
  finish-migrate restore-vm running save-vm shutdown suspended watchdog guest-panicked colo) }
command query-kvm -> { enabled:bool present:bool }
command query-cpus-fast -> [CpuInfoFast]
command query-chardev -> [{ label:str filename:str frontend-open:bool }]
command stop
command cont
command system_reset
command set_link { name:str up:bool }
command system_powerdown
command balloon { value:int }
command query-balloon -> { actual:int }
command inject-nmi
command quit
command eject { device?:str@deprecated id?:str force?:bool }
command blockdev-change-medium { device?:str@deprecated id?:str filename:str format?:str force?:bool read-only-mode?:(retain read-only
  read-write) }
command human-monitor-command@savevm-monitor-nodes { command-line:str cpu-index?:int } -> str

command memsave { val:int size:int filename:str cpu-index?:int }
command pmemsave { val:int size:int filename:str }
command query-memory-size-summary -> { base-memory:int plugged-memory?:int }
command query-current-machine -> { wakeup-suspend-support:bool }
command system_wakeup
command query-chardev-backends -> [{ name:str }]
command rtc-reset-reinjection
command query-migrate -> MigrationInfo
command query-vm-generation-id -> { guid:str }
command query-memory-devices -> [MemoryDeviceInfo]
command query-acpi-ospm-status -> [{ device?:str slot:str slot-type:(DIMM CPU) source:int status:int }]
command query-pr-managers -> [{ id:str connected:bool }]
command query-tpm -> [{ id:str model:TpmModel options:TpmTypeOptions }]
command query-tpm-models -> [TpmModel]
command query-tpm-types -> [TpmType]
command query-yank -> [YankInstance]
command query-rx-filter { name?:str } -> [{ name:str promiscuous:bool multicast:RxState unicast:RxState vlan:RxState
  broadcast-allowed:bool multicast-overflow:bool unicast-overflow:bool main-mac:str vlan-table:[int] unicast-table:[str]
  multicast-table:[str] }]

command query-block -> [{ device:str qdev?:str type:str removable:bool locked:bool inserted?:BlockDeviceInfo tray_open?:bool
  io-status?:IoStatus }]
command query-blockstats { query-nodes?:bool } -> [BlockStats]
command query-named-block-nodes { flat?:bool } -> [BlockDeviceInfo]
command block-set-write-threshold { node-name:str write-threshold:size }
command nbd-server-start { addr:SocketAddressLegacy max-connections?:int }
command nbd-server-add@deprecated { name?:str description?:str device:str writable?:bool }
command nbd-server-remove@deprecated { name:str mode?:ExportRemoveMode }
command nbd-server-stop
command block-export-add { type:BlockExportType id:str node-name:str writable?:bool
  | type
    nbd:{ name?:str description?:str bitmaps?:[BlockDirtyBitmapOrStr] allocation-depth?:bool }
  }
command block-export-del { id:str mode?:ExportRemoveMode }
command query-block-exports -> [{ id:str type:BlockExportType node-name:str shutting-down:bool }]

command query-block-jobs -> [{ type:str device:str len:int offset:int busy:bool paused:bool speed:int io-status:IoStatus ready:bool
  status:JobStatus auto-finalize:bool auto-dismiss:bool error?:str }]
command query-jobs -> [{ id:str type:JobType status:JobStatus current-progress:int total-progress:int error?:str }]
command drive-mirror { job-id?:str device:str target:str format?:str node-name?:str sync:MirrorSyncMode mode?:NewImageMode speed?:int
  granularity?:int buf-size?:int on-source-error?:OnError on-target-error?:OnError unmap?:bool copy-mode?:MirrorCopyMode
  auto-finalize?:bool auto-dismiss?:bool }
command blockdev-mirror { job-id?:str device:str target:str sync:MirrorSyncMode speed?:int granularity?:int buf-size?:int
  on-source-error?:OnError on-target-error?:OnError filter-node-name?:str copy-mode?:MirrorCopyMode auto-finalize?:bool
  auto-dismiss?:bool }
command drive-backup@deprecated { job-id?:str device:str sync:MirrorSyncMode speed?:int bitmap?:str bitmap-mode?:BitmapSyncMode
  compress?:bool on-source-error?:OnError on-target-error?:OnError auto-finalize?:bool auto-dismiss?:bool filter-node-name?:str
  x-perf?:BackupPerf@unstable target:str format?:str mode?:NewImageMode }
command blockdev-backup { job-id?:str device:str sync:MirrorSyncMode speed?:int bitmap?:str bitmap-mode?:BitmapSyncMode compress?:bool
  on-source-error?:OnError on-target-error?:OnError auto-finalize?:bool auto-dismiss?:bool filter-node-name?:str
  x-perf?:BackupPerf@unstable target:str }
command block-stream { job-id?:str device:str base?:str base-node?:str backing-file?:str speed?:int on-error?:OnError
  filter-node-name?:str auto-finalize?:bool auto-dismiss?:bool }
command block-commit { job-id?:str device:str base-node?:str base?:str@deprecated top-node?:str top?:str@deprecated backing-file?:str
  speed?:int on-error?:OnError filter-node-name?:str auto-finalize?:bool auto-dismiss?:bool }
command blockdev-create { job-id:str options:BlockdevCreateOptions }
command block-job-pause { device:str }
command job-pause { id:str }
command block-job-resume { device:str }
command job-resume { id:str }
command block-job-complete { device:str }
command job-complete { id:str }
command block-job-finalize { id:str }
command job-finalize { id:str }
command block-job-dismiss { id:str }
command job-dismiss { id:str }
command block-job-cancel { device:str force?:bool }
command job-cancel { id:str }
command block-job-set-speed { device:str speed:int }

command blockdev-snapshot-sync { device?:str node-name?:str snapshot-file:str snapshot-node-name?:str format?:str mode?:NewImageMode }
command blockdev-snapshot@allow-write-only-overlay { node:str overlay:str }
command blockdev-snapshot-internal-sync { device:str name:str }
command block-dirty-bitmap-add { node:str name:str granularity?:int persistent?:bool disabled?:bool }
command block-dirty-bitmap-remove BlockDirtyBitmap
command block-dirty-bitmap-clear BlockDirtyBitmap
command block-dirty-bitmap-enable BlockDirtyBitmap
command block-dirty-bitmap-disable BlockDirtyBitmap
command block-dirty-bitmap-merge { node:str target:str bitmaps:[BlockDirtyBitmapOrStr] }
command transaction { actions:[TransactionAction] properties?:{ completion-mode?:(individual grouped) } }
command blockdev-snapshot-delete-internal-sync { device:str id?:str name?:str } -> SnapshotInfo
command block_resize { device?:str node-name?:str size:int }
command block_set_io_throttle { device?:str@deprecated id?:str bps:int bps_rd:int bps_wr:int iops:int iops_rd:int iops_wr:int
  bps_max?:int bps_rd_max?:int bps_wr_max?:int iops_max?:int iops_rd_max?:int iops_wr_max?:int bps_max_length?:int
  bps_rd_max_length?:int bps_wr_max_length?:int iops_max_length?:int iops_rd_max_length?:int iops_wr_max_length?:int iops_size?:int
  group?:str }
command change-backing-file { device:str image-node-name:str backing-file:str }
command blockdev-reopen { options:[BlockdevOptions] }
command blockdev-open-tray { device?:str@deprecated id?:str force?:bool }
command blockdev-close-tray { device?:str@deprecated id?:str }
command blockdev-remove-medium { id:str }
command blockdev-insert-medium { id:str node-name:str }

command query-machines -> [{ name:str alias?:str is-default?:bool cpu-max:int hotpluggable-cpus:bool numa-mem-supported:bool
  deprecated:bool default-cpu-type?:str default-ram-id?:str }]
command query-iothreads -> [{ id:str thread-id:int poll-max-ns:int poll-grow:int poll-shrink:int aio-max-batch:int }]
command query-migrate-capabilities -> [MigrationCapabilityStatus]
command migrate-set-capabilities { capabilities:[MigrationCapabilityStatus] }
command query-cpu-definitions -> [{ name:str migration-safe?:bool static:bool unavailable-features?:[str] typename:str alias-of?:str
  deprecated:bool }]
command query-command-line-options { option?:str } -> [{ option:str parameters:[{ name:str type:(string boolean number size) help?:str
  default?:str }] }]
command qom-list-types { implements?:str abstract?:bool } -> [{ name:str abstract?:bool parent?:str }]
command device-list-properties { typename:str } -> [ObjectPropertyInfo]
command qom-list-properties { typename:str } -> [ObjectPropertyInfo]
command qom-list { path:str } -> [ObjectPropertyInfo]
command qom-get { path:str property:str } -> any

command getfd { fdname:str }
command closefd { fdname:str }
command add-fd { fdset-id?:int opaque?:str } -> { fdset-id:int fd:int }
command remove-fd { fdset-id:int fd?:int }
command query-fdsets -> [{ fdset-id:int fds:[{ fd:int opaque?:str }] }]

command ringbuf-read { device:str size:int format?:DataFormat } -> str
command ringbuf-write { device:str data:str format?:DataFormat }

command device_add@json-cli@json-cli-hotplug { driver:str bus?:str id?:str }
command device_del { id:str }
command blockdev-add BlockdevOptions
command blockdev-del { node-name:str }
command netdev_add { id:str type:NetdevType
  | type
    user:{ hostname?:str restrict?:bool ipv4?:bool ipv6?:bool ip?:str net?:str host?:str tftp?:str bootfile?:str dhcpstart?:str dns?:str
      dnssearch?:[String] domainname?:str ipv6-prefix?:str ipv6-prefixlen?:int ipv6-host?:str ipv6-dns?:str smb?:str smbserver?:str
      hostfwd?:[String] guestfwd?:[String] tftp-server-name?:str }
    tap:{ ifname?:str fd?:str fds?:str script?:str downscript?:str br?:str helper?:str sndbuf?:int vnet_hdr?:bool vhost?:bool
      vhostfd?:str vhostfds?:str vhostforce?:bool queues?:int poll-us?:int }
    socket:{ fd?:str listen?:str connect?:str mcast?:str localaddr?:str udp?:str }
    stream:{ addr:SocketAddress server?:bool }
    dgram:{ local?:SocketAddress remote?:SocketAddress }
  }
command netdev_del { id:str }

command query-mice -> [{ name:str index:int current:bool absolute:bool }]
command send-key { keys:[KeyValue] hold-time?:int }
command screendump { filename:str format?:(ppm png) }
command input-send-event { device?:str head?:int events:[InputEvent] }
command query-vnc -> { enabled:bool host?:str family?:NetworkAddressFamily service?:str auth?:str clients?:[VncClientInfo] }
command query-vnc-servers -> [{ id:str server:[{ host:str service:str family:NetworkAddressFamily websocket:bool auth:VncPrimaryAuth
  vencrypt?:VncVencryptSubAuth }] clients:[VncClientInfo] auth:VncPrimaryAuth vencrypt?:VncVencryptSubAuth display?:str }]
command set_password { protocol:DisplayProtocol password:str connected?:(keep fail disconnect) | protocol vnc:{ display?:str } }
command expire_password { protocol:DisplayProtocol time:str | protocol vnc:{ display?:str } }
command change-vnc-password { password:str }


command object-add { qom-type:ObjectType id:str
  | qom-type
    iothread:{ aio-max-batch?:int thread-pool-min?:int thread-pool-max?:int poll-max-ns?:int poll-grow?:int poll-shrink?:int }
    memory-backend-memfd:{ dump?:bool host-nodes?:[int] merge?:bool policy?:HostMemPolicy prealloc?:bool prealloc-threads?:int
      prealloc-context?:str share?:bool reserve?:bool size:size x-use-canonical-path-for-ramblock-id?:bool hugetlb?:bool hugetlbsize?:size
      seal?:bool }
    memory-backend-ram:{ dump?:bool host-nodes?:[int] merge?:bool policy?:HostMemPolicy prealloc?:bool prealloc-threads?:int
      prealloc-context?:str share?:bool reserve?:bool size:size x-use-canonical-path-for-ramblock-id?:bool }
    rng-builtin:{ opened?:bool@deprecated }
    rng-random:{ opened?:bool@deprecated filename?:str }
    secret:{ loaded?:bool@deprecated format?:SecretFormat keyid?:str iv?:str data?:str file?:str }
    throttle-group:ThrottleGroupOptions
    tls-creds-anon:{ verify-peer?:bool dir?:str endpoint?:TlsEndpoint priority?:str loaded?:bool@deprecated }
    tls-creds-psk:{ verify-peer?:bool dir?:str endpoint?:TlsEndpoint priority?:str loaded?:bool@deprecated username?:str }
    tls-creds-x509:{ verify-peer?:bool dir?:str endpoint?:TlsEndpoint priority?:str loaded?:bool@deprecated sanity-check?:bool
      passwordid?:str }
  }
command object-del { id:str }
command set-action { reboot?:(reset shutdown) shutdown?:(poweroff pause) panic?:(pause shutdown exit-failure none)
  watchdog?:WatchdogAction }
command watchdog-set-action { action:WatchdogAction }
command query-memdev -> [{ id?:str size:size merge:bool dump:bool prealloc:bool share:bool reserve?:bool host-nodes:[int]
  policy:HostMemPolicy }]
command query-pci -> [{ bus:int devices:[PciDevice] }]
command chardev-add { id:str backend:ChardevBackend } -> ChardevReturn
command chardev-remove { id:str }
command chardev-send-break { id:str }
command announce-self { initial:int max:int rounds:int step:int interfaces?:[str] id?:str }

event SHUTDOWN { guest:bool reason:ShutdownCause }
event RESET { guest:bool reason:ShutdownCause }
event STOP
event RESUME
event POWERDOWN
event DEVICE_TRAY_MOVED { device:str id:str tray-open:bool }
event DEVICE_DELETED { device?:str path:str }
event BLOCK_IO_ERROR { device:str node-name?:str operation:IoOperation action:IoErrorAction nospace?:bool reason:str }
event BLOCK_WRITE_THRESHOLD { node-name:str amount-exceeded:int write-threshold:int }
event BLOCK_JOB_CANCELLED { type:JobType device:str len:int offset:int speed:int }
event BLOCK_JOB_COMPLETED { type:JobType device:str len:int offset:int speed:int error?:str }
event BLOCK_JOB_ERROR { device:str operation:IoOperation action:IoErrorAction }
event BLOCK_JOB_PENDING { type:JobType id:str }
event BLOCK_JOB_READY { type:JobType device:str len:int offset:int speed:int }
event JOB_STATUS_CHANGE { id:str status:JobStatus }
event BLOCK_EXPORT_DELETED { id:str }
event GUEST_PANICKED { action:PanicAction }
event GUEST_CRASHLOADED { action:PanicAction info?:PanicInfo }
event WATCHDOG { action:WatchdogAction }
`;
