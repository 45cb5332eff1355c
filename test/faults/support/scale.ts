// How large a case is. `npm test` runs each in its short form; `npm run faults` in the whole one.

const isWhole = process.env.FAULTS === 'whole'

export function sized<Size>(short: Size, whole: Size): Size {
  return isWhole ? whole : short
}

/** Says what a case measured, on one line. Numbers are rounded to what matters. */
export function figure(name: string, figures: Record<string, number | string>): void {
  const parts = Object.entries(figures).map(([key, value]) => {
    if (typeof value === 'string') return `${key} ${value}`
    return `${key} ${Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(2) : Math.round(value)}`
  })
  console.log(`${name}: ${parts.join(', ')}`)
}
