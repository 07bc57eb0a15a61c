/** The gateway's description of itself: OpenAPI 3.1, made from the schemas that check its requests and describe its answers. */
import { z } from 'zod';

export interface Route {
  readonly method: 'get' | 'post';
  /** with `{name}` for parameters */
  readonly path: string;
  readonly summary: string;
  /** media type -> schema */
  readonly body?: Readonly<Record<string, z.ZodType>>;
  readonly answer: z.ZodType | string;
}

const schemaOf = (schema: z.ZodType) => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    target: 'draft-2020-12',
    io: 'input',
    reused: 'inline',
  });
  return rest;
};

const media = (schema: z.ZodType | string) =>
  typeof schema === 'string'
    ? { [schema]: { schema: { type: 'string' } } }
    : { 'application/json': { schema: schemaOf(schema) } };

export function openApi(routes: readonly Route[], failure: z.ZodType, version: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, path, summary, body, answer } of routes) {
    const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    }));
    paths[path] ??= {};
    paths[path][method] = {
      summary,
      ...(parameters.length > 0 ? { parameters } : {}),
      ...(body === undefined
        ? {}
        : {
            requestBody: {
              required: true,
              content: Object.fromEntries(
                Object.entries(body).map(([type, schema]) => [type, { schema: schemaOf(schema) }]),
              ),
            },
          }),
      responses: {
        200: { description: 'done', content: media(answer) },
        default: { description: 'refused or failed', content: media(failure) },
      },
    };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Vouch gateway',
      version,
      license: { name: 'GPL-3.0-or-later', identifier: 'GPL-3.0-or-later' },
    },
    paths,
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: [{}, { key: [] }],
  };
}
