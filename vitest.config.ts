import { defineConfig } from 'vitest/config'

export default defineConfig({
  // graphql ships CommonJS and ES modules; under vitest some packages get one and some the other, and two copies of its
  // classes do not know each other.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/global-setup.ts',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    server: {
      deps: {
        inline: [
          /graphql-yoga/,
          /graphql-ws/,
          /graphql-redis-subscriptions/,
          /graphql-subscriptions/,
          /@graphql-yoga/,
          /@graphql-tools/,
          /@envelop/,
        ],
      },
    },
  },
})
