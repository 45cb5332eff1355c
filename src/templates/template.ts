// A template as it is stored. Texts are Liquid (liquid.mjs); what is absent is null.

export interface Translation {
  /** BCP 47, in its canonical case. */
  locale: string
  title: string
  body: string | null
  url: string | null
}

export interface Template {
  key: string
  /** One of the translations'. */
  defaultLocale: string
  /** In the order in which they were given, each of another locale. */
  translations: Translation[]
  /** Milliseconds since 1970. */
  updatedAt: number
}

export interface TranslationInput {
  locale: string
  title: string
  body?: string | null | undefined
  url?: string | null | undefined
}

export interface TemplateInput {
  key: string
  defaultLocale: string
  translations: readonly TranslationInput[]
}

/** Why a text is no template. */
export interface Problem {
  locale: string
  field: 'title' | 'body' | 'url'
  /** With the line and the column where there is one. */
  message: string
}
