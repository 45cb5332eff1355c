// Templates by their keys: saved once their Liquid has been checked, and read whole, since there are few.
import { badUserInput } from '../errors.ts'
import type { Database } from '../postgres.ts'
import { withRetry } from '../retry.ts'
import type { Renderer } from './renderer.ts'
import type { Template, TemplateInput } from './template.ts'
import { isTemplateKey, validateTemplate } from './validate.ts'

/** They are listed whole. Those that are created at the very same moment may exceed both limits by a few. */
export const templatesMax = 1_000
/** Of the translations of all together, as JSON. */
export const translationsBytesMax = 16 * 1024 * 1024

export interface Templates {
  /** Creates or replaces it. Fails with BAD_USER_INPUT, for a syntax error with its line and column, and UNAVAILABLE. */
  upsert(input: TemplateInput): Promise<Template>
  /** Whether there was one. */
  delete(key: string): Promise<boolean>
  find(key: string): Promise<Template | null>
  /** All, in order of their keys. */
  list(): Promise<Template[]>
}

export interface TemplatesOptions {
  database: Pick<Database, 'query'>
  renderer: Pick<Renderer, 'check'>
}

export function createTemplates({ database: { query }, renderer }: TemplatesOptions): Templates {
  return {
    async upsert(input) {
      const { key, defaultLocale, translations } = validateTemplate(input)
      const [problem] = await renderer.check(translations)
      if (problem) throw badUserInput(`translations ${problem.locale}, ${problem.field}: ${problem.message}`)
      const values = [key, defaultLocale, JSON.stringify(translations), templatesMax, translationsBytesMax]
      const [template] = await withRetry(() => query<Template>('upsert-template', upsertStatement, values))
      if (template) return template
      throw badUserInput(
        `there are ${templatesMax} templates already, or all of them would have more than ${translationsBytesMax} bytes`,
      )
    },

    async delete(key) {
      if (!isTemplateKey(key)) return false
      const rows = await withRetry(() => query('delete-template', deleteStatement, [key]))
      return rows.length > 0
    },

    async find(key) {
      if (!isTemplateKey(key)) return null
      const [template] = await withRetry(() => query<Template>('find-template', findStatement, [key]))
      return template ?? null
    },

    list: () => withRetry(() => query<Template>('list-templates', listStatement, [])),
  }
}

const columns = `key, default_locale as "defaultLocale", translations,
  (extract(epoch from updated_at) * 1000)::float8 as "updatedAt"`

const findStatement = `select ${columns} from templates where key = $1`

const listStatement = `select ${columns} from templates order by key`

const deleteStatement = 'delete from templates where key = $1 returning key'

const upsertStatement = `
with others as (
  select count(*) as templates, coalesce(sum(octet_length(translations::text)), 0) as bytes from templates where key <> $1)
insert into templates (key, default_locale, translations)
select $1, $2, $3::json from others where templates < $4::int and bytes + octet_length($3::text) <= $5::int
on conflict (key) do update
  set default_locale = excluded.default_locale, translations = excluded.translations, updated_at = now()
returning ${columns}`
