/**
 * What a kernel's text says of its surroundings, in the order that queue.ts binds: the uniform `params` at binding 0, its
 * first word the number of the dispatch's first workgroup, and the storage buffers behind it. Bindings that a kernel
 * does not use vanish from its layout, so every one that is named has to be used.
 */

export interface Interface {
  /** u32 words of `params`, in order */
  readonly params: readonly string[];
  /** name -> element type, with `rw ` in front where the kernel writes */
  readonly buffers: Readonly<Record<string, string>>;
}

export function emitInterface({ params, buffers }: Interface): string {
  const fields = ['first', ...params].map((name) => `${name}: u32`).join(', ');
  const bindings = Object.entries(buffers).map(([name, type], i) => {
    const access = type.startsWith('rw ') ? 'storage, read_write' : 'storage';
    return `@group(0) @binding(${i + 1}) var<${access}> ${name}: array<${type.replace('rw ', '')}>;`;
  });
  return `struct Params { ${fields} }
@group(0) @binding(0) var<uniform> params: Params;
${bindings.join('\n')}
`;
}

/** Threads of a workgroup, in all kernels that do not say otherwise. */
export const WORKGROUP = 64;

/** The head of an entry point; `thread` numbers the threads of the whole dispatch, however it was cut. */
export const emitMain = (
  body: string,
  workgroup = WORKGROUP,
): string => `@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let thread = (params.first + workgroup.x) * ${workgroup}u + local;
${body}
}
`;
