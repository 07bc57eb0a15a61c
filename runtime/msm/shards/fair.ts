/**
 * Which job a node is given a piece of next, when several share the fleet. Pure. Weighted fair sharing (start-time fair
 * queueing: Goyal, Vin, Cheng, 1996) by pieces: of two tenants that both have work, each gets its weight's part of the fleet,
 * whatever the sizes of their jobs, so that a short job beside a long one waits at most for what is in hand. Within a tenant a
 * job of higher priority goes first, and equal ones share alike; a priority never takes from other tenants.
 *
 * Whoever was away begins where the least served one is: nobody saves up time that he did not use, and leaving does not
 * forgive what was taken ahead.
 */

export interface FairJob {
  readonly id: string;
  readonly tenant: string;
  /** of the tenant, as its latest job says; 1 by default */
  readonly weight?: number;
  /** among the jobs of the same tenant, higher first; 0 by default */
  readonly priority?: number;
}

interface Tenant {
  weight: number;
  /** work that it was given, by its weight */
  served: number;
  readonly jobs: Map<string, { readonly priority: number; served: number; readonly order: number }>;
}

export function createFairShare() {
  const tenants = new Map<string, Tenant>();
  const tenantOf = new Map<string, string>();
  let order = 0;
  /** where the least served of those who had work was last seen */
  let floor = 0;

  const active = () => [...tenants.values()].filter(({ jobs }) => jobs.size > 0);
  const settle = () => {
    const present = active();
    if (present.length > 0) floor = Math.max(floor, Math.min(...present.map(({ served }) => served)));
    // Who took more than the others has to be remembered until they have caught up; with nobody to catch up, nobody is.
    for (const [name, { jobs, served }] of tenants)
      if (jobs.size === 0 && (served <= floor || present.length === 0)) tenants.delete(name);
  };

  return {
    enter({ id, tenant: name, weight = 1, priority = 0 }: FairJob): void {
      if (!(weight > 0)) throw new RangeError(`weight: expected more than 0, got ${weight}`);
      if (tenantOf.has(id)) throw new RangeError(`job ${id}: expected one that is not there`);
      settle();
      const tenant = tenants.get(name) ?? { weight, served: floor, jobs: new Map() };
      if (tenant.jobs.size === 0) tenant.served = Math.max(tenant.served, floor);
      tenant.weight = weight;
      const peers = [...tenant.jobs.values()].filter((job) => job.priority === priority);
      const served = peers.length > 0 ? Math.min(...peers.map((job) => job.served)) : 0;
      tenant.jobs.set(id, { priority, served, order: order++ });
      tenants.set(name, tenant);
      tenantOf.set(id, name);
    },
    leave(id: string): void {
      tenants.get(tenantOf.get(id) ?? '')?.jobs.delete(id);
      tenantOf.delete(id);
      settle();
    },
    /** A job was given a piece: its work, in whatever unit all jobs are counted in. */
    served(id: string, work: number): void {
      const tenant = tenants.get(tenantOf.get(id) ?? '');
      const job = tenant?.jobs.get(id);
      if (!tenant || !job) return;
      tenant.served += work / tenant.weight;
      job.served += work;
      settle();
    },
    /** The jobs in the order in which a free node is offered to them; the first that has a piece for it takes it. */
    order(): string[] {
      return active()
        .sort((a, b) => a.served - b.served)
        .flatMap(({ jobs }) =>
          [...jobs]
            .sort(([, a], [, b]) => b.priority - a.priority || a.served - b.served || a.order - b.order)
            .map(([id]) => id),
        );
    },
  };
}
