/** What a GPU device actor says of its device: a capability, never a claim that was not measured. */
import { z } from 'zod';

export const Capability = z.object({
  adapter: z.string().max(200).describe('name, and the version of its driver where it tells'),
  driver: z.string().max(200).describe('vendor and architecture'),
  software: z.boolean().describe('a CPU that pretends to be a GPU, as software Vulkan drivers are'),
  maxBufferBytes: z.number().min(0).describe('largest buffer'),
  maxBindingBytes: z.number().min(0).describe('most of a buffer that a kernel sees at once'),
  memoryBytes: z
    .number()
    .min(0)
    .describe('what engines keep on it at most; WebGPU does not tell how much memory there is'),
  features: z.array(z.string().max(64)).max(128).describe("WebGPU's names of what the adapter can do"),
  rates: z
    .object({
      multiplications: z.number().min(0).describe('in the coordinate field'),
      G1: z.number().min(0).describe('points of a sum in G1, scalars uniform, points on the device'),
      G2: z.number().min(0).describe('the same in G2'),
    })
    .optional()
    .describe('per second, as measured; absent until they are'),
});
export type Capability = z.infer<typeof Capability>;
