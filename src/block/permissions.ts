/**
 * Who may do what with a node: uses with their permissions, and what a node needs of its children for the uses it has itself. The
 * rules are those of QEMU's `block.c`, as the locks on image files show them to other processes.
 */
import type { ChildRole, NodeUse, OpenFlags } from './node.js';
import { Permission } from './node.js';

/** The node as a use sees it. */
interface UsedNode {
  changeUse(use: Use, permissions: number, shared: number): Promise<void>;
  releaseUse(use: Use): Promise<void>;
}

const permissionNames: readonly (readonly [number, string])[] = [
  [Permission.consistentRead, 'consistent read'],
  [Permission.write, 'write'],
  [Permission.writeUnchanged, 'write unchanged'],
  [Permission.resize, 'resize'],
];

export function permissionText(bits: number): string {
  return permissionNames
    .filter(([bit]) => (bits & bit) !== 0)
    .map(([, name]) => name)
    .join(', ');
}

export class Use implements NodeUse {
  readonly user: string;
  readonly #node: UsedNode;
  permissions: number;
  shared: number;
  constructor(node: UsedNode, user: string, permissions: number, shared: number) {
    this.#node = node;
    this.user = user;
    this.permissions = permissions;
    this.shared = shared;
  }
  async change(permissions: number, shared: number): Promise<void> {
    if (permissions === this.permissions && shared === this.shared) return;
    await this.#node.changeUse(this, permissions, shared);
  }
  release(): Promise<void> {
    return this.#node.releaseUse(this);
  }
}

/** What a node needs of a child, given what its own users need and share. */
export function childPermissions(
  parent: { readonly readOnly: boolean; readonly flags: OpenFlags },
  role: ChildRole,
  permissions: number,
  shared: number,
): { permissions: number; shared: number } {
  if (role === 'filtered') return { permissions, shared };
  if (role === 'backing') {
    return {
      permissions: permissions & Permission.consistentRead,
      shared:
        (shared & Permission.write ? Permission.write | Permission.resize : 0) |
        Permission.consistentRead |
        Permission.writeUnchanged,
    };
  }
  let needs = permissions;
  let shares = shared;
  if (role === 'storage' || role === 'metadata') {
    if (!parent.readOnly) needs |= Permission.write | Permission.resize;
    if (!parent.flags.noIo) needs |= Permission.consistentRead;
    shares &= ~(Permission.write | Permission.resize);
  } else {
    if (needs & Permission.write) needs |= Permission.resize;
    shares &= ~Permission.resize;
  }
  if (parent.flags.forceShare) shares = Permission.all;
  return { permissions: needs, shared: shares };
}
