// Segments: a typed tree of conditions on users, compiled to SQL in which whatever a caller wrote is a parameter. No
// condition is ever null: a missing attribute, an unknown path and a value of another type make a comparison false.
import { type RawBuilder, sql } from 'kysely'
import { badUserInput } from '../errors.ts'
import { canonicalLocale } from '../locale.ts'
import { checkText } from '../text.ts'
import { isStorable } from '../text-flaw.mjs'

export type AttributeValue = string | number | boolean
export type AttributeOperator = 'EQ' | 'NE' | 'GT' | 'GTE' | 'LT' | 'LTE' | 'IN' | 'CONTAINS' | 'EXISTS'

export interface AttributeCondition {
  /** Dotted. */
  path: string
  op: AttributeOperator
  values?: readonly AttributeValue[] | null | undefined
}

/** Exactly one is given. */
export interface Segment {
  everyone?: boolean | null | undefined
  userIds?: readonly string[] | null | undefined
  locales?: readonly string[] | null | undefined
  attribute?: AttributeCondition | null | undefined
  all?: readonly Segment[] | null | undefined
  any?: readonly Segment[] | null | undefined
  not?: Segment | null | undefined
}

/** Levels of `all`, `any` and `not` in one another. */
export const segmentDepthMax = 8
/** Conditions of a whole segment, `all`, `any` and `not` counted too. */
export const segmentConditionsMax = 100
/** Of one list. More is a segment of its own: an attribute. */
export const segmentUserIdsMax = 10_000
export const segmentLocalesMax = 100
export const segmentValuesMax = 1_000
export const valueCharactersMax = 1_000
export const pathCharactersMax = 200
export const pathPartsMax = 10
/** Up to so many operands of IN are looked up in the index, each by itself; more are compared with row by row. */
const searchedValuesMax = 10

/**
 * A condition on a row of `users` named u, true or false. Fails with BAD_USER_INPUT for what is empty, too large, or no
 * comparison.
 */
export function compileSegment(segment: Segment): RawBuilder<boolean> {
  return compile(segment, { depth: 1, conditions: 0 })
}

function compile(segment: Segment, size: { depth: number; conditions: number }): RawBuilder<boolean> {
  const { everyone, userIds, locales, attribute, all, any, not } = segment
  if (size.depth > segmentDepthMax) throw badUserInput(`a segment is nested ${segmentDepthMax} levels deep at most`)
  size.conditions += 1
  if (size.conditions > segmentConditionsMax)
    throw badUserInput(`a segment has ${segmentConditionsMax} conditions at most`)
  const inner = (segments: readonly Segment[]) => {
    size.depth += 1
    const compiled = segments.map((one) => compile(one, size))
    size.depth -= 1
    return compiled
  }
  if (everyone != null) {
    if (!everyone) throw badUserInput('everyone is true, or left out')
    return sql`true`
  }
  if (userIds) return sql`u.id = any(${list('userIds', userIds, segmentUserIdsMax).filter(isStorable)}::text[])`
  if (locales) return localesCondition(list('locales', locales, segmentLocalesMax))
  if (attribute) return attributeCondition(attribute)
  if (all) return sql`(${sql.join(inner(list('all', all, segmentConditionsMax)), sql` and `)})`
  if (any) return sql`(${sql.join(inner(list('any', any, segmentConditionsMax)), sql` or `)})`
  if (not) return sql`(not ${inner([not])[0]})`
  throw badUserInput('a segment has exactly one field')
}

/** As RFC 4647 filters: `pt` finds `pt-BR` too. */
function localesCondition(locales: readonly string[]): RawBuilder<boolean> {
  const ranges = locales.map((locale) => canonicalLocale('locales', locale))
  return sql`(u.locale is not null and exists (
    select from unnest(${ranges}::text[]) r where u.locale = r or starts_with(u.locale, r || '-')))`
}

function attributeCondition({ path, op, values }: AttributeCondition): RawBuilder<boolean> {
  const parts = partsOf(path)
  const value = sql`(u.attributes ${sql.join(
    parts.map((part) => sql`-> ${part}::text`),
    sql` `,
  )})`
  if (op === 'EXISTS') {
    if (values && values.length > 0) throw badUserInput('EXISTS has no values')
    return sql`coalesce(${value} <> 'null', false)`
  }
  const operands = list('values', values ?? [], segmentValuesMax)
  for (const operand of operands) if (typeof operand === 'string') checkText('values', operand, valueCharactersMax, 0)
  if (op === 'IN') {
    if (operands.length <= searchedValuesMax)
      return sql`(${sql.join(
        operands.map((operand) => holds(parts, operand)),
        sql` or `,
      )})`
    return sql`coalesce(${value} = any(${operands.map((operand) => JSON.stringify(operand))}::jsonb[]), false)`
  }
  const [operand] = operands
  if (operand === undefined || operands.length > 1) throw badUserInput(`${op} has one value`)
  switch (op) {
    case 'EQ':
      return holds(parts, operand)
    case 'CONTAINS':
      return holds(parts, [operand])
    case 'NE':
      return sql`coalesce(${value} <> 'null' and ${value} <> ${JSON.stringify(operand)}::jsonb, false)`
    default:
      return ordered(value, op, operand)
  }
}

const comparisons = { GT: sql`>`, GTE: sql`>=`, LT: sql`<`, LTE: sql`<=` }

/** Numbers by size, texts by code point; of another type it is false. */
function ordered(
  value: RawBuilder<unknown>,
  op: keyof typeof comparisons,
  operand: AttributeValue,
): RawBuilder<boolean> {
  const compares = comparisons[op]
  if (typeof operand === 'number') {
    return sql`(case jsonb_typeof(${value}) when 'number' then ${value}::numeric ${compares} ${String(operand)}::numeric else false end)`
  }
  if (typeof operand === 'string') {
    return sql`(case jsonb_typeof(${value}) when 'string' then ((${value}) #>> '{}') collate "C" ${compares} ${operand}::text else false end)`
  }
  throw badUserInput(`${op} compares numbers or texts`)
}

/** By containment, which the index of attributes finds. */
function holds(parts: readonly string[], value: AttributeValue | AttributeValue[]): RawBuilder<boolean> {
  const json = parts.reduceRight((inner, part) => `{${JSON.stringify(part)}:${inner}}`, JSON.stringify(value))
  return sql`u.attributes @> ${json}::jsonb`
}

function partsOf(path: string): string[] {
  checkText('path', path, pathCharactersMax)
  const parts = path.split('.')
  if (parts.length > pathPartsMax) throw badUserInput(`path has ${pathPartsMax} parts at most`)
  return parts
}

function list<Item>(field: string, items: readonly Item[], itemsMax: number): readonly Item[] {
  if (items.length === 0) throw badUserInput(`${field} must not be empty`)
  if (items.length > itemsMax) throw badUserInput(`${field} has ${itemsMax} at most`)
  return items
}
