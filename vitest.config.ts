import { defineConfig } from 'vitest/config'

export default defineConfig({
  // graphql ships CommonJS and ES modules; under vitest some packages get one and some the other, and two copies of its
  // classes do not know each other.
  resolve: { alias: [{ find: /^graphql$/, replacement: 'graphql/index.js' }] },
  test: {
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
    projects: [
      {
        extends: true,
        test: {
          name: 'carillon',
          include: ['test/**/*.test.ts'],
          exclude: ['test/faults/**'],
          globalSetup: 'test/support/global-setup.ts',
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['test/faults/*.test.ts'],
          globalSetup: 'test/faults/support/global-setup.ts',
          testTimeout: 300_000,
          // They measure, so they have the machine for themselves: after the others, and one file at a time.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
