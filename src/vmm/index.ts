/** vring as a library. */
export type { AcceleratorName } from '../accel/accelerator.js';
export { VringError } from '../base/index.js';
export type { TextScreen } from '../display/index.js';
export type {
  PciBridgeDescription,
  PciFunctionDescription,
  PciRange,
  PciRegionDescription,
} from '../hw/pci/describe-pci.js';
export type { SmbiosOptions, SmbiosWords } from '../hw/smbios/tables.js';
export type { FirmwareFile } from '../machine/firmware-file.js';
export { type TraceItem, traceItems } from '../machine/trace.js';
export type { FlowEnd, UserFlow } from '../net/user-flow.js';
export type { WaitOptions } from './abort.js';
export type {
  BackupRequest,
  BlockAction,
  BlockAnswer,
  BlockRequest,
  BlockTarget,
  ChainPlace,
  JobDescription,
  JobErrorPolicy,
  JobEvent,
  JobRequest,
  JobSettings,
  JobStatus,
  JobType,
} from './block-protocol.js';
export type { CharacterPort } from './character-port.js';
export {
  type CommandResult,
  type DebianOptions,
  type DebianSession,
  openDebian,
  type RunCommandOptions,
  runCommand,
  type SystemMachineOptions,
} from './debian.js';
export type {
  BitmapDescription,
  BlockNodeDescription,
  BlockObject,
  CountedRequests,
  DiskDescription,
  DiskImage,
  DiskStatistics,
  ErrorPolicy,
  NbdAddress,
  NbdExportDescription,
  NbdExportRequest,
  NbdRequest,
} from './disk-protocol.js';
export type { HotPluggable, UnpluggedType } from './hotplug.js';
export type { MouseDescription } from './input-routes.js';
export type { HostPage, LensReport, MemoryUse } from './lens-report.js';
export { createMachine } from './machine.js';
export type { Machine, MachineDisk, MachineEvents, MachineState } from './machine-interface.js';
export type {
  ArmOptions,
  ConsolePortOptions,
  DeviceOptions,
  DriveOptions,
  MachineFirmware,
  MachineOptions,
  MicrovmOptions,
  NvmeNamespaceOptions,
  RiscvOptions,
  ScsiUnitOptions,
} from './machine-options.js';
export type {
  HostPort,
  NetworkBackend,
  NetworkCapture,
  NetworkOptions,
  SocketPlace,
  StreamPlace,
  TapOptions,
} from './network-protocol.js';
export type { MachineNetwork } from './networks.js';
export type { InputEvent } from './screen-input.js';
export type { PictureFormat, VncOptions, VncPlace, VncState } from './screen-protocol.js';
export type { UsbControllerModel, UsbControllerOptions, UsbDeviceOptions } from './usb-options.js';
export {
  type InfoTopic,
  infoTopics,
  type MachineActions,
  type MachineEnd,
  type PanicAction,
  type PciSlot,
  type RootPortConfig,
  type SharedFolderConfig,
  type Statistics,
  type StopReason,
  type TraceConfig,
  type VirtioNetSettings,
  type VirtioPlace,
  type WatchdogAction,
  watchdogActions,
} from './worker-protocol.js';
export type { ThresholdExceeded } from './write-thresholds.js';
