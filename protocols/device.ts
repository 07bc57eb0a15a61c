/** What a GPU device actor says of its device: a capability, never a claim that was not measured. */
import { z } from 'zod';

export const Capability = z.object({
  adapter: z.string().max(200),
  driver: z.string().max(200),
  /** a CPU that pretends to be a GPU, as software Vulkan drivers are */
  software: z.boolean(),
  maxBufferBytes: z.number().min(0),
  maxBindingBytes: z.number().min(0),
  features: z.array(z.string().max(64)).max(128),
});
export type Capability = z.infer<typeof Capability>;
