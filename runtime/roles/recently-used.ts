/** What is remembered of each of many, such as clients; of more than `most`, the one that was not used for longest is forgotten. */

/** The value of a name, made where there is none; it is the last to be forgotten now. */
export function recentlyUsed<T>(all: Map<string, T>, name: string, most: number, make: () => T): T {
  const value = all.get(name) ?? make();
  all.delete(name);
  all.set(name, value);
  if (all.size > most) all.delete(all.keys().next().value!);
  return value;
}
