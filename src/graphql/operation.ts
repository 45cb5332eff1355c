// A valid document with one of its operations picked: what operations.ts prepares, and everything that runs one takes.
import type { ExecutionArgs, OperationTypeNode } from 'graphql'
import type { Context } from './context.ts'

export interface Operation extends ExecutionArgs {
  type: OperationTypeNode
  contextValue: Context
}
