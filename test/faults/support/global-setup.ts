// Runs once before all fault cases: the program as it is installed, compiled for all of them.
import type { TestProject } from 'vitest/node'
import { build } from '../../support/built.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The compiled program's file. */
    program: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const built = await build()
  project.provide('program', built.main)
  return async () => void (await built[Symbol.asyncDispose]())
}
