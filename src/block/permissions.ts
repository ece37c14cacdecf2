/**
 * Who may do what with a node: uses with their permissions, and what a node needs of its children for the uses it has itself. The
 * rules are those of QEMU's `block.c`, as the locks on image files show them to other processes.
 */
import { BlockError } from './errors.js';
import type { ChildRole, NodeUse, OpenFlags } from './node.js';
import { Permission } from './node.js';

const permissionNames: readonly (readonly [number, string])[] = [
  [Permission.consistentRead, 'consistent read'],
  [Permission.write, 'write'],
  [Permission.writeUnchanged, 'write unchanged'],
  [Permission.resize, 'resize'],
];

function permissionText(bits: number): string {
  return permissionNames
    .filter(([bit]) => (bits & bit) !== 0)
    .map(([, name]) => name)
    .join(', ');
}

class Use implements NodeUse {
  readonly user: string;
  readonly #uses: NodeUses;
  permissions = 0;
  shared: number = Permission.all;
  constructor(uses: NodeUses, user: string) {
    this.#uses = uses;
    this.user = user;
  }
  async change(permissions: number, shared: number): Promise<void> {
    if (permissions === this.permissions && shared === this.shared) return;
    await this.#uses.change(this, permissions, shared);
  }
  release(): Promise<void> {
    return this.#uses.release(this);
  }
}

/** The uses of one node. `apply` brings what they need together to the node's children and to the locks on its file. */
export class NodeUses {
  readonly #node: { readonly nodeName: string; readonly readOnly: boolean };
  readonly #apply: () => Promise<void>;
  readonly #uses: Use[] = [];

  constructor(node: { readonly nodeName: string; readonly readOnly: boolean }, apply: () => Promise<void>) {
    this.#node = node;
    this.#apply = apply;
  }

  /** What all need, and what all let others do. */
  get needs(): { permissions: number; shared: number } {
    let permissions = 0;
    let shared: number = Permission.all;
    for (const use of this.#uses) {
      permissions |= use.permissions;
      shared &= use.shared;
    }
    return { permissions, shared };
  }

  get writers(): number {
    return this.#uses.filter((use) => (use.permissions & Permission.write) !== 0).length;
  }

  async acquire(user: string, permissions: number, shared: number): Promise<NodeUse> {
    const use = new Use(this, user);
    this.#uses.push(use);
    try {
      await this.change(use, permissions, shared);
    } catch (error) {
      this.#uses.splice(this.#uses.indexOf(use), 1);
      throw error;
    }
    return use;
  }

  async change(use: Use, permissions: number, shared: number): Promise<void> {
    if (permissions & (Permission.write | Permission.resize) && this.#node.readOnly)
      throw new BlockError('EPERM', `Block node is read-only`);
    for (const other of this.#uses) {
      if (other === use) continue;
      const refused = permissions & ~other.shared;
      if (refused) {
        throw new BlockError(
          'EPERM',
          `Conflicts with use by ${other.user}, which does not allow '${permissionText(refused)}' on ${this.#node.nodeName}`,
        );
      }
      const clash = other.permissions & ~shared;
      if (clash) {
        throw new BlockError(
          'EPERM',
          `Conflicts with use by ${other.user}, which uses '${permissionText(clash)}' on ${this.#node.nodeName}`,
        );
      }
    }
    const before = [use.permissions, use.shared] as const;
    use.permissions = permissions;
    use.shared = shared;
    try {
      await this.#apply();
    } catch (error) {
      [use.permissions, use.shared] = before;
      await this.#apply().catch(() => undefined);
      throw error;
    }
  }

  async release(use: Use): Promise<void> {
    const index = this.#uses.indexOf(use);
    if (index < 0) return;
    this.#uses.splice(index, 1);
    await this.#apply();
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
