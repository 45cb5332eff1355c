// A subscription's events as the JSON of their results. What an operation selects is looked up once, and each event is then
// written field by field, with the resolvers and scalars of the schema, rather than executed anew. What that buys, together
// with push-results.ts, is in docs/BENCHMARKS.md.
//
// It is for what needs nothing but the event: leaf fields without arguments, and objects that are properties of their
// parents. Whatever else is selected is executed, and so is an event that a resolver fails for (operations.ts).
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  GraphQLIncludeDirective,
  GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  GraphQLSkipDirective,
  getDirectiveValues,
  getOperationAST,
  getVariableValues,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  Kind,
  type SelectionSetNode,
} from 'graphql'
import type { Context } from './context.ts'
import type { Operation } from './operation.ts'

/** The JSON of the result of an event. Throws where the event has to be executed. */
export type Render = (event: unknown, context: Context) => string

/** Looks up what an operation selects; undefined where its events have to be executed. */
export type FindRender = (operation: Operation) => Render | undefined

/** Remembers what it found for as long as somebody remembers the document. */
export function createFindRender(): FindRender {
  const known = new WeakMap<DocumentNode, Map<string | null | undefined, Render | undefined>>()
  return (operation) => {
    const { document, operationName } = operation
    const ofDocument = known.get(document) ?? new Map<string | null | undefined, Render | undefined>()
    if (ofDocument.has(operationName)) return ofDocument.get(operationName)
    const { render, isForAll } = createRender(operation)
    // `@skip` and `@include` may make it another one with other variables.
    if (isForAll) known.set(document, ofDocument.set(operationName, render))
    return render
  }
}

type Write = (value: unknown, context: Context) => string

class NeedsExecution extends Error {}

function createRender({ schema, document, operationName, variableValues }: Operation) {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const one of document.definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one)
  let variables: Record<string, unknown> = {}
  let isForAll = true

  function renderRoot(): Render | undefined {
    const definition = getOperationAST(document, operationName)
    const root = schema.getSubscriptionType()
    if (!definition || !root) return undefined
    const { coerced } = getVariableValues(schema, definition.variableDefinitions ?? [], variableValues ?? {})
    if (!coerced) return undefined
    variables = coerced
    const [selected] = fieldsOf(root, [definition.selectionSet])
    const field = selected && root.getFields()[selected.name]
    if (!field) return undefined
    const write = writeNullable(field.type, selected.nodes)
    const start = `{"data":{${JSON.stringify(selected.key)}:`
    return (event, context) => `${start}${write(resolve(field, event, context), context)}}}`
  }

  /** The fields that are selected of this type, fragments included, in the order of their first appearance. */
  function fieldsOf(type: GraphQLObjectType, sets: readonly SelectionSetNode[]) {
    const fields = new Map<string, { key: string; name: string; nodes: FieldNode[] }>()
    const collect = ({ selections }: SelectionSetNode): void => {
      for (const node of selections) {
        if (!isIncluded(node)) continue
        if (node.kind === Kind.FIELD) {
          const key = node.alias?.value ?? node.name.value
          const field = fields.get(key) ?? { key, name: node.name.value, nodes: [] }
          field.nodes.push(node)
          fields.set(key, field)
          continue
        }
        const fragment = node.kind === Kind.INLINE_FRAGMENT ? node : fragments.get(node.name.value)
        if (fragment && isOf(type, fragment.typeCondition?.name.value)) collect(fragment.selectionSet)
      }
    }
    for (const set of sets) collect(set)
    return [...fields.values()]
  }

  function isIncluded(node: SelectionSetNode['selections'][number]): boolean {
    if (!node.directives?.length) return true
    isForAll = false
    if (getDirectiveValues(GraphQLSkipDirective, node, variables)?.if === true) return false
    return getDirectiveValues(GraphQLIncludeDirective, node, variables)?.if !== false
  }

  function isOf(type: GraphQLObjectType, condition: string | undefined): boolean {
    if (condition === undefined || condition === type.name) return true
    const other = schema.getType(condition)
    return isAbstractType(other) && schema.isSubType(other, type)
  }

  function writeNullable(type: GraphQLOutputType, nodes: readonly FieldNode[]): Write {
    if (!isNonNullType(type)) {
      const write = writeValue(type, nodes)
      return (value, context) => (value == null ? 'null' : write(value, context))
    }
    const write = writeValue(type.ofType, nodes)
    return (value, context) => {
      if (value == null) throw new NeedsExecution()
      return write(value, context)
    }
  }

  function writeValue(type: GraphQLOutputType, nodes: readonly FieldNode[]): Write {
    if (isLeafType(type)) return (value) => JSON.stringify(type.serialize(value))
    if (isListType(type)) {
      const write = writeNullable(type.ofType, nodes)
      return (values, context) => {
        if (!Array.isArray(values)) throw new NeedsExecution()
        return `[${values.map((value) => write(value, context)).join(',')}]`
      }
    }
    const sets = nodes.flatMap(({ selectionSet }) => selectionSet ?? [])
    if (type instanceof GraphQLObjectType) return writeObject(type, sets)
    if (!isAbstractType(type)) throw new NeedsExecution()
    const byName = new Map(schema.getPossibleTypes(type).map((one) => [one.name, writeObject(one, sets)]))
    return (value, context) => {
      const write = isObject(value) ? byName.get(String(value.__typename)) : undefined
      if (!write) throw new NeedsExecution()
      return write(value, context)
    }
  }

  function writeObject(type: GraphQLObjectType, sets: readonly SelectionSetNode[]): Write {
    const fields = type.getFields()
    const writes = fieldsOf(type, sets).map(({ key, name, nodes }, index) => {
      const start = `${index === 0 ? '' : ','}${JSON.stringify(key)}:`
      if (name === '__typename') return () => `${start}"${type.name}"`
      const field = fields[name]
      if (!field || !needsOnlyItsParent(field)) throw new NeedsExecution()
      const write = writeNullable(field.type, nodes)
      return (source: unknown, context: Context) => start + write(resolve(field, source, context), context)
    })
    return (source, context) => {
      let text = '{'
      for (const write of writes) text += write(source, context)
      return `${text}}`
    }
  }

  try {
    return { render: renderRoot(), isForAll }
  } catch (error) {
    if (error instanceof NeedsExecution) return { render: undefined, isForAll }
    throw error
  }
}

function needsOnlyItsParent({ type, args, resolve }: GraphQLField<unknown, unknown>): boolean {
  const named = isNonNullType(type) ? type.ofType : type
  return args.length === 0 && (isLeafType(named) || resolve === undefined)
}

/** No resolver of these looks at it. */
const noInfo = {} as GraphQLResolveInfo

function resolve({ name, resolve }: GraphQLField<unknown, unknown>, source: unknown, context: Context): unknown {
  const value = resolve ? resolve(source, {}, context, noInfo) : isObject(source) ? source[name] : undefined
  if (typeof value === 'function' || value instanceof Promise) throw new NeedsExecution()
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
