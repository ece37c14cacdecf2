/**
 * Types of QMP that commands and events refer to by name. Members and values are QEMU 7.2's; the names are ours, but for those of
 * alternates, which errors tell.
 */
export const typesText = `
type SchemaInfo { name:str meta-type:(builtin enum array object alternate command event) features?:[str]
  | meta-type
    builtin:{ json-type:(string number int boolean null object array value) }
    enum:{ members:[{ name:str features?:[str] }] values:[str]@deprecated }
    array:{ element-type:str }
    object:{ members:[{ name:str type:str default?:any features?:[str] }] tag?:str variants?:[{ case:str type:str }] }
    alternate:{ members:[{ type:str }] }
    command:{ arg-type:str ret-type:str allow-oob?:bool }
    event:{ arg-type:str }
  }
enum SysEmuTarget aarch64 arm riscv64 x86_64
type CpuInfoFast { cpu-index:int qom-path:str thread-id:int props?:CpuInstanceProperties target:SysEmuTarget | target  }
type CpuInstanceProperties { node-id?:int socket-id?:int die-id?:int cluster-id?:int core-id?:int thread-id?:int }
type MigrationInfo {}
type MemoryDeviceInfo { type:MemoryDeviceType | type dimm:DimmMemoryDevice }
enum MemoryDeviceType dimm
type DimmMemoryDevice { data:{ id?:str addr:int size:int slot:int node:int memdev:str hotplugged:bool hotpluggable:bool } }
enum TpmModel tpm-tis tpm-crb tpm-spapr
type TpmTypeOptions { type:TpmType | type passthrough:{ data:{ path?:str cancel-path?:str } } emulator:{ data:{ chardev:str } } }
enum TpmType passthrough emulator
type YankInstance { type:(block-node chardev migration) | type block-node:{ node-name:str } chardev:{ id:str } }
enum RxState normal none all
type BlockDeviceInfo { file:str node-name?:str ro:bool drv:str backing_file?:str backing_file_depth:int encrypted:bool
  detect_zeroes:DetectZeroes bps:int bps_rd:int bps_wr:int iops:int iops_rd:int iops_wr:int image:ImageInfo bps_max?:int bps_rd_max?:int
  bps_wr_max?:int iops_max?:int iops_rd_max?:int iops_wr_max?:int bps_max_length?:int bps_rd_max_length?:int bps_wr_max_length?:int
  iops_max_length?:int iops_rd_max_length?:int iops_wr_max_length?:int iops_size?:int group?:str cache:{ writeback:bool direct:bool
  no-flush:bool } write_threshold:int dirty-bitmaps?:[{ name?:str count:int granularity:int recording:bool busy:bool persistent:bool
  inconsistent?:bool }] }
enum DetectZeroes off on unmap
type ImageInfo { filename:str format:str dirty-flag?:bool actual-size?:int virtual-size:int cluster-size?:int encrypted?:bool
  compressed?:bool backing-filename?:str full-backing-filename?:str backing-filename-format?:str snapshots?:[SnapshotInfo]
  backing-image?:ImageInfo format-specific?:ImageInfoSpecific }
type SnapshotInfo { id:str name:str vm-state-size:int date-sec:int date-nsec:int vm-clock-sec:int vm-clock-nsec:int icount?:int }
type ImageInfoSpecific { type:ImageInfoSpecificType
  | type
    qcow2:{ data:{ compat:str data-file?:str data-file-raw?:bool extended-l2?:bool lazy-refcounts?:bool corrupt?:bool refcount-bits:int
      encrypt?:ImageEncryption bitmaps?:[{ name:str granularity:int flags:[(in-use auto)] }] compression-type:CompressionType } }
    vmdk:{ data:{ create-type:str cid:int parent-cid:int extents:[ImageInfo] } }
    luks:{ data:LuksInfo }
  }
enum ImageInfoSpecificType qcow2 vmdk luks
type ImageEncryption { format:EncryptionFormat | format luks:LuksInfo }
enum EncryptionFormat aes luks
type LuksInfo { cipher-alg:CipherAlgorithm cipher-mode:CipherMode ivgen-alg:IvGenerator ivgen-hash-alg?:HashAlgorithm
  hash-alg:HashAlgorithm payload-offset:int master-key-iters:int uuid:str slots:[{ active:bool iters?:int stripes?:int key-offset:int }]
  }
enum CipherAlgorithm aes-128 aes-192 aes-256 des 3des cast5-128 serpent-128 serpent-192 serpent-256 twofish-128 twofish-192 twofish-256
enum CipherMode ecb cbc xts ctr
enum IvGenerator plain plain64 essiv
enum HashAlgorithm md5 sha1 sha224 sha256 sha384 sha512 ripemd160
enum CompressionType zlib zstd
enum IoStatus ok failed nospace
type BlockStats { device?:str qdev?:str node-name?:str stats:BlockDeviceStats parent?:BlockStats backing?:BlockStats }
type BlockDeviceStats { rd_bytes:int wr_bytes:int unmap_bytes:int rd_operations:int wr_operations:int flush_operations:int
  unmap_operations:int rd_total_time_ns:int wr_total_time_ns:int flush_total_time_ns:int unmap_total_time_ns:int wr_highest_offset:int
  rd_merged:int wr_merged:int unmap_merged:int idle_time_ns?:int failed_rd_operations:int failed_wr_operations:int
  failed_flush_operations:int failed_unmap_operations:int invalid_rd_operations:int invalid_wr_operations:int
  invalid_flush_operations:int invalid_unmap_operations:int account_invalid:bool account_failed:bool timed_stats:[{ interval_length:int
  min_rd_latency_ns:int max_rd_latency_ns:int avg_rd_latency_ns:int min_wr_latency_ns:int max_wr_latency_ns:int avg_wr_latency_ns:int
  min_flush_latency_ns:int max_flush_latency_ns:int avg_flush_latency_ns:int avg_rd_queue_depth:number avg_wr_queue_depth:number }] }
type SocketAddressLegacy { type:SocketAddressType
  | type
    inet:{ data:InetSocketAddress }
    unix:{ data:UnixSocketAddress }
    fd:{ data:String }
  }
enum SocketAddressType inet unix fd
type InetSocketAddress { host:str port:str numeric?:bool to?:int ipv4?:bool ipv6?:bool keep-alive?:bool mptcp?:bool }
type UnixSocketAddress { path:str abstract?:bool tight?:bool }
type String { str:str }
enum ExportRemoveMode safe hard
enum BlockExportType nbd
alternate BlockDirtyBitmapOrStr str | BlockDirtyBitmap
type BlockDirtyBitmap { node:str name:str }
enum JobStatus undefined created running paused ready standby waiting pending aborting concluded null
enum JobType commit stream mirror backup create
enum MirrorSyncMode top full none incremental bitmap
enum NewImageMode existing absolute-paths
enum OnError report ignore enospc stop auto
enum MirrorCopyMode background write-blocking
enum BitmapSyncMode on-success never always
type BackupPerf { use-copy-range?:bool max-workers?:int max-chunk?:int }
type BlockdevCreateOptions { driver:BlockdevDriver
  | driver
    file:{ filename:str size:size preallocation?:PreallocMode nocow?:bool extent-size-hint?:size }
    luks:{ key-secret?:str cipher-alg?:CipherAlgorithm cipher-mode?:CipherMode ivgen-alg?:IvGenerator ivgen-hash-alg?:HashAlgorithm
      hash-alg?:HashAlgorithm iter-time?:int file:BlockdevRef size:size preallocation?:PreallocMode }
    parallels:{ file:BlockdevRef size:size cluster-size?:size }
    qcow:{ file:BlockdevRef size:size backing-file?:str encrypt?:EncryptionCreateOptions }
    qcow2:{ file:BlockdevRef data-file?:BlockdevRef data-file-raw?:bool extended-l2?:bool size:size version?:(v2 v3) backing-file?:str
      backing-fmt?:BlockdevDriver encrypt?:EncryptionCreateOptions cluster-size?:size preallocation?:PreallocMode lazy-refcounts?:bool
      refcount-bits?:int compression-type?:CompressionType }
    qed:{ file:BlockdevRef size:size backing-file?:str backing-fmt?:BlockdevDriver cluster-size?:size table-size?:size }
    vdi:{ file:BlockdevRef size:size preallocation?:PreallocMode }
    vhdx:{ file:BlockdevRef size:size log-size?:size block-size?:size subformat?:(dynamic fixed) block-state-zero?:bool }
    vmdk:{ file:BlockdevRef size:size extents?:[BlockdevRef] subformat?:(monolithicSparse monolithicFlat twoGbMaxExtentSparse
      twoGbMaxExtentFlat streamOptimized) backing-file?:str adapter-type?:(ide buslogic lsilogic legacyESX) hwversion?:str
      toolsversion?:str zeroed-grain?:bool }
    vpc:{ file:BlockdevRef size:size subformat?:(dynamic fixed) force-size?:bool }
  }
enum BlockdevDriver blkdebug blkverify bochs cloop compress copy-on-read dmg file host_device http https luks nbd null-aio null-co
  parallels qcow qcow2 qed raw throttle vdi vhdx vmdk vpc
enum PreallocMode off metadata falloc full
alternate BlockdevRef BlockdevOptions | str
type BlockdevOptions { driver:BlockdevDriver node-name?:str discard?:DiscardMode cache?:CacheOptions read-only?:bool
  auto-read-only?:bool force-share?:bool detect-zeroes?:DetectZeroes
  | driver
    blkdebug:BlkdebugOptions blkverify:BlkverifyOptions bochs:FormatOptions cloop:FormatOptions compress:FormatOptions
    copy-on-read:CopyOnReadOptions dmg:FormatOptions file:FileOptions host_device:FileOptions http:HttpOptions https:HttpsOptions
    luks:LuksOptions nbd:NbdOptions null-aio:NullOptions null-co:NullOptions parallels:FormatOptions qcow2:Qcow2Options qcow:QcowOptions
    qed:CowFormatOptions raw:RawOptions throttle:ThrottleOptions vdi:FormatOptions vhdx:FormatOptions vmdk:CowFormatOptions
    vpc:FormatOptions
  }
enum DiscardMode ignore unmap
type CacheOptions { direct?:bool no-flush?:bool }
type BlkdebugOptions { image:BlockdevRef config?:str align?:int max-transfer?:int opt-write-zero?:int max-write-zero?:int
  opt-discard?:int max-discard?:int inject-error?:[{ event:BlkdebugEvent state?:int iotype?:(read write write-zeroes discard flush
  block-status) errno?:int sector?:int once?:bool immediately?:bool }] set-state?:[{ event:BlkdebugEvent state?:int new_state:int }] }
enum BlkdebugEvent l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update l2_update_compressed
  l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio write_compressed vmstate_load vmstate_save
  cow_read cow_write reftable_load reftable_grow reftable_update refblock_load refblock_update refblock_update_part refblock_alloc
  refblock_alloc_hookup refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table
  cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail
  pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters
  cor_write cluster_alloc_space none
type BlkverifyOptions { test:BlockdevRef raw:BlockdevRef }
type FormatOptions { file:BlockdevRef }
type CopyOnReadOptions { file:BlockdevRef bottom?:str }
type FileOptions@dynamic-auto-read-only { filename:str locking?:(auto on off) aio?:(threads native io_uring) drop-cache?:bool
  x-check-cache-dropped?:bool@unstable }
type HttpOptions { url:str readahead?:int timeout?:int username?:str password-secret?:str proxy-username?:str proxy-password-secret?:str
  cookie?:str cookie-secret?:str }
type HttpsOptions { url:str readahead?:int timeout?:int username?:str password-secret?:str proxy-username?:str
  proxy-password-secret?:str cookie?:str sslverify?:bool cookie-secret?:str }
type LuksOptions { file:BlockdevRef key-secret?:str }
type NbdOptions { server:SocketAddress export?:str tls-creds?:str tls-hostname?:str x-dirty-bitmap?:str@unstable reconnect-delay?:int
  open-timeout?:int }
type SocketAddress { type:SocketAddressType | type inet:InetSocketAddress unix:UnixSocketAddress fd:String }
type NullOptions { size?:int latency-ns?:int read-zeroes?:bool }
type Qcow2Options { file:BlockdevRef backing?:BlockdevRefOrNull lazy-refcounts?:bool pass-discard-request?:bool
  pass-discard-snapshot?:bool pass-discard-other?:bool overlap-check?:Qcow2OverlapChecks cache-size?:int l2-cache-size?:int
  l2-cache-entry-size?:int refcount-cache-size?:int cache-clean-interval?:int encrypt?:Qcow2Encryption data-file?:BlockdevRef }
alternate BlockdevRefOrNull BlockdevOptions | str | null
alternate Qcow2OverlapChecks { template?:OverlapCheckMode main-header?:bool active-l1?:bool active-l2?:bool refcount-table?:bool
  refcount-block?:bool snapshot-table?:bool inactive-l1?:bool inactive-l2?:bool bitmap-directory?:bool } | OverlapCheckMode
enum OverlapCheckMode none constant cached all
type Qcow2Encryption { format:EncryptionFormat | format aes:AesOptions luks:{ key-secret?:str } }
type AesOptions { key-secret?:str }
type QcowOptions { file:BlockdevRef backing?:BlockdevRefOrNull encrypt?:QcowEncryption }
type QcowEncryption { format:(aes) | format aes:AesOptions }
type CowFormatOptions { file:BlockdevRef backing?:BlockdevRefOrNull }
type RawOptions { file:BlockdevRef offset?:int size?:int }
type ThrottleOptions { throttle-group:str file:BlockdevRef }
type EncryptionCreateOptions { format:(qcow luks)
  | format
    qcow:AesOptions
    luks:{ key-secret?:str cipher-alg?:CipherAlgorithm cipher-mode?:CipherMode ivgen-alg?:IvGenerator ivgen-hash-alg?:HashAlgorithm
      hash-alg?:HashAlgorithm iter-time?:int }
  }
type TransactionAction { type:TransactionActionType
  | type
    abort:{ data:{} }
    block-dirty-bitmap-add:{ data:{ node:str name:str granularity?:int persistent?:bool disabled?:bool } }
    block-dirty-bitmap-remove:BitmapAction block-dirty-bitmap-clear:BitmapAction block-dirty-bitmap-enable:BitmapAction
    block-dirty-bitmap-disable:BitmapAction
    block-dirty-bitmap-merge:{ data:{ node:str target:str bitmaps:[BlockDirtyBitmapOrStr] } }
    blockdev-backup:{ data:{ job-id?:str device:str sync:MirrorSyncMode speed?:int bitmap?:str bitmap-mode?:BitmapSyncMode
      compress?:bool on-source-error?:OnError on-target-error?:OnError auto-finalize?:bool auto-dismiss?:bool filter-node-name?:str
      x-perf?:BackupPerf@unstable target:str } }
    blockdev-snapshot:{ data:{ node:str overlay:str } }
    blockdev-snapshot-internal-sync:{ data:{ device:str name:str } }
    blockdev-snapshot-sync:{ data:{ device?:str node-name?:str snapshot-file:str snapshot-node-name?:str format?:str mode?:NewImageMode
      } }
    drive-backup:{ data:{ job-id?:str device:str sync:MirrorSyncMode speed?:int bitmap?:str bitmap-mode?:BitmapSyncMode compress?:bool
      on-source-error?:OnError on-target-error?:OnError auto-finalize?:bool auto-dismiss?:bool filter-node-name?:str
      x-perf?:BackupPerf@unstable target:str format?:str mode?:NewImageMode } }
  }
enum TransactionActionType abort block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear block-dirty-bitmap-enable
  block-dirty-bitmap-disable block-dirty-bitmap-merge blockdev-backup blockdev-snapshot blockdev-snapshot-internal-sync
  blockdev-snapshot-sync drive-backup@deprecated
type BitmapAction { data:BlockDirtyBitmap }
type MigrationCapabilityStatus { capability:MigrationCapability state:bool }
enum MigrationCapability events
type ObjectPropertyInfo { name:str type:str description?:str default-value?:any }
enum DataFormat utf8 base64
enum NetdevType user tap socket stream dgram
type KeyValue { type:(number qcode) | type number:{ data:int } qcode:{ data:KeyName } }
enum KeyName shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p bracket_left
  bracket_right ret a s d f g h j k l semicolon apostrophe grave_accent backslash z x c v b n m comma dot slash asterisk spc caps_lock
  f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_divide kp_multiply kp_subtract kp_add kp_enter kp_decimal sysrq kp_0 kp_1 kp_2
  kp_3 kp_4 kp_5 kp_6 kp_7 kp_8 kp_9 less f11 f12 print home pgup pgdn end left up down right insert delete meta_l meta_r compose
type InputEvent { type:(key btn rel abs)
  | type
    key:{ data:{ key:KeyValue down:bool } }
    btn:{ data:{ button:(left middle right wheel-up wheel-down side extra wheel-left wheel-right) down:bool } }
    rel:InputMove abs:InputMove
  }
type InputMove { data:{ axis:(x y) value:int } }
enum NetworkAddressFamily ipv4 ipv6 unix vsock unknown
type VncClientInfo { host:str service:str family:NetworkAddressFamily websocket:bool x509_dname?:str sasl_username?:str }
enum VncPrimaryAuth none vnc ra2 ra2ne tight ultra tls vencrypt sasl
enum VncVencryptSubAuth plain tls-none x509-none tls-vnc x509-vnc tls-plain x509-plain tls-sasl x509-sasl
enum DisplayProtocol vnc
type ChardevBackend { type:ChardevBackendType
  | type
    file:{ data:{ logfile?:str logappend?:bool in?:str out:str append?:bool } }
    pipe:ChardevDevice
    socket:{ data:{ logfile?:str logappend?:bool addr:SocketAddressLegacy tls-creds?:str tls-authz?:str server?:bool wait?:bool
      nodelay?:bool telnet?:bool tn3270?:bool websocket?:bool reconnect?:int } }
    udp:{ data:{ logfile?:str logappend?:bool remote:SocketAddressLegacy local?:SocketAddressLegacy } }
    pty:ChardevCommon null:ChardevCommon
    stdio:{ data:{ logfile?:str logappend?:bool signal?:bool } }
    ringbuf:ChardevRingbuf memory:ChardevRingbuf
  }
enum ChardevBackendType file pipe socket udp pty null stdio ringbuf memory
type ChardevDevice { data:{ logfile?:str logappend?:bool device:str } }
type ChardevCommon { data:{ logfile?:str logappend?:bool } }
type ChardevRingbuf { data:{ logfile?:str logappend?:bool size?:int } }
type ChardevReturn { pty?:str }
enum ObjectType iothread memory-backend-memfd memory-backend-ram rng-builtin rng-random secret throttle-group
  tls-creds-anon tls-creds-psk tls-creds-x509
enum HostMemPolicy default preferred bind interleave
enum SecretFormat raw base64
type ThrottleGroupOptions { limits?:{ iops-total?:int iops-total-max?:int iops-total-max-length?:int iops-read?:int iops-read-max?:int
  iops-read-max-length?:int iops-write?:int iops-write-max?:int iops-write-max-length?:int bps-total?:int bps-total-max?:int
  bps-total-max-length?:int bps-read?:int bps-read-max?:int bps-read-max-length?:int bps-write?:int bps-write-max?:int
  bps-write-max-length?:int iops-size?:int } }
enum TlsEndpoint client server
type PciDevice { bus:int slot:int function:int class_info:{ desc?:str class:int } id:{ device:int vendor:int subsystem?:int
  subsystem-vendor?:int } irq?:int irq_pin:int qdev_id:str pci_bridge?:{ bus:{ number:int secondary:int subordinate:int
  io_range:PciRange memory_range:PciRange prefetchable_range:PciRange } devices?:[PciDevice] } regions:[{ bar:int type:str address:int
  size:int prefetch?:bool mem_type_64?:bool }] }
type PciRange { base:int limit:int }
enum WatchdogAction reset shutdown poweroff pause debug none inject-nmi
enum ShutdownCause none host-error host-qmp-quit host-qmp-system-reset host-signal host-ui guest-shutdown guest-reset guest-panic
  subsystem-reset snapshot-load
enum IoOperation read write
enum IoErrorAction ignore report stop
enum PanicAction pause poweroff run
type PanicInfo { type:(hyper-v s390)
  | type
    hyper-v:{ arg1:int arg2:int arg3:int arg4:int arg5:int }
    s390:{ core:int psw-mask:int psw-addr:int reason:(unknown disabled-wait extint-loop pgmint-loop opint-loop) }
  }
`;
