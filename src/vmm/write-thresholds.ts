/** Nodes that are to tell when something is written beyond a place: once, and then no more (QEMU's block-set-write-threshold). */
import type { GraphNode } from '../block/index.js';

export interface ThresholdExceeded {
  readonly nodeName: string;
  readonly thresholdBytes: number;
  /** How far the write went beyond it. */
  readonly exceededBytes: number;
}

interface Watch {
  readonly bytes: number;
  readonly hook: GraphNode['beforeWrite'][number];
}

export class WriteThresholds {
  readonly #watches = new WeakMap<GraphNode, Watch>();
  readonly #tell: (exceeded: ThresholdExceeded) => void;

  constructor(tell: (exceeded: ThresholdExceeded) => void) {
    this.#tell = tell;
  }

  /** 0: there is none. */
  bytesOf(node: GraphNode): number {
    return this.#watches.get(node)?.bytes ?? 0;
  }

  /** 0 takes it away. */
  set(node: GraphNode, bytes: number): void {
    const before = this.#watches.get(node);
    if (before) this.#forget(node, before);
    if (bytes === 0) return;
    const watch: Watch = {
      bytes,
      hook: (offset, length) => {
        if (offset + length <= bytes) return undefined;
        this.#forget(node, watch);
        this.#tell({ nodeName: node.nodeName, thresholdBytes: bytes, exceededBytes: offset + length - bytes });
        return undefined;
      },
    };
    this.#watches.set(node, watch);
    node.beforeWrite.push(watch.hook);
  }

  #forget(node: GraphNode, watch: Watch): void {
    this.#watches.delete(node);
    const at = node.beforeWrite.indexOf(watch.hook);
    if (at >= 0) node.beforeWrite.splice(at, 1);
  }
}
