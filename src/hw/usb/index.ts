export { UhciController, type UhciOptions, uhciModels } from './uhci.js';
export { type UsbSpeed, usbProducts } from './usb-codes.js';
export type { UsbDevice } from './usb-device.js';
export { UsbHid, type UsbHidKind, type UsbHidOptions } from './usb-hid.js';
export { UsbHub } from './usb-hub.js';
export type { UsbPorts, UsbPortTable } from './usb-ports.js';
export { UsbStorage } from './usb-storage.js';
export { XhciController, type XhciOptions, xhciModels } from './xhci.js';
